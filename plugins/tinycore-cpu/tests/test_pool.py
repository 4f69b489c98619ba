"""Every task of a launch runs exactly once, whatever the threads, and idle threads cost nothing."""

import ctypes
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tinycore_cpu import host, shared
from tinycore_cpu.arch import find_arch
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.image import Image
from tinycore_cpu.loader import load_object
from tinycore_cpu.memory import Block
from tinycore_cpu.pool import FUNCTIONS, NativePool, Pool
from tinycore_cpu.pool_ir import pool_module
from tinycore_cpu.shared import SharedPool
from tinycore_cpu.system_ir import placing_text, sleeping_text
from tinycore_cpu.threads import PortablePool

FAMILY = "arm" if platform.machine().lower() in ("arm64", "aarch64") else "x86"
TASKS = 1000

Make = Callable[[int], Pool]


@pytest.fixture(params=["futex and placing", "condition", "portable"])
def make(request: pytest.FixtureRequest, compiler: LLVMCompiler) -> Iterator[Make]:
    """Makes pools of one kind, and ends them after the test."""
    made: list[Pool] = []

    def pool(threads: int) -> Pool:
        if request.param == "portable":
            made.append(PortablePool(threads))
        else:
            futex = request.param != "condition"
            text = pool_module(FAMILY, sleeping_text(FAMILY, futex), placing_text(futex))
            made.append(NativePool(load_object(compiler.compile(text), FUNCTIONS), threads))
        return made[-1]

    yield pool
    for one in made:
        one.close()


class Marks:
    """A counter for each task, and the arguments of the kernel `count`."""

    def __init__(self) -> None:
        self.memory = Block(8 * TASKS)
        self.arguments = Block(8)
        ctypes.c_int64.from_address(self.arguments.address).value = self.memory.address

    def read(self) -> list[int]:
        return list((ctypes.c_int64 * TASKS).from_address(self.memory.address))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_each_task_runs_once(make: Make, kernels: Image, threads: int) -> None:
    pool = make(threads)
    marks = Marks()
    counts = (0, 1, 2, 3, 7, 8, 9, TASKS)
    for tasks in counts:
        pool.launch(kernels.functions["count"], marks.arguments.address, tasks)
    expected = [sum(task < tasks for tasks in counts) for task in range(TASKS)]
    assert marks.read() == expected


@pytest.mark.parametrize("threads", [2, 5])
def test_launches_of_several_python_threads_do_not_mix(
    make: Make, kernels: Image, threads: int
) -> None:
    pool = make(threads)
    marks = [Marks() for _ in range(4)]

    def launch(own: Marks) -> None:
        for _ in range(200):
            pool.launch(kernels.functions["count"], own.arguments.address, 6)

    callers = [threading.Thread(target=launch, args=(own,)) for own in marks]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for own in marks:
        assert own.read() == [200] * 6 + [0] * (TASKS - 6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_table_runs_in_order_and_each_launch_sees_the_one_before(
    make: Make, kernels: Image, threads: int
) -> None:
    pool = make(threads)
    tasks, launches = 4, 12
    values = (ctypes.c_int64 * (tasks * (launches + 1)))(*[1] * tasks)
    arguments = (ctypes.c_int64 * (3 * launches))()
    table = (ctypes.c_int64 * (3 * launches))()
    start = ctypes.addressof(values)
    for index in range(launches):
        source = start + 8 * tasks * index
        arguments[3 * index : 3 * index + 3] = [source + 8 * tasks, source, tasks]
        place = ctypes.addressof(arguments) + 24 * index
        table[3 * index : 3 * index + 3] = [kernels.functions["sums"], place, tasks]
    pool.replay(ctypes.addressof(table), launches)
    rows = [values[tasks * index : tasks * (index + 1)] for index in range(launches + 1)]
    assert rows == [[4**index] * tasks for index in range(launches + 1)]


def test_idle_threads_use_no_processor_time(make: Make, kernels: Image) -> None:
    pool = make(4)
    marks = Marks()
    pool.launch(kernels.functions["count"], marks.arguments.address, 4)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.25)
    assert time.process_time() - before < 0.025


def test_sleeping_threads_wake_up(make: Make, kernels: Image) -> None:
    pool = make(3)
    marks = Marks()
    for _ in range(10):
        pool.launch(kernels.functions["count"], marks.arguments.address, 3)
        time.sleep(0.01)
    assert marks.read()[:4] == [10, 10, 10, 0]


def test_a_closed_pool_still_runs_launches_alone(make: Make, kernels: Image) -> None:
    before = threading.active_count()
    pool = make(2)
    marks = Marks()
    pool.launch(kernels.functions["count"], marks.arguments.address, 2)
    assert threading.active_count() == before + 1
    pool.close()
    assert threading.active_count() == before
    if isinstance(pool, NativePool):
        pool.launch(kernels.functions["count"], marks.arguments.address, 2)
        assert marks.read()[:3] == [2, 2, 0]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs affinity masks")
def test_the_launching_thread_keeps_its_own_mask(make: Make, kernels: Image) -> None:
    pool = make(2)
    marks = Marks()
    mine = os.sched_getaffinity(0)
    for cpu in sorted(mine):
        os.sched_setaffinity(0, {cpu})
        try:
            for _ in range(100):
                pool.launch(kernels.functions["count"], marks.arguments.address, 2)
            assert os.sched_getaffinity(0) == {cpu}
        finally:
            os.sched_setaffinity(0, mine)
    assert marks.read()[:2] == [100 * len(mine)] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_gets_a_pool_of_its_own(compiler: LLVMCompiler, kernels: Image) -> None:
    pool = SharedPool(3, compiler.compile)
    marks = Marks()

    def launch() -> None:
        pool.get().launch(kernels.functions["count"], marks.arguments.address, 3)

    launch()
    for _ in range(5):
        child = os.fork()
        if not child:
            launch()
            os._exit(0 if marks.read()[:4] == [2, 2, 2, 0] else 1)
        assert finished(child) == 0
    launch()
    assert marks.read()[:4] == [2, 2, 2, 0]
    pool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_middle_of_a_launch_does_not_hang_the_child(
    compiler: LLVMCompiler, kernels: Image
) -> None:
    pool = SharedPool(2, compiler.compile)
    marks, stop = Marks(), threading.Event()

    def launch(times: int) -> None:
        for _ in range(times):
            pool.get().launch(kernels.functions["count"], marks.arguments.address, TASKS)

    def keep_launching() -> None:
        while not stop.is_set():
            launch(20)

    busy = threading.Thread(target=keep_launching)
    busy.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                launch(3)
                os._exit(0)
            assert finished(child) == 0
    finally:
        stop.set()
        busy.join()
        pool.close()


def finished(child: int) -> int:
    """The exit status of a child process; one that hangs is ended and fails the test."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child process hangs")


def test_threads_end_with_the_interpreter(compiler: LLVMCompiler) -> None:
    script = """
import ctypes, time
from tinycore_cpu.arch import find_arch
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.loader import load_object
from tinycore_cpu.shared import SharedPool
compiler = LLVMCompiler(find_arch("native"))
source = "define void @k(ptr %a, i64 %t, i64 %n) { ret void }"
image = load_object(compiler.compile(source), ("k",))
pool = SharedPool(4, compiler.compile)
for _ in range(100):
    pool.get().launch(image.functions["k"], 0, 4)
print("done")
"""
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
        assert time.monotonic() - start < 10


def test_two_threads_that_ask_first_get_the_same_pool(compiler: LLVMCompiler) -> None:
    slow = threading.Barrier(4)
    compiled: list[str] = []

    def compile_text(text: str) -> bytes:
        compiled.append(text)
        return compiler.compile(text)

    pool, found = SharedPool(2, compile_text), []

    def ask() -> None:
        slow.wait()
        found.append(pool.get())

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (len(set(map(id, found))), len(compiled)) == (1, 1)


def test_a_system_without_posix_threads_gets_the_portable_pool(
    monkeypatch: pytest.MonkeyPatch, compiler: LLVMCompiler, kernels: Image
) -> None:
    monkeypatch.setattr(shared, "has_symbols", lambda *names: False)
    pool = shared.make_pool(2, compiler.compile)
    assert isinstance(pool, PortablePool)
    pool.close()


def test_a_system_without_futex_sleeps_on_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "has_symbols", lambda *names: "syscall" not in names)
    text = shared.native_text()
    assert text is not None
    assert ("pthread_cond_wait" in text, "@syscall" in text) == (True, False)
    assert "sched_setaffinity" not in text


@pytest.mark.parametrize("futex", [True, False])
@pytest.mark.parametrize("family", ["x86", "arm"])
def test_the_pool_compiles_for_both_families(family: str, futex: bool) -> None:
    arch = find_arch({"x86": "x86-64", "arm": "aarch64"}[family])
    text = pool_module(family, sleeping_text(family, futex), placing_text(futex))
    assert LLVMCompiler(arch).compile(text).startswith(b"\x7fELF")


@pytest.mark.slow
def test_a_hundred_thousand_launches_lose_no_task(make: Make, kernels: Image) -> None:
    pool = make(3)
    marks = Marks()
    launches = 5_000 if isinstance(pool, PortablePool) else 100_000
    for _ in range(launches):
        pool.launch(kernels.functions["count"], marks.arguments.address, 3)
    assert marks.read()[:4] == [launches] * 3 + [0]


def test_a_launch_does_not_wait_for_threads_that_have_not_begun(
    compiler: LLVMCompiler, kernels: Image
) -> None:
    text = pool_module(FAMILY, sleeping_text(FAMILY, futex=True), placing_text(placed=True))
    pool = NativePool(load_object(compiler.compile(text), FUNCTIONS), host.core_count())
    pool._started = True  # as if no thread ever got a processor
    marks, mine = Marks(), host.allowed_cpus()
    for _ in range(100):
        pool.launch(kernels.functions["count"], marks.arguments.address, 20)
    assert marks.read() == [100] * 20 + [0] * (TASKS - 20)
    assert host.allowed_cpus() == mine
