"""The machine's ceiling as a contender: as many multiply-adds as a product takes, from registers.

Comes in: the inputs of a case, for their sizes alone. Goes out: a call that runs fused
multiply-adds on every core and computes nothing; beside it, a ratio is the share of the ceiling.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm

from benchmarks.cases import Arrays

COMPUTES = False
LANES, CHAINS = 16, 16  # vectors of 64 bytes; more chains than latency times ports
CORES = sorted(os.sched_getaffinity(0))


def version() -> str:
    """What ran."""
    return f"fused multiply-adds, {len(CORES)} threads"


def prepare(name: str, sets: Sequence[Arrays]) -> Callable[[int], None]:
    """The multiply-adds of a @ b. Raises: KeyError for another case."""
    a, b = {"matmul": sets[0]}[name]
    each = a.size * b.shape[1] // (len(CORES) * LANES * CHAINS)
    chains, pool = _compiled(), ThreadPoolExecutor(len(CORES))

    def work(core: int) -> None:
        os.sched_setaffinity(0, {core})  # of this thread: two must not wake on one core
        chains(each)

    def run(k: int) -> None:
        list(pool.map(work, CORES))

    return run


def _compiled() -> Callable[[int], float]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_text()), machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(engine.get_function_address("run"))

    def call(count: int, kept: object = engine) -> float:
        return function(count)

    return call


def _text() -> str:
    """A loop over CHAINS independent sums, each of LANES elements: x = x * 0.5 + 1."""
    vector = f"<{LANES} x float>"
    half, one = (f"{vector} splat (float {value})" for value in ("0.5", "1.0"))
    chains = range(CHAINS)
    phis = [f"  %x{k} = phi {vector} [ splat (float {k}.0), %in ], [ %y{k}, %go ]" for k in chains]
    steps = [
        f"  %y{k} = call {vector} @llvm.fma.v{LANES}f32({vector} %x{k}, {half}, {one})"
        for k in chains
    ]
    ends = [f"  %s0 = fadd {vector} %y0, %y1"]
    ends += [f"  %s{k} = fadd {vector} %s{k - 1}, %y{k + 1}" for k in range(1, CHAINS - 1)]
    return "\n".join(
        [
            f"declare {vector} @llvm.fma.v{LANES}f32({vector}, {vector}, {vector})",
            'define float @run(i64 %n) "prefer-vector-width"="512" {',
            "in:",
            "  br label %go",
            "go:",
            "  %i = phi i64 [ 0, %in ], [ %j, %go ]",
            *phis,
            *steps,
            "  %j = add i64 %i, 1",
            "  %more = icmp slt i64 %j, %n",
            "  br i1 %more, label %go, label %out",
            "out:",
            *ends,
            f"  %r = extractelement {vector} %s{CHAINS - 2}, i32 0",
            "  ret float %r",
            "}",
        ]
    )
