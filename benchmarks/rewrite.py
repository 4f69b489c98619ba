"""What matching and rewriting cost: `python -m benchmarks.rewrite` prints a table in Markdown.

In: nothing. Out: nanoseconds a node, the least of several runs with the garbage collector off, over
an expression graph like that of an unrolled kernel, on which no rule of the simplifier fits.
"""

import gc
import random
from collections.abc import Callable
from time import perf_counter

from benchmarks.interpreted import apply
from tinycore.dtype import dtypes
from tinycore.uop.index import axis
from tinycore.uop.matcher import Decisions, Writer
from tinycore.uop.ops import Ops, UOp, const, toposort
from tinycore.uop.pattern import Rule
from tinycore.uop.rewrite import graph_rewrite, sweep
from tinycore.uop.simplify import simplify
from tinycore.uop.tree import Access, buffer, load, mask_value, store

F32 = dtypes.float32
MIX = (Ops.ADD, Ops.ADD, Ops.ADD, Ops.MUL, Ops.MUL, Ops.MUL, Ops.MAX, Ops.EXP, Ops.RECIP)


def kernel_like(size: int, seed: int = 0) -> UOp:
    """`size` scalar operations over loads, a mask here and there, ending in stores."""
    rng = random.Random(seed)
    i = axis("i", 1 << 20)
    source, target = buffer("X", F32, (1 << 20,)), buffer("Y", F32, (1 << 20,))
    values = [load(source, Access((i + k,))) for k in range(size // 8)]
    for number in range(size):
        op = rng.choice(MIX)
        recent = values[-40:]
        if number % 16 == 0:
            guard = mask_value((1000 + number - i,))
            values.append(UOp(Ops.WHERE, F32, (guard, rng.choice(recent), const(number, F32))))
        elif op in (Ops.EXP, Ops.RECIP):
            values.append(UOp(op, F32, (rng.choice(recent),)))
        else:
            values.append(UOp(op, F32, tuple(rng.sample(recent, 2))))
    stores = [store(target, Access((i + k,)), value) for k, value in enumerate(values[-40:])]
    root = UOp(Ops.BLOCK, dtypes.void, tuple(stores))
    return graph_rewrite(root, simplify)


def least(measured: Callable[[], object], runs: int = 15) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(runs):
        start = perf_counter()
        measured()
        times.append(perf_counter() - start)
    return min(times)


def match_all(order: list[UOp]) -> None:
    """Asks the decision function of every node."""
    decisions = simplify.decisions
    for node in order:
        decide = decisions[node.op]
        if decide is not None:
            decide(node, None)


def interpret_all(order: list[UOp]) -> None:
    """The same by walking patterns."""
    by_op = {op: _rules(op) for op in Ops}
    for node in order:
        apply(by_op[node.op], node)


def build_all(ops: list[Ops]) -> None:
    """Makes the decision function of every op that a rule looks at."""
    decisions = Decisions(simplify.rules)
    for op in ops:
        _ = decisions[op]


def build_rows() -> list[tuple[str, float, str]]:
    """The cost of making every decision function of the simplifier."""
    ways = {op: len(Writer(op, _rules(op)).ways) for op in Ops}
    ops = [op for op in Ops if ways[op]]
    seconds = least(lambda: build_all(ops))
    total = sum(ways.values())
    return [
        ("rules", len(simplify.rules), ""),
        ("ordered ways, over all ops", total, ""),
        ("build, for each rule", seconds / len(simplify.rules) * 1e6, "us"),
        ("build, for each way", seconds / total * 1e6, "us"),
        ("build, for each op", seconds / len(ops) * 1e6, "us"),
    ]


def node_rows() -> list[tuple[str, float, str]]:
    """The cost of a node in a graph that is simple already."""
    root, double = kernel_like(1_000), kernel_like(2_000)
    order = toposort([root])
    runs: dict[str, Callable[[], object]] = {
        "toposort": lambda: toposort([root]),
        "match alone, generated": lambda: match_all(order),
        "match alone, patterns walked": lambda: interpret_all(order),
        "sweep of a list": lambda: sweep(order, simplify),
        "fixpoint": lambda: graph_rewrite(root, simplify),
    }
    count = len(order)
    rows: list[tuple[str, float, str]] = [("nodes", count, "")]
    rows += [(name, least(run) / count * 1e9, "ns") for name, run in runs.items()]
    twice = least(lambda: graph_rewrite(double, simplify)) / len(toposort([double]))
    return [*rows, ("fixpoint of twice the nodes", twice * 1e9, "ns")]


def _rules(op: Ops) -> list[Rule]:
    return [rule for rule in simplify.rules if op in (rule.pattern.ops or Ops)]


def main() -> None:
    """Prints the table."""
    gc.disable()
    for name, figure, unit in [*build_rows(), *node_rows()]:
        print(f"| {name} | {figure:.0f} {unit}".rstrip() + " |")


if __name__ == "__main__":
    main()
