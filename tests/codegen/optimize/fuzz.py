"""Random legal actions on random kernels: each tree is legal and computes what the kernel does.

`python -m tests.codegen.optimize.fuzz 1000 [seed]` runs long; tests run a few.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

from tests.codegen.optimize import assert_same, kernels, random_sizes
from tests.ir import kernels_of
from tests.shards import run_seeds
from tinycore.codegen.optimize.actions import apply
from tinycore.codegen.optimize.edit import Illegal, loads, loops_in
from tinycore.codegen.optimize.heuristic import heuristic
from tinycore.codegen.optimize.pieces import as_plan
from tinycore.codegen.optimize.split import PLACES
from tinycore.runtime.contract import Caps, Space
from tinycore.runtime.ref.frame import is_at_once
from tinycore.uop import Ops, UOp
from tinycore.uop.index import atoms
from tinycore.uop.parser import parse
from tinycore.uop.printer import canonical, show
from tinycore.uop.spec import check
from tinycore.uop.tree import Kernel, Plan, walk
from tinycore.util import prod

FACTORS = (1, 2, 3, 4, 5, 8, 16)
LONGEST = 6000  # characters of a tree: beyond, LLVM takes long
MOST_STEPS = 50_000  # that REF takes one by one, some 10 s: a copy in four loops has millions


def action(name: str, *arguments: str | int | tuple[tuple[str, ...], ...]) -> str:
    """The text of an action."""
    return f"{name}({', '.join(map(_text, arguments))})"


def _text(argument: str | int | tuple[tuple[str, ...], ...]) -> str:
    if isinstance(argument, tuple):
        return "".join(f"[{' '.join(axes)}]" for axes in argument)
    return str(argument)


def random_action(kernel: Kernel, random: Random) -> str:
    """An action that may or may not be legal."""
    name = random.choice(list(MAKERS))
    return MAKERS[name](name, kernel, random)


def _axis(kernel: Kernel, random: Random) -> str:
    names = [loop.arg.axis for loop in loops_in(kernel.body)]
    return random.choice(names) if names else "i0"


def _factor(name: str, kernel: Kernel, random: Random) -> str:
    return action(name, _axis(kernel, random), random.choice(FACTORS))


def _alone(name: str, kernel: Kernel, random: Random) -> str:
    return action(name, _axis(kernel, random))


def _pair(name: str, kernel: Kernel, random: Random) -> str:
    """A loop and one inside it, mostly the next."""
    pairs = [
        (outer.arg.axis, loop.arg.axis)
        for loop, around in walk(kernel.body)
        if loop.op is Ops.LOOP
        for outer in around[-2:]
    ]
    return action(name, *random.choice(pairs or [("i0", "i0")]))


def _map(name: str, kernel: Kernel, random: Random) -> str:
    return action(name, _axis(kernel, random), random.choice(PLACES))


def buffers_of(kernel: Kernel) -> list[UOp]:
    """Parameters and declared buffers."""
    return [*kernel.params, *[s for s, _ in walk(kernel.body) if s.op is Ops.BUFFER]]


def _stage(name: str, kernel: Kernel, random: Random) -> str:
    """A tile of what is read in a loop: the box of it, or the axes that its index holds."""
    pairs = [(statement, around) for statement, around in walk(kernel.body) if around]
    statement, around = random.choice(pairs) if pairs else (kernel.body[0], ())
    reads = loads([statement])
    if not reads or not pairs:
        return action(name, "b0", "i0", "packed", "box")
    read = random.choice(reads)
    depth = random.randrange(len(around))
    inside = [loop.arg.axis for loop in around[depth + 1 :]]
    used = {atom.name for index in read.arg.indices for atom in atoms(index)}
    axes = [axis for axis in inside if axis in used]
    random.shuffle(axes)
    layout: list[tuple[str, ...]] = [()]
    for axis in axes:
        layout += [()] if random.random() < 0.6 and layout[-1] else []
        layout[-1] = (*layout[-1], axis)
    chosen = tuple(layout) if random.random() < 0.5 and layout[-1] else "box"
    space = random.choice(("reg", "packed", "group"))
    return action(name, read.src[0].arg.name, around[depth].arg.axis, space, chosen)


def _at(name: str, kernel: Kernel, random: Random) -> str:
    stage = random.choice(buffers_of(kernel)).arg.name
    return action(name, stage, random.choice((_axis(kernel, random), "inline", "root")))


def _update(name: str, kernel: Kernel, random: Random) -> str:
    """A tile of all the axes inside a loop that a sum is stored at."""
    sums = [s for s, _ in walk(kernel.body) if s.op is Ops.STORE and s.arg.combine]
    pairs = [(s, around) for s, around in walk(kernel.body) if s in sums and around]
    if not pairs:
        return action(name, "b0", "i0", ((),))
    store, around = random.choice(pairs)
    depth = random.randrange(len(around))
    used = {atom.name for index in store.arg.places[0].indices for atom in atoms(index)}
    axes = [loop.arg.axis for loop in around[depth + 1 :] if loop.arg.axis in used]
    layout = tuple([(axis,) for axis in axes])
    return action(name, store.src[0].arg.name, around[depth].arg.axis, layout or ((),))


def _factor_of(name: str, kernel: Kernel, random: Random) -> str:
    """Mostly a state that is combined: others have neither factors nor identities."""
    every = buffers_of(kernel)
    states = [buffer for buffer in every if buffer.init]
    return action(name, random.choice(states + every[:1]).arg.name)


def _place(name: str, kernel: Kernel, random: Random) -> str:
    return action(name, random.choice(kernel.params).arg.name, "image")


MAKERS = {
    "AT": _at,
    "UPDATE": _update,
    "FACTOR": _factor_of,
    "FILL": _factor_of,
    "STAGE": _stage,
    "SPLIT": _factor,
    "FUSE": _pair,
    "REORDER": _pair,
    "MAP": _map,
    "RFACTOR": _alone,
    "PEEL": _alone,
    "MASK": _alone,
    "OVERLAP": _factor,
    "PLACE": _place,
}


def steps_of(kernel: Kernel) -> int:
    """How many statements REF runs: iterations that run at once are one."""
    total = 0
    for _, around in walk(kernel.body):
        alone = [loop.arg.extent.hi for loop in around if not is_at_once(loop)]
        total += prod(alone)
    return total


def is_small(tree: Kernel) -> bool:
    """True for a tree that REF runs soon, and a compiler compiles soon."""
    return len(show(tree)) <= LONGEST and steps_of(tree) <= MOST_STEPS


def legal_actions(
    kernel: Kernel,
    random: Random,
    length: int,
    make: Callable[[Kernel, Random], str] | None = None,
    fits: Callable[[Kernel], bool] = is_small,
) -> Iterator[tuple[str, Kernel]]:
    """Random actions that are legal one after the other, and the tree after each, which `fits`."""
    tree, taken = kernel, 0
    for _ in range(4 * length):
        text = (make or random_action)(tree, random)
        with suppress(Illegal):
            changed = apply(tree, text)
            if changed != tree and fits(changed):
                tree = changed
                taken += 1
                yield text, tree
        if taken == length:
            return


def run(seed: int, length: int = 8, verbose: bool = False) -> Counter[str]:
    """One kernel and some legal actions on it; returns how often each was taken."""
    random = Random(seed)
    kernel = random.choice(list(kernels(**random_sizes(random)).values()))
    tree, taken = kernel, Counter[str]()
    for text, tree in legal_actions(kernel, random, length):
        taken[name_of(text)] += 1
        if verbose:
            print(text)
            print(show(tree))
        check(tree, "action")
    assert_same(kernel, tree, seed)
    with suppress(Illegal):  # what stands beside a grid may have come after it
        assert_same(kernel, planned(tree), seed)
    again = parse(show(tree))["k"]
    assert isinstance(again, Kernel)
    assert canonical(again) == canonical(tree), "the text is another kernel"
    return taken


def name_of(text: str) -> str:
    """What an action does: its name, with the place if it is MAP."""
    name, _, rest = text.removesuffix(")").partition("(")
    return f"{name} {rest.split(', ')[-1]}" if name == "MAP" else name


def run_heuristic(seed: int) -> None:
    """The plan that BEAM=0 makes of a random kernel for a random machine computes the same."""
    random = Random(seed)
    kernel = random.choice(list(kernels(**random_sizes(random)).values()))
    caps = Caps(
        dtypes=("float32", "int32"),
        spaces=(Space("host", 1 << 30),),
        vector_bytes=random.choice((16, 32, 64)),
        registers=random.choice((16, 32)),
        cache_bytes=(1 << 12, 1 << 14),
        units=random.choice((1, 2, 8)),
    )
    assert_same(kernel, planned(heuristic(kernel, caps)[0]), seed)


def planned(tree: Kernel) -> Plan:
    """The launches of a kernel, each of them legal."""
    plan = as_plan(tree)
    for launched in kernels_of(plan):
        check(launched, "action")
    return plan


if __name__ == "__main__":
    if sys.argv[1:2] == ["show"]:
        run(int(sys.argv[2]), verbose=True)
    else:
        sys.exit(bool(run_seeds(run)[1]))
