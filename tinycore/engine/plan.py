"""A graph to run becomes a list of launches over numbered slots, kept for the next equal graph.

In: sinks. Out: an `ExecutionPlan` and the leaves it reads. Next file: run.py.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tinycore import config
from tinycore.engine.compile import load_kernel
from tinycore.engine.run import Steps
from tinycore.runtime.device import OpenDevice
from tinycore.schedule import Sinks, create_schedule
from tinycore.uop.ops import Ops, UOp, arena, toposort
from tinycore.uop.shape import size_of
from tinycore.util import round_up

_ALIGNMENT = 256

Numbers = tuple[int, ...]


class ExecutionPlan(NamedTuple):
    """Launches over slots: first the leaves, then the sinks, then the regions of temporaries.

    `places` are the slots of the sinks; one in place uses that of its old buffer.
    """

    steps: Steps
    places: Numbers
    region_bytes: Numbers


_plans: dict[Any, ExecutionPlan] = {}


def plan_for(sinks: Sinks, device: OpenDevice) -> tuple[ExecutionPlan, list[UOp]]:
    """The plan of these sinks on `device`, and the BUFFERs behind its leaf slots."""
    key, leaves = graph_key(sinks)
    full = key, device.name, config.key()
    if full not in _plans or not config.SCACHE.value:
        with arena():
            _plans[full] = _plan(sinks, leaves, device)
    return _plans[full], leaves


def graph_key(sinks: Sinks) -> tuple[Any, list[UOp]]:
    """The graph as a tuple of numbers and arguments, and its BUFFERs in order of appearance.

    Equal graphs over other data, aliased alike, have one key.
    """
    place: dict[UOp | None, int] = {}
    leaves: list[UOp] = []
    rows = []
    roots = [node for sink in sinks for node in sink if node]
    for node in toposort(roots):
        place[node] = len(place)
        arg = node.arg
        if node.op is Ops.BUFFER:
            arg = (len(leaves), arg.shape)
            leaves.append(node)
        elif node.op is Ops.CONTIGUOUS:
            arg = None
        elif node.op is Ops.CONST:
            arg = repr(arg)
        sources = [place[source] for source in node.src]
        rows.append((node.op, node.dtype, arg, *sources))
    ends = [(place[node], place.get(old)) for node, old in sinks]
    return (tuple(rows), tuple(ends)), leaves


def _plan(sinks: Sinks, leaves: Sequence[UOp], device: OpenDevice) -> ExecutionPlan:
    schedule = create_schedule(sinks, device.caps)
    slot: dict[object, int] = {}
    for number, node in enumerate([*leaves, *schedule.places]):
        slot.setdefault(node, number)
    sizes: dict[object, int] = {}  # in bytes, of each temporary
    runs = []
    for kernel, buffers in schedule.kernels:
        steps, temps = load_kernel(kernel, device)
        inside = {object(): size_bytes for size_bytes in temps}
        new = {node: size_of(node) * node.dtype.itemsize for node in buffers if node not in slot}
        sizes |= new | inside
        arguments = [*buffers, *inside]
        runs += [(step, [arguments[k] for k in step.slots]) for step in steps]
    touches = [(one, at) for at, (_, used) in enumerate(runs) for one in used]
    first = dict(reversed(touches))
    last = dict(touches)
    lives = [(size_bytes, first[one], last[one]) for one, size_bytes in sizes.items()]
    regions, region_bytes = plan_memory(lives)
    for one, region in zip(sizes, regions, strict=True):
        slot[one] = len(leaves) + len(sinks) + region
    placed = [step._replace(slots=tuple(slot[one] for one in used)) for step, used in runs]
    return ExecutionPlan(placed, tuple(slot[place] for place in schedule.places), region_bytes)


def plan_memory(lives: Sequence[tuple[int, int, int]]) -> tuple[Numbers, Numbers]:
    """The region of each temporary, and the size of each region, in bytes.

    A temporary is given as its size and the steps of its first write and its last read; those alive
    at one step never share a region. Best fit: the smallest free region that is large enough, else
    the largest free one grown.
    """
    regions: dict[int, tuple[int, int]] = {}  # sizes, and the steps that they are busy until
    region_of = []
    for size_bytes, first, last in lives:
        wanted = round_up(max(size_bytes, 1), _ALIGNMENT)
        free = [
            (held < wanted, abs(held - wanted), k)
            for k, (held, until) in regions.items()
            if until < first
        ]
        *_, chosen = min(free, default=(len(regions),))
        held, _ = regions.get(chosen, (0, 0))
        regions[chosen] = max(held, wanted), last
        region_of.append(chosen)
    return tuple(region_of), tuple(held for held, _ in regions.values())
