"""Prints the figures of docs/performance/launch.md: python measure_launch.py [rounds].

In: nothing. Out: microseconds, least and median, of ways to launch, taken in turns in one
process, so that a noisy moment hits all of them.
"""

import ctypes
import mmap
import statistics
import sys
import time
from collections.abc import Callable

from tinycore.backend import Call, Launch
from tinycore_cpu.arch import find_arch
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.graph import CPUGraph
from tinycore_cpu.image import Image, load_elf
from tinycore_cpu.loader import load_object
from tinycore_cpu.memory import Block
from tinycore_cpu.orc import load_by_llvm
from tinycore_cpu.pool import FUNCTIONS, NativePool, Pool
from tinycore_cpu.pool_ir import pool_module
from tinycore_cpu.program import CPUProgram
from tinycore_cpu.shared import SharedPool
from tinycore_cpu.system_ir import placing_text, sleeping_text
from tinycore_cpu.threads import PortablePool

KERNELS = """
define void @nop(ptr %args, i64 %task, i64 %tasks) nounwind { ret void }
; out = a + b, this task's share of n floats, n a multiple of 16 * tasks; arguments: out, a, b, n
define void @add(ptr %args, i64 %task, i64 %tasks) nounwind
    "prefer-vector-width"="512" "min-legal-vector-width"="512" {
entry:
  %a_at = getelementptr i64, ptr %args, i64 1
  %b_at = getelementptr i64, ptr %args, i64 2
  %n_at = getelementptr i64, ptr %args, i64 3
  %out = load ptr, ptr %args
  %a = load ptr, ptr %a_at
  %b = load ptr, ptr %b_at
  %n = load i64, ptr %n_at
  %share = udiv i64 %n, %tasks
  %first = mul i64 %share, %task
  %end = add i64 %first, %share
  br label %body
body:
  %i = phi i64 [ %first, %entry ], [ %next, %body ]
  %x_at = getelementptr float, ptr %a, i64 %i
  %y_at = getelementptr float, ptr %b, i64 %i
  %z_at = getelementptr float, ptr %out, i64 %i
  %x = load <16 x float>, ptr %x_at, align 64
  %y = load <16 x float>, ptr %y_at, align 64
  %z = fadd <16 x float> %x, %y
  store <16 x float> %z, ptr %z_at, align 64
  %next = add i64 %i, 16
  %more = icmp ult i64 %next, %end
  br i1 %more, label %body, label %done
done:
  ret void
}
"""
THREADS = 2
FAMILY = "x86"

Cases = dict[str, Callable[[], object]]


def main() -> None:
    """Measure everything and print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 31
    compiler = LLVMCompiler(find_arch("native"))
    kernels = load_object(compiler.compile(KERNELS), ("nop", "add"))
    pools: dict[str, Pool] = {
        "native": native(compiler, True, True),
        "native, not placed": native(compiler, True, False),
        "native, conditions": native(compiler, False, False),
        "portable": PortablePool(THREADS),
    }
    for title, size, turns in (("nop", 0, 300), ("add 64K", 1 << 16, 100), ("add 1M", 1 << 20, 20)):
        show(title, launches(kernels, pools, size), rounds, turns)
    show("programs", programs(kernels, compiler), rounds, 300)
    show("100 kernels", tables(kernels, compiler), rounds, 20)
    show("after 3 ms idle", waking(kernels, pools), rounds, 1, idle_s=0.003)
    show("one object", objects(compiler), rounds, 20)
    show("64 MB written once", pages(), rounds // 3, 1)


def native(compiler: LLVMCompiler, futex: bool, placed: bool) -> NativePool:
    """A native pool with chosen parts."""
    text = pool_module(FAMILY, sleeping_text(FAMILY, futex), placing_text(placed))
    return NativePool(load_object(compiler.compile(text), FUNCTIONS), THREADS)


def show(title: str, cases: Cases, rounds: int, turns: int, idle_s: float = 0.0) -> None:
    """Run the cases in turns and print a row for each."""
    seen: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            run()
            if idle_s:
                time.sleep(idle_s)
            start = time.perf_counter()
            for _ in range(turns):
                run()
            seen[name].append((time.perf_counter() - start) / turns * 1e6)
    print(f"{title}: microseconds, least and median of {rounds}")
    for name, found in seen.items():
        print(f"  {name:32s} {min(found):9.3f} {statistics.median(found):9.3f}")


def arguments(size: int) -> list[int]:
    """Buffers out, a, b of floats, and their length; kept for ever."""
    blocks = [Block(max(4 * size, 64)) for _ in range(3)]
    KEPT.extend(blocks)
    return [*(block.address for block in blocks), size]


KEPT: list[object] = []


def packed(values: list[int]) -> int:
    """The address of an argument block; kept for ever."""
    slots = (ctypes.c_int64 * len(values))(*values)
    KEPT.append(slots)
    return ctypes.addressof(slots)


def launches(kernels: Image, pools: dict[str, Pool], size: int) -> Cases:
    """One kernel on one thread, and on two by each pool."""
    kernel = kernels.functions["add" if size else "nop"]
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(kernel)
    place = packed(arguments(size))
    cases: Cases = {"one thread, ctypes": lambda: call(place, 0, 1)}
    for name, pool in pools.items():
        cases[name] = launching(pool, kernel, place)
    return cases


def launching(pool: Pool, kernel: int, place: int) -> Callable[[], object]:
    """One launch with a task a thread."""
    return lambda: pool.launch(kernel, place, THREADS)


def waking(kernels: Image, pools: dict[str, Pool]) -> Cases:
    """The first launch after the workers went to sleep."""
    nop = kernels.functions["nop"]
    return {name: launching(pool, nop, 0) for name, pool in pools.items()}


def programs(kernels: Image, compiler: LLVMCompiler) -> Cases:
    """What the core calls: a program with three buffers and a value."""
    program = CPUProgram(kernels, "nop", SharedPool(THREADS, compiler.compile))
    buffers, values = (1 << 20, 2 << 20, 3 << 20), (5,)
    one, two = Launch(), Launch((THREADS, 1, 1))
    return {
        "an empty Python call": lambda: None,
        "one task": lambda: program(buffers, values, one),
        "one task, timed": lambda: program(buffers, values, one, wait=True),
        "a task a thread": lambda: program(buffers, values, two),
    }


def tables(kernels: Image, compiler: LLVMCompiler) -> Cases:
    """A hundred kernels in a row."""
    pool = SharedPool(THREADS, compiler.compile)
    cases: Cases = {}
    for size, label in ((0, "nop"), (1 << 10, "add 1K"), (1 << 16, "add 64K")):
        program = CPUProgram(kernels, "add" if size else "nop", pool)
        values = arguments(size)
        for tasks in (1, THREADS):
            call = Call(program, tuple(values[:3]), (size,), Launch((tasks, 1, 1)))
            cases[f"{label}, {tasks} task(s), table"] = replaying(CPUGraph(pool), [call] * 100)
        alone = Call(program, tuple(values[:3]), (size,), Launch())
        cases[f"{label}, 1 task, 100 programs"] = calling(alone)
    return cases


def replaying(graph: CPUGraph, calls: list[Call]) -> Callable[[], object]:
    """One replay of a run."""
    return lambda: graph.replay(calls)


def calling(call: Call) -> Callable[[], object]:
    """A hundred launches of one call, without a table."""

    def run() -> None:
        for _ in range(100):
            call.program(call.buffers, call.values, call.launch)

    return run


def objects(compiler: LLVMCompiler) -> Cases:
    """One object made executable, and compiled."""
    binary = compiler.compile(KERNELS)
    return {
        "load, this loader": lambda: load_elf(binary),
        "load, LLVM's ORC": lambda: load_by_llvm(binary, ("add",)),
        "compile": lambda: compiler.compile(KERNELS),
    }


def pages() -> Cases:
    """Writing memory that is new, and memory that was written before."""
    size_bytes = 64 << 20
    old = Block(size_bytes)

    def large_pages() -> None:
        found = Block(size_bytes)
        ctypes.memset(found.address, 1, size_bytes)

    def small_pages() -> None:
        found = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(found)), 1, size_bytes)

    return {
        "reused": lambda: ctypes.memset(old.address, 1, size_bytes),
        "new, this allocator": large_pages,
        "new, 4 KB pages": small_pages,
    }


if __name__ == "__main__":
    main()
