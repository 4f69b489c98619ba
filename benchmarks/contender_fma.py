"""The machine's ceiling of arithmetic as a contender: so many multiply-adds, from registers.

Comes in: a case, for its work and type alone. Goes out: a call that runs fused multiply-adds on
every core and computes nothing; beside it, a ratio is the share of the ceiling.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from benchmarks.cases import Case, LeftOut, Sets
from benchmarks.native import CORES, Everywhere, Work, compiled, features

CHAINS = 16  # independent sums; more than latency times ports


class Step(NamedTuple):
    """One instruction: the vector of sums, its function, the operands' type and values, its work.

    Units: `products` are multiplications with an addition each.
    """

    sums: str
    function: str
    operands: str
    values: str
    products: int
    needs: str = ""


_FLOAT = Step("<16 x float>", "llvm.fma.v16f32", "<16 x float>", "float 0.5", 16)
STEPS = {
    "float32": [_FLOAT],
    "float16": [_FLOAT],
    "float64": [Step("<8 x double>", "llvm.fma.v8f64", "<8 x double>", "double 0.5", 8)],
    "bfloat16": [
        Step(
            "<16 x float>",
            "llvm.x86.avx512bf16.dpbf16ps.512",
            "<32 x bfloat>",
            "bfloat 0.5",
            32,
            "avx512bf16",
        ),
        _FLOAT,
    ],
    "int8": [
        Step("<16 x i32>", "llvm.x86.avx512.vpdpbusd.512", "<16 x i32>", "i32 7", 64, "avx512vnni")
    ],
}
"""The instructions of which the fastest counts; 16-bit floats may be widened to float32."""


def version() -> str:
    """What ran."""
    return f"fused multiply-adds, {len(CORES)} threads"


def prepare(case: Case, sets: Sets) -> Everywhere:
    """As many multiply-adds as the case takes. Raises: LeftOut if it is held to its traffic."""
    if case.facts.unit != "GFLOP/s":
        raise LeftOut("not arithmetic")
    present = features()
    usable = [step for step in STEPS[case.dtype] if not step.needs or step.needs in present]
    if not usable:
        raise LeftOut(f"this machine multiplies no {case.dtype}")
    return Everywhere([_work(step, case.work() / 2) for step in usable])


def _work(step: Step, products: float) -> Work:
    rounds = max(1, round(products / (len(CORES) * step.products * CHAINS)))
    chains = compiled(_text(step), 1)

    def work(number: int, k: int) -> None:
        chains(rounds)

    return work


def to_numpy(output: Any) -> NDArray[Any]:
    """Nothing is computed, so nothing is asked for."""
    raise NotImplementedError


def poison(output: Any) -> None:
    """There is no output."""


def _text(step: Step) -> str:
    """A loop over CHAINS independent sums, which goes round %n times."""
    kind = step.sums
    given = f"{step.operands} splat ({step.values})"
    zero = "zeroinitializer"
    ends = [f"  %s{k} = call i64 @first({kind} %y{k})" for k in range(CHAINS)]
    lines = []
    for k in range(CHAINS):
        arguments = f"{kind} %x{k}, {given}, {given}"
        lines.append(f"  %y{k} = call {kind} @{step.function}({arguments})")
    totals = [f"  %t{k} = xor i64 %t{k - 1}, %s{k}" for k in range(1, CHAINS)]
    parameters = f"{kind}, {step.operands}, {step.operands}"
    return "\n".join(
        [
            f"declare {kind} @{step.function}({parameters})",
            *_first(kind),
            'define i64 @run(i64 %n) "prefer-vector-width"="512" {',
            "in:",
            "  br label %go",
            "go:",
            "  %i = phi i64 [ 0, %in ], [ %j, %go ]",
            *[f"  %x{k} = phi {kind} [ {zero}, %in ], [ %y{k}, %go ]" for k in range(CHAINS)],
            *lines,
            "  %j = add i64 %i, 1",
            "  %more = icmp slt i64 %j, %n",
            "  br i1 %more, label %go, label %out",
            "out:",
            *ends,
            "  %t0 = add i64 %s0, 0",
            *totals,
            f"  ret i64 %t{CHAINS - 1}",
            "}",
        ]
    )


def _first(kind: str) -> list[str]:
    """A function that makes a number of a vector, so that the vector must be there."""
    words = "<8 x i64>"
    return [
        f"define internal i64 @first({kind} %x) alwaysinline {{",
        f"  %w = bitcast {kind} %x to {words}",
        f"  %r = extractelement {words} %w, i32 0",
        "  ret i64 %r",
        "}",
    ]
