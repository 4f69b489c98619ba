"""Graphs replay runs in order, recorded or not, and notice what changed."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tinycore.backend import (
    Call,
    Device,
    Handle,
    Launch,
    LaunchError,
    OutOfMemory,
    Program,
    Unsupported,
)
from tinycore_qcom import recording
from tinycore_qcom.api import OpenCLError
from tinycore_qcom.capabilities import extensions
from tinycore_qcom.graph import QueueGraph
from tinycore_qcom.memory import SPACE
from tinycore_qcom.program import Kernel
from tinycore_qcom.queue import Queue
from tinycore_qcom.recording import CommandBuffers, RecordableQueue, Recorder, Step, find_recorder

COUNT = 256
LAUNCH = Launch((2, 1, 1), (128, 1, 1))

Load = Callable[[str], Program]


class Counted(CommandBuffers):
    """Command buffers that count what is recorded."""

    recorded: list[int]

    def record(self, steps: Any) -> Any:
        self.recorded.append(len(steps))
        return super().record(steps)


@pytest.fixture(params=["plain", "recorded", "one at a time"])
def graph(device: Device, request: pytest.FixtureRequest) -> QueueGraph:
    """A graph that queues each launch, or records them, or may not have two runs underway."""
    queue: Queue = device._queue  # type: ignore[attr-defined]
    if request.param == "plain":
        return QueueGraph(queue, None)
    recorder = Counted(queue)
    recorder.recorded = []
    recorder.may_overlap = recorder.may_overlap and request.param == "recorded"
    return QueueGraph(queue, recorder)


@pytest.fixture
def floats(device: Device) -> Iterator[Callable[[float], Handle]]:
    """Makes memory filled with one number."""

    def filled(value: float) -> Handle:
        handle = device.allocator.alloc(4 * COUNT, SPACE, 64)
        fill(device, handle, value)
        return handle

    yield filled


def fill(device: Device, handle: Handle, value: float) -> None:
    device.allocator.copyin(handle, memoryview(array("f", [value] * COUNT)))


def content(device: Device, handle: Handle) -> list[float]:
    values = array("f", bytes(4 * COUNT))
    device.allocator.copyout(memoryview(values), handle)
    return values.tolist()


def chain(program: Program, out: Handle, a: Handle, b: Handle, count: int = COUNT) -> list[Call]:
    """out = a + b, then nine times out = out + b."""
    first = Call(program, (out, a, b), (count,), LAUNCH)
    return [first] + [Call(program, (out, out, b), (count,), LAUNCH) for _ in range(9)]


Floats = Callable[[float], Handle]


def test_calls_run_in_order_at_every_replay(
    device: Device, load: Load, graph: QueueGraph, floats: Floats
) -> None:
    out, a, b = floats(0), floats(1), floats(0.5)
    calls = chain(load("add"), out, a, b)
    for turn in range(6):
        fill(device, a, turn)
        graph.replay(calls)
        assert content(device, out) == [turn + 5.0] * COUNT


def test_replays_follow_one_another_without_a_wait(
    device: Device, load: Load, graph: QueueGraph, floats: Floats
) -> None:
    out, b = floats(0), floats(1)
    calls = chain(load("add"), out, out, b)
    for _ in range(50):
        graph.replay(calls)
    assert content(device, out) == [500.0] * COUNT


def test_every_replay_is_submitted(
    device: Device,
    load: Load,
    graph: QueueGraph,
    floats: Floats,
    refuse: Callable[[str, int], Counter[str]],
) -> None:
    out, b = floats(0), floats(1)
    calls = chain(load("add"), out, out, b)
    device.synchronize()
    done = refuse("nothing", 0)
    for turn in range(5):
        graph.replay(calls)
        assert done["clFlush"] == turn + 1


def test_new_buffers_and_values_are_taken(
    device: Device, load: Load, graph: QueueGraph, floats: Floats
) -> None:
    program = load("add")
    out, a, b = floats(0), floats(1), floats(0.5)
    calls = chain(program, out, a, b)
    for turn in range(8):
        other = floats(10 * turn)
        fill(device, out, -1)
        calls[0] = Call(program, (out, other, b), (COUNT,), LAUNCH)
        if turn > 4:
            calls[4] = Call(program, (out, out, b), (100 + turn,), LAUNCH)
        graph.replay(calls)
        short = 10 * turn + 4.5 if turn > 4 else 10 * turn + 5.0
        whole = [10 * turn + 5.0] * (100 + turn)
        assert content(device, out) == whole + [short] * (COUNT - 100 - turn)


def test_what_stays_is_recorded_and_what_changed_never_again(
    device: Device, load: Load, floats: Floats
) -> None:
    recorder = Counted(device._queue)  # type: ignore[attr-defined]
    recorder.recorded = []
    graph = QueueGraph(device._queue, recorder)  # type: ignore[attr-defined]
    program = load("add")
    out, a, b = floats(0), floats(1), floats(0.5)
    calls = chain(program, out, a, b)
    for _ in range(3):
        graph.replay(calls)
    assert recorder.recorded == [10]
    for _ in range(3):
        calls[3] = Call(program, (out, out, floats(0.5)), (COUNT,), LAUNCH)
        graph.replay(calls)
    assert recorder.recorded == [10, 3, 6]


def test_runs_of_equal_length_are_told_apart(
    device: Device, load: Load, graph: QueueGraph, floats: Floats
) -> None:
    out, a, b = floats(0), floats(1), floats(0.5)
    program = load("add")
    half = Launch((1, 1, 1), (128, 1, 1))
    wide = chain(program, out, a, b)
    narrow = [call._replace(launch=half) for call in wide]
    for calls, count in ((wide, COUNT), (narrow, 128), (wide, COUNT)):
        fill(device, out, 0)
        graph.replay(calls)
        assert content(device, out)[:count] == [6.0] * count
        assert content(device, out)[count:] == [0.0] * (COUNT - count)


def test_runs_that_begin_alike_keep_their_tables(
    device: Device, load: Load, graph: QueueGraph, floats: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    usual = Kernel.__init__

    def counted(kernel: Kernel, binary: Any, name: str) -> None:
        made.append(name)
        usual(kernel, binary, name)

    monkeypatch.setattr(Kernel, "__init__", counted)
    add, twice = load("add"), load("twice")
    del made[:]
    out, a, b = floats(0), floats(1), floats(0.5)
    sums = chain(add, out, a, b)
    doubled = [*sums[:-1], Call(twice, (out, out), (), LAUNCH)]
    for _ in range(4):
        graph.replay(sums)
        assert content(device, out) == [6.0] * COUNT
        graph.replay(doubled)
        assert content(device, out) == [11.0] * COUNT
    assert made == ["add"] * 19 + ["twice"]


def test_arguments_that_were_refused_are_set_anew(
    device: Device, load: Load, graph: QueueGraph, floats: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, a, b = floats(0), floats(1), floats(0.5)
    program = load("add")
    calls = chain(program, out, a, b)
    graph.replay(calls)
    usual = Kernel.fill

    def refused(kernel: Kernel, buffers: Any, values: Any) -> None:
        usual(kernel, buffers, values)
        raise OpenCLError("clSetKernelArg", -6)

    with monkeypatch.context() as patch:
        patch.setattr(Kernel, "fill", refused)
        with pytest.raises(OutOfMemory, match=r"replay of 10 launches: clSetKernelArg gave"):
            graph.replay([Call(program, (out, b, b), (COUNT,), LAUNCH), *calls[1:]])
    graph.replay(calls)
    assert content(device, out) == [6.0] * COUNT


def test_the_tables_not_used_for_longest_are_let_go(
    load: Load, graph: QueueGraph, floats: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinycore_qcom.graph._TABLES", 2)
    call = Call(load("add"), (floats(0), floats(1), floats(2)), (COUNT,), LAUNCH)
    for length in (1, 2, 1, 3):
        graph.replay([call] * length)
    assert [len(programs) for programs, _ in graph._tables] == [1, 3]


def test_no_calls_and_empty_grids_do_nothing(load: Load, graph: QueueGraph, floats: Floats) -> None:
    graph.replay([])
    empty = Launch((0, 1, 1), (128, 1, 1))
    call = Call(load("add"), (floats(0), floats(1), floats(2)), (COUNT,), empty)
    for _ in range(3):
        graph.replay([call, call])


def test_descriptors_and_groups_too_large_are_refused(
    device: Device, load: Load, graph: QueueGraph, floats: Floats
) -> None:
    call = Call(load("add"), (floats(0), floats(1), floats(2)), (COUNT,), LAUNCH)
    with pytest.raises(Unsupported, match="add: 1 descriptors given; expected none"):
        graph.replay([call._replace(descs=(b"",))])
    group = (device.target.caps.max_group_threads * 2, 1, 1)
    large = call._replace(launch=Launch((1, 1, 1), group))
    with pytest.raises(LaunchError, match=r"replay of 2 launches: .*INVALID_WORK_GROUP_SIZE"):
        graph.replay([call, large])
    graph.replay([call, call])
    device.synchronize()


def test_where_recording_fails_launches_are_queued(
    device: Device, load: Load, floats: Floats
) -> None:
    class Refusing(Recorder):
        def record(self, steps: Any) -> Any:
            raise OpenCLError("clCreateCommandBufferKHR", -6)

    graph = QueueGraph(device._queue, Refusing(device._queue))  # type: ignore[attr-defined]
    out, a, b = floats(0), floats(1), floats(0.5)
    for _ in range(3):
        graph.replay(chain(load("add"), out, a, b))
    assert content(device, out) == [6.0] * COUNT


def test_the_driver_records_where_it_has_an_extension(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue: Queue = device._queue  # type: ignore[attr-defined]
    here = "cl_khr_command_buffer" in extensions(queue.found)
    assert isinstance(find_recorder(queue), CommandBuffers) == here
    monkeypatch.setattr(recording, "extensions", lambda found: frozenset())
    assert find_recorder(queue) is None


def test_qualcomms_calls_are_made_in_their_order(
    device: Device, load: Load, floats: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their driver is not here: what would be called, not what it does."""
    said: list[tuple[Any, ...]] = []

    def extension(queue: Queue, name: str, letters: str, makes: bool = False) -> Any:
        def called(*arguments: Any) -> int:
            assert len(arguments) == len(letters)
            said.append((name, *arguments))
            return 7 if makes else 0

        return called

    queue: Queue = device._queue  # type: ignore[attr-defined]
    monkeypatch.setattr(Queue, "extension", extension)
    monkeypatch.setattr(recording, "_RECORDABLE", 0)
    recorder = RecordableQueue(queue)
    program: Any = load("add")
    program((floats(0), floats(1), floats(2)), (COUNT,), LAUNCH)
    made = recorder.record([Step(program._kernel, LAUNCH)] * 2)
    queue.library.call("clFinish", recorder._recorded)
    made.enqueue(None)
    del made
    names = [name for name, *_ in said]
    assert names == [
        "clNewRecordingQCOM",
        "clEndRecordingQCOM",
        "clEnqueueRecordingQCOM",
        "clReleaseRecordingQCOM",
    ]
    assert said[0][1] == recorder._recorded != queue.pointer
    assert said[2][1:] == (queue.pointer, 7, 0, None, 0, None, 0, None, 0, None, 0, None, None)
