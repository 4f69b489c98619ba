"""Programs take addresses and integers; graphs replay runs and notice what changed."""

import ctypes
import threading
from collections.abc import Callable, Iterator

import pytest

from tinycore.backend import Call, Handle, Launch, Unsupported
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.graph import CPUGraph
from tinycore_cpu.image import Image
from tinycore_cpu.memory import SPACE, HostAllocator, view_memory
from tinycore_cpu.program import CPUProgram
from tinycore_cpu.shared import SharedPool

COUNT = 1000


@pytest.fixture
def pool(compiler: LLVMCompiler) -> Iterator[SharedPool]:
    """A pool of three threads."""
    made = SharedPool(3, compiler.compile)
    yield made
    made.close()


class Floats:
    """Three buffers of floats: out, a, b."""

    def __init__(self, first: float, second: float) -> None:
        self.allocator = HostAllocator()
        self.handles = tuple(self.allocator.alloc(4 * COUNT, SPACE, 64) for _ in range(3))
        self.views = [floats(handle) for handle in self.handles]
        self.fill(first, second)

    def fill(self, first: float, second: float) -> None:
        for index in range(COUNT):
            self.views[0][index] = -1.0
            self.views[1][index] = first * index
            self.views[2][index] = second

    def result(self) -> list[float]:
        return list(self.views[0])


def floats(handle: Handle) -> memoryview:
    assert isinstance(handle, int)
    return view_memory(handle, 4 * COUNT).cast("f")


def expected(first: float, second: float, count: int = COUNT) -> list[float]:
    return [first * i + second for i in range(count)] + [-1.0] * (COUNT - count)


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 1, 1), (7, 1, 1), (2, 3, 4)])
def test_a_program_runs_its_whole_grid(
    kernels: Image, pool: SharedPool, grid: tuple[int, int, int]
) -> None:
    program = CPUProgram(kernels, "add", pool)
    data = Floats(2.0, 0.5)
    assert program(data.handles, (COUNT,), Launch(grid)) is None
    assert data.result() == expected(2.0, 0.5)


def test_a_value_is_an_argument_of_each_launch(kernels: Image, pool: SharedPool) -> None:
    program = CPUProgram(kernels, "add", pool)
    for count in (10, 999, 3):
        data = Floats(1.0, 2.0)
        program(data.handles, (count,), Launch((2, 1, 1)))
        assert data.result() == expected(1.0, 2.0, count)


def test_waiting_tells_the_seconds(kernels: Image, pool: SharedPool) -> None:
    program = CPUProgram(kernels, "add", pool)
    data = Floats(1.0, 1.0)
    time_s = program(data.handles, (COUNT,), Launch((2, 1, 1)), wait=True)
    assert time_s is not None
    assert 0 < time_s < 1


@pytest.mark.parametrize(
    ("grid", "tasks"), [((1, 1, 1), 1), ((2, 1, 1), 2), ((50, 4, 1), 3), ((0, 1, 1), 0)]
)
def test_a_grid_is_shared_by_as_many_tasks_as_there_are_threads(
    kernels: Image, pool: SharedPool, grid: tuple[int, int, int], tasks: int
) -> None:
    marks = (ctypes.c_int64 * 8)()
    CPUProgram(kernels, "count", pool)((ctypes.addressof(marks),), (), Launch(grid))
    assert list(marks) == [1] * tasks + [0] * (8 - tasks)


def test_descriptors_are_refused(kernels: Image, pool: SharedPool) -> None:
    program = CPUProgram(kernels, "add", pool)
    with pytest.raises(Unsupported, match="add: 1 descriptors given; expected none"):
        program((), (), Launch(), descs=(b"",))


def test_one_program_runs_in_several_threads_at_once(kernels: Image, pool: SharedPool) -> None:
    program = CPUProgram(kernels, "add", pool)
    wrong: list[int] = []

    def run(number: int) -> None:
        data = Floats(float(number), 1.0)
        for turn in range(100):
            data.views[0][0] = -1.0
            program(data.handles, (COUNT,), Launch((1 + turn % 3, 1, 1)))
            if data.result() != expected(float(number), 1.0):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def chain(program: CPUProgram, data: Floats, tasks: int, length: int) -> list[Call]:
    """out = a + b, then `length` times out = out + b."""
    out, a, b = data.handles
    launch = Launch((tasks, 1, 1))
    first = Call(program, (out, a, b), (COUNT,), launch)
    return [first] + [Call(program, (out, out, b), (COUNT,), launch) for _ in range(length)]


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_graph_replays_its_calls_in_order(kernels: Image, pool: SharedPool, tasks: int) -> None:
    graph = CPUGraph(pool)
    data = Floats(1.0, 0.5)
    calls = chain(CPUProgram(kernels, "add", pool), data, tasks, 9)
    for _ in range(3):
        data.fill(1.0, 0.5)
        graph.replay(calls)
        assert data.result() == expected(1.0, 5.0)


def test_a_graph_takes_new_buffers_and_values(kernels: Image, pool: SharedPool) -> None:
    graph = CPUGraph(pool)
    program = CPUProgram(kernels, "add", pool)
    old, new = Floats(1.0, 0.5), Floats(3.0, 2.0)
    graph.replay(chain(program, old, 2, 3))
    graph.replay(chain(program, new, 2, 3))
    assert new.result() == expected(3.0, 8.0)
    calls = chain(program, old, 2, 3)
    old.fill(1.0, 0.5)
    calls[2] = Call(program, calls[2].buffers, (10,), calls[2].launch)
    graph.replay(calls)
    assert old.result()[:12] == [i + (2.0 if i < 10 else 1.5) for i in range(12)]


def test_graphs_of_equal_length_are_told_apart(kernels: Image, pool: SharedPool) -> None:
    graph = CPUGraph(pool)
    program = CPUProgram(kernels, "add", pool)
    data = Floats(1.0, 0.5)
    wide = chain(program, data, 3, 2)
    narrow = chain(program, data, 1, 2)
    for calls in (wide, narrow, wide):
        data.fill(1.0, 0.5)
        graph.replay(calls)
        assert data.result() == expected(1.0, 1.5)


def test_a_graph_without_calls_does_nothing(pool: SharedPool) -> None:
    CPUGraph(pool).replay([])


def test_a_graph_keeps_its_programs_alive(kernels: Image, pool: SharedPool) -> None:
    graph = CPUGraph(pool)
    data = Floats(1.0, 0.5)
    for _ in range(100):
        graph.replay(chain(CPUProgram(kernels, "add", pool), data, 1, 1))
    assert data.result() == expected(1.0, 1.0)


def test_the_seconds_of_a_launch_hold_the_whole_launch(kernels: Image, pool: SharedPool) -> None:
    program = CPUProgram(kernels, "sums", pool)
    source = (ctypes.c_int64 * (1 << 20))(*[1] * (1 << 20))
    target = (ctypes.c_int64 * 3)()
    buffers = (ctypes.addressof(target), ctypes.addressof(source))
    program(buffers, (1,), Launch((3, 1, 1)))
    short = min(program(buffers, (1,), Launch((3, 1, 1)), True) or 0 for _ in range(9))
    long = min(program(buffers, (1 << 20,), Launch((3, 1, 1)), True) or 0 for _ in range(9))
    assert list(target) == [1 << 20] * 3
    assert long > 10 * short


SCRATCH = """
; scratch[0] = seed + task; out[task] = scratch[0]; arguments: out, seed, scratch of 64 bytes a task
define void @keep(ptr %args, i64 %task, i64 %tasks) nounwind {
  %seed_at = getelementptr i64, ptr %args, i64 1
  %scratch_at = getelementptr i64, ptr %args, i64 2
  %out = load ptr, ptr %args
  %seed = load i64, ptr %seed_at
  %scratch = load ptr, ptr %scratch_at
  %offset = mul i64 %task, 64
  %mine = getelementptr i8, ptr %scratch, i64 %offset
  %sum = add i64 %seed, %task
  store volatile i64 %sum, ptr %mine
  %again = load volatile i64, ptr %mine
  %at = getelementptr i64, ptr %out, i64 %task
  store i64 %again, ptr %at
  ret void
}
"""


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_each_task_has_scratch_memory_of_its_own(
    load: Callable[..., Image], pool: SharedPool, tasks: int
) -> None:
    program = CPUProgram(load(SCRATCH, "keep"), "keep", pool)
    launch = Launch((tasks, 1, 1), scratch_bytes=64)
    out = (ctypes.c_int64 * 3)()
    program((ctypes.addressof(out),), (10,), launch)
    assert list(out)[:tasks] == [10 + task for task in range(tasks)]
    graph = CPUGraph(pool)
    graph.replay([Call(program, (ctypes.addressof(out),), (20,), launch)] * 2)
    assert list(out)[:tasks] == [20 + task for task in range(tasks)]


def test_programs_share_scratch_memory_and_a_larger_one_moves_nobody(pool: SharedPool) -> None:
    small, same = pool.scratch(100), pool.scratch(50)
    large = pool.scratch(1 << 20)
    assert small is same
    assert (small.size_bytes, large.size_bytes) == (100, 1 << 20)
    assert pool.scratch(100) is large
