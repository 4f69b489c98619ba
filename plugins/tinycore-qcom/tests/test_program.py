"""Programs take memory and integers, in order, and what they refuse leaves the device usable."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable

import pytest

from tinycore.backend import Device, Handle, Launch, LaunchError, Program, Unsupported
from tinycore_qcom.memory import SPACE

COUNT = 1000
LAUNCH = Launch((8, 1, 1), (128, 1, 1))

Load = Callable[[str], Program]


def memory(device: Device, values: array[float] | array[int]) -> Handle:
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


def test_descriptors_are_refused(load: Load) -> None:
    with pytest.raises(Unsupported, match="add: 1 descriptors given; expected none"):
        load("add")((), (), Launch(), descs=(b"",))


def test_a_wrong_number_of_arguments_is_told(load: Load) -> None:
    with pytest.raises(LaunchError, match=r"add: 0 buffers and 2 values given; it takes 4 in all"):
        load("add")((), (1, 2), LAUNCH)


@pytest.mark.parametrize("grid", [(1, 1, 1), (7, 1, 1), (2, 3, 4)])
@pytest.mark.parametrize("group", [(1, 1, 1), (5, 1, 1), (4, 2, 3)])
def test_groups_have_the_shape_of_the_launch(
    device: Device, load: Load, grid: tuple[int, int, int], group: tuple[int, int, int]
) -> None:
    count = grid[0] * grid[1] * grid[2]
    handle = memory(device, array("q", [-1] * (count + 1)))
    load("shape")((handle,), (), Launch(grid, group))
    one = group[0] + 100 * group[1] + 10000 * group[2]
    assert content(device, handle, "q", count + 1) == [one] * count + [-1]


def test_an_empty_grid_runs_nothing(device: Device, load: Load) -> None:
    data = Floats(device)
    launch = Launch((0, 1, 1), (128, 1, 1))
    assert load("add")(data.handles, (COUNT,), launch, wait=True) == 0.0
    assert data.result() == [-1.0] * COUNT


def test_arguments_of_a_launch_are_never_those_of_an_earlier_one(
    device: Device, load: Load
) -> None:
    program = load("add")
    for turn in range(5):
        data = Floats(device, first=turn)
        program(data.handles, (COUNT,), LAUNCH)
        assert data.result() == expected(first=turn)
        for handle in data.handles:
            device.allocator.free(handle)
        again = Floats(device, first=turn + 0.5)
        program(again.handles, (COUNT - turn,), LAUNCH)
        assert again.result() == expected(first=turn + 0.5, count=COUNT - turn)


def test_parts_of_memory_are_arguments(device: Device, load: Load) -> None:
    alignment = device.target.caps.offset_alignment
    whole = memory(device, array("f", map(float, range(COUNT))))
    part = device.allocator.offset(whole, alignment, 4 * 64)
    load("twice")((part, part), (), Launch((1, 1, 1), (64, 1, 1)))
    first = alignment // 4
    rows = [float(i) for i in range(COUNT)]
    rows[first : first + 64] = [2 * value for value in rows[first : first + 64]]
    assert content(device, whole, "f", COUNT) == rows


def test_the_seconds_are_those_of_the_kernel(device: Device, load: Load) -> None:
    program, data = load("spin"), memory(device, array("f", [1.0]))
    launch = Launch()
    short = min(program((data,), (1,), launch, True) or 0 for _ in range(5))
    long = min(program((data,), (1 << 20,), launch, True) or 0 for _ in range(5))
    assert long > 10 * short


def test_one_program_runs_in_several_threads_at_once(device: Device, load: Load) -> None:
    program = load("add")
    wrong: list[int] = []

    def run(number: int) -> None:
        for turn in range(50):
            data = Floats(device, float(number), float(turn))
            program(data.handles, (COUNT,), LAUNCH, wait=bool(turn % 2))
            if data.result() != expected(float(number), float(turn)):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
