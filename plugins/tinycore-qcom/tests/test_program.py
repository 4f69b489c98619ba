"""Programs take memory and integers, in order, and what they refuse leaves the device usable."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from tinycore.backend import Device, Handle, Launch, LaunchError, Program, Unsupported
from tinycore_qcom.memory import SPACE

COUNT = 1000
LAUNCH = Launch((8, 1, 1), (128, 1, 1))

Load = Callable[[str], Program]


def memory(device: Device, values: array[float]) -> Handle:
    """Memory of a device that holds these values."""
    handle = device.allocator.alloc(len(values) * values.itemsize, SPACE, 64)
    device.allocator.copyin(handle, memoryview(values))
    return handle


def content(device: Device, handle: Handle, code: str, count: int) -> list[float]:
    """The first values of a device's memory."""
    values = array(code, bytes(count * array(code).itemsize))
    device.allocator.copyout(memoryview(values), handle)
    return list(values)


class Floats:
    """Three buffers of floats: out, a, b."""

    def __init__(self, device: Device, first: float = 1.0, second: float = 0.5) -> None:
        self.device = device
        rows = [-1.0] * COUNT, [first * i for i in range(COUNT)], [second] * COUNT
        self.handles = tuple(memory(device, array("f", row)) for row in rows)

    def result(self) -> list[float]:
        """What is in out."""
        return content(self.device, self.handles[0], "f", COUNT)


def expected(first: float = 1.0, second: float = 0.5, count: int = COUNT) -> list[float]:
    return [first * i + second for i in range(count)] + [-1.0] * (COUNT - count)


def test_a_program_runs_its_grid_and_tells_the_seconds(device: Device, load: Load) -> None:
    data = Floats(device)
    time_s = load("add")(data.handles, (COUNT,), LAUNCH, wait=True)
    assert time_s is not None
    assert 0 < time_s < 1
    assert data.result() == expected()


def test_a_value_is_an_argument_of_each_launch(device: Device, load: Load) -> None:
    program = load("add")
    for count in (10, 999, 3):
        data = Floats(device)
        assert program(data.handles, (count,), LAUNCH) is None
        assert data.result() == expected(count=count)


def test_a_group_too_large_names_the_limit(device: Device, load: Load) -> None:
    program, data = load("add"), Floats(device)
    group = device.target.caps.max_group_threads * 4
    with pytest.raises(LaunchError, match=r"add: .*INVALID_WORK_GROUP_SIZE.* at most \d+ of this"):
        program(data.handles, (COUNT,), Launch((1, 1, 1), (group, 1, 1)))
    program(data.handles, (COUNT,), LAUNCH)
    device.synchronize()
    assert data.result() == expected()


def test_descriptors_and_scratch_are_refused(load: Load) -> None:
    with pytest.raises(Unsupported, match=r"add: 1 descriptors and 0 bytes of scratch given"):
        load("add")((), (), Launch(), descs=(b"",))
    with pytest.raises(Unsupported, match="0 descriptors and 64 bytes of scratch given"):
        load("add")((), (), Launch(scratch_bytes=64))


def test_a_wrong_number_of_arguments_is_told(load: Load) -> None:
    with pytest.raises(LaunchError, match=r"add: 0 buffers and 2 values given; it takes 4 in all"):
        load("add")((), (1, 2), LAUNCH)
