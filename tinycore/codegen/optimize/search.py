"""BEAM=n: the actions that measure best, found by changing those of the heuristic step by step.

In: a kernel, capabilities and a way to time candidates. Out: action texts. Next file:
engine/tune.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tinycore.codegen.optimize.actions import Actions, applied
from tinycore.codegen.optimize.analysis import imageable, perfect_pairs
from tinycore.codegen.optimize.edit import find, loops_in, read
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.config import DEBUG
from tinycore.runtime.contract import Caps
from tinycore.uop import Ops, UOp
from tinycore.uop.printer import show
from tinycore.uop.tree import GLOBAL, Kernel
from tinycore.util import format_seconds

Evaluate = Callable[[Sequence[Actions]], Sequence[float | str]]
"""Seconds of each candidate, or the reason why it has none."""

ROUNDS = 6
MOST = 64
ENOUGH = 0.98


class Found(NamedTuple):
    """A candidate and its time. Units: seconds."""

    seconds: float
    actions: Actions


def search(kernel: Kernel, caps: Caps, width: int, evaluate: Evaluate) -> Actions:
    """The best candidate after some rounds of changing the `width` best ones."""
    seen: set[str] = set()
    measured = partial(_measured, kernel, evaluate, seen)
    _, first = heuristic(kernel, caps)
    best = measured([first] if caps.max_group_threads > 1 else [first, ()])
    if not best:
        return first
    for number in range(ROUNDS):
        changed = [new for one in best[:width] for new in neighbours(kernel, one.actions, caps)]
        found = measured(changed)
        least = best[0].seconds
        best = sorted([*best, *found])[:width]
        if DEBUG.value >= 1:
            told = f"{len(changed)} candidates, best {format_seconds(best[0].seconds)}"
            print(f"BEAM {kernel.name}: round {number + 1}, {told}")
        if DEBUG.value >= 3:
            print(f"  {' '.join(best[0].actions)}")
        if not found or best[0].seconds > least * ENOUGH:
            break
    seen.clear()
    again = measured([*[one.actions for one in best], first])
    return again[0].actions if again else first


def _measured(
    kernel: Kernel, evaluate: Evaluate, seen: set[str], candidates: Iterable[Actions]
) -> list[Found]:
    """Those that are new and compute the same, the fastest first.

    Two lists of actions that give one tree are one candidate.
    """
    new: dict[str, Actions] = {}
    for actions in candidates:
        tree, legal = applied(kernel, actions)
        new.setdefault(show(tree), legal)
    texts = [text for text in new if text not in seen][:MOST]
    seen.update(texts)
    chosen = [new[text] for text in texts]
    found = []
    for outcome, actions in zip(evaluate(chosen), chosen, strict=True):
        if DEBUG.value >= 4:
            print(f"  {outcome}: {' '.join(actions)}")
        if not isinstance(outcome, str):
            found.append(Found(outcome, actions))
    return sorted(found)


def neighbours(kernel: Kernel, actions: Actions, caps: Caps) -> Iterator[Actions]:
    """Lists that differ in one decision: a factor, an action less, one before, some after."""
    for at, text in enumerate(actions):
        for other in _other_factors(text):
            yield (*actions[:at], other, *actions[at + 1 :])
    for extra in _last(applied(kernel, actions)[0], caps):
        yield (*actions, *extra)
    for text in _first(kernel):
        yield (text, *actions)
    for at in range(len(actions)):
        yield actions[:at] + actions[at + 1 :]


def _other_factors(text: str) -> Iterator[str]:
    head, _, tail = text.removesuffix(")").rpartition(" ")
    if not tail.isdigit():
        return
    number = int(tail)
    near = {number // 2, 2 * number, 4 * number}
    if number < 16:
        near |= {*range(number - 2, number + 3)}
    for other in sorted(near - {number}):
        if other > 1:
            yield f"{head} {other})"


def _first(kernel: Kernel) -> Iterator[str]:
    for buffer in find(kernel.body, Ops.BUFFER):
        yield f"AT({buffer.name}, inline)"
        yield f"AT({buffer.name}, root)"
    for outer, inner in perfect_pairs(kernel.body):
        yield f"FUSE({outer}, {inner})"


def _last(tree: Kernel, caps: Caps) -> Iterator[Actions]:
    free: dict[str, UOp] = {}
    for loop in loops_in(tree.body):
        if not loop.map:
            free.setdefault(loop.name, loop)
    for name, loop in free.items():
        yield from _for_loop(loop, name, caps)
    for name in imageable(tree, caps):
        yield (f"PLACE({name}, image)",)


def _for_loop(loop: UOp, name: str, caps: Caps) -> Iterator[Actions]:
    if loop.kind == "par":
        yield (f"MAP({name}, grid)",)
        yield (f"MAP({name}, reg)",)
    if caps.max_group_threads > 1:
        cut = f"SPLIT({name}, {caps.lanes})"
        parted = (f"RFACTOR({name}.1)", f"MAP({name}.1.j, thread)") * (loop.kind == "red")
        yield (cut, *parted, f"MAP({name}.1, thread)")
        yield (f"MAP({name}, thread)",)
    if name.endswith(".0"):
        yield (f"PEEL({name})",)
    for factor in (2, 4, 8):
        cut = f"SPLIT({name}, {factor})"
        yield (cut, f"MAP({name}.1, unroll)")
        if loop.kind == "red":
            yield (cut, f"RFACTOR({name}.1)", f"MAP({name}.1, reg)")
    if loop.extent.hi <= 8:
        yield (f"MAP({name}, unroll)",)
    near = [space for space in caps.tile_spaces if space != "reg"]
    for buffer in sorted(read([loop]), key=lambda one: one.name):
        for space in near if buffer.space == GLOBAL else ():
            yield (f"STAGE({buffer.name}, {name}, {space}, box)",)
    inside = loop.source
    if inside.is_loop:
        yield (f"REORDER({name}, {inside.name})",)
