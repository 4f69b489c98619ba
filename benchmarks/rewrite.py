"""What matching and rewriting cost: `python -m benchmarks.rewrite` prints a table in Markdown.

In: nothing. Out: nanoseconds a node, the least of several runs with the garbage collector off, over
an expression graph like that of an unrolled kernel, on which no rule of the simplifier fits.
"""

import gc
import random
from collections.abc import Callable
from time import perf_counter

from tinycore.dtype import dtypes
from tinycore.uop.index import axis
from tinycore.uop.ops import Ops, UOp, const, toposort
from tinycore.uop.simplify import simplify
from tinycore.uop.tree import Access, buffer, load, mask_value, store
from tinycore.uop.upat import Counters, PatternMatcher, graph_rewrite, sweep

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


def match_all(pm: PatternMatcher, order: list[UOp]) -> None:
    """Asks for the first rule that fits every node."""
    counters = Counters()
    for node in order:
        pm.rewrite(node, None, counters)


def main() -> None:
    """Prints the cost of a node in a graph that is simple already."""
    gc.disable()
    root, double = kernel_like(1_000), kernel_like(2_000)
    order = toposort([root])
    runs: dict[str, Callable[[], object]] = {
        "toposort": lambda: toposort([root]),
        "match alone": lambda: match_all(simplify, order),
        "match alone, by new rules": lambda: match_all(PatternMatcher(simplify.rules), order),
        "sweep": lambda: sweep([root], simplify),
        "fixpoint": lambda: graph_rewrite(root, simplify),
    }
    count = len(order)
    print(f"| nodes | {count} |")
    for name, run in runs.items():
        print(f"| {name} | {least(run) / count * 1e9:.0f} ns |")
    twice = least(lambda: graph_rewrite(double, simplify)) / len(toposort([double]))
    print(f"| fixpoint of twice the nodes | {twice * 1e9:.0f} ns |")


if __name__ == "__main__":
    main()
