"""The memory cases pass on a healthy allocator, and each is failed by a broken one."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tinycore.backend import Allocator, Caps, OutOfMemory, Space
from tinycore_conformance import test_memory as cases

CAPS = Caps(dtypes=("float32",), spaces=(Space("host", 1 << 30),), max_allocation_bytes=1 << 20)


class Host(Allocator):
    """Memory of the host, one bytearray each, with room for four."""

    def __init__(self) -> None:
        self.live: list[bytearray] = []

    def alloc(self, size_bytes: int, space: str, alignment: int) -> object:
        if len(self.live) == 4:
            raise OutOfMemory("alloc: four memories are live; expected a free one")
        self.live.append(bytearray(size_bytes))
        return self.live[-1]

    def free(self, handle: object) -> None:
        self.live = [memory for memory in self.live if memory is not handle]

    def copyin(self, handle: object, source: memoryview) -> None:
        assert isinstance(handle, bytearray)
        handle[: len(source)] = source

    def copyout(self, target: memoryview, handle: object) -> None:
        assert isinstance(handle, bytearray)
        target[:] = handle[: len(target)]


class ShortCopy(Host):
    """Copies whole words alone: the last odd bytes stay as they were."""

    def copyin(self, handle: object, source: memoryview) -> None:
        super().copyin(handle, source[: len(source) // 4 * 4])


class SharedMemory(Host):
    """Gives the same memory twice."""

    def alloc(self, size_bytes: int, space: str, alignment: int) -> object:
        return self.live[0] if self.live else super().alloc(size_bytes, space, alignment)


class WideRead(Host):
    """Reads through the whole host buffer behind the target."""

    def copyout(self, target: memoryview, handle: object) -> None:
        assert isinstance(handle, bytearray)
        super().copyout(target, handle)
        assert isinstance(target.obj, bytearray)
        target.obj[-1] = 0


class Leak(Host):
    """Takes nothing back."""

    def free(self, handle: object) -> None:
        pass


def device(allocator: Allocator) -> SimpleNamespace:
    """What the cases see of an open device."""
    target = SimpleNamespace(caps=CAPS)
    vendor = SimpleNamespace(target=target, allocator=allocator, synchronize=lambda: None)
    return SimpleNamespace(device=vendor)


def run_in_words(opened: SimpleNamespace) -> None:
    cases.test_bytes_come_out_as_they_went_in(opened, 7)


def run_two(opened: SimpleNamespace) -> None:
    cases.test_a_copy_in_leaves_other_memory_alone(opened, 64)


RUNS = (
    run_in_words,
    run_two,
    cases.test_a_copy_out_writes_its_own_bytes_alone,
    cases.test_memory_given_back_can_be_had_again,
)


@pytest.mark.parametrize("run", RUNS)
def test_a_healthy_allocator_passes(run: Callable[[SimpleNamespace], None]) -> None:
    run(device(Host()))


@pytest.mark.parametrize(
    ("run", "fault"), list(zip(RUNS, (ShortCopy, SharedMemory, WideRead, Leak), strict=True))
)
def test_a_broken_allocator_fails(
    run: Callable[[SimpleNamespace], None], fault: type[Allocator]
) -> None:
    with pytest.raises((AssertionError, OutOfMemory)):
        run(device(fault()))
