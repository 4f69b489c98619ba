"""Turns cells whose value is asked for into stored data, by calling every stage.

In: cells. Out: the same cells, settled in buffers. docs/ir.md says what is run along and what may
be overwritten. Next file: plan.py.
"""

from collections.abc import Iterable

from tinycore.dtype import dtypes
from tinycore.engine.cell import PENDING, PINNED, STATES, Cell, buffer_of, new_node
from tinycore.engine.plan import plan_for
from tinycore.engine.run import BOUND, OPEN, copied, run_steps
from tinycore.errors import ArgumentError, CaptureError
from tinycore.runtime.buffer import Buffer
from tinycore.runtime.registry import Device
from tinycore.schedule import Sinks
from tinycore.uop import graph
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Rebuild, indices


def realize(cells: Iterable[Cell]) -> None:
    """Store the current version of every cell, in place where nobody can tell.

    Raises: what compiling and running raise; cells not reached stay pending.
    """
    asked = [cell for cell in cells if not cell.is_realized]
    for device in dict.fromkeys(cell.device for cell in asked):
        here = [cell for cell in asked if cell.device == device]
        _realize_on(device, _with_company(here))


def _realize_on(device: str, cells: list[Cell]) -> None:
    sinks = _without_copies([(cell.uop, cell.stored) for cell in cells])
    opened = Device[device]
    plan, leaves = plan_for(sinks, opened)
    nodes = leaves + [
        new_node(Buffer(device, node.dtype, node.size), node.shape) for node, _ in sinks
    ]
    placed = [nodes[slot] for slot in plan.places]
    buffers = list(map(buffer_of, nodes))
    buffers += [Buffer(device, dtypes.uint8, count) for count in plan.region_bytes]
    run_steps(plan.steps, buffers, opened)
    recording = OPEN.recording
    if recording:
        recording.roots.extend(cell.uop for cell in cells)
        recording.written.update(map(buffer_of, placed))
    for cell, node in zip(cells, placed, strict=True):
        cell.settle(_stable(node, cell.stored))


def _stable(node: UOp, old: UOp | None) -> UOp:
    """A cell that a capture uses keeps its buffer: a replay reads and writes where that did."""
    if not old or node is old or not (OPEN.recording or buffer_of(old) in PINNED):
        return node
    cell = Cell(node, buffer_of(old).device)
    cell.stored = old
    _realize_on(cell.device, [cell])
    assert cell.uop is old, "realize: a copy back did not go in place"
    return old


def bind_variable(name: str, lo: int, hi: int, value: int) -> None:
    """Let a variable stand for `value`; what is pending on its old number is computed first.

    Raises: ArgumentError if the value lies outside lo .. hi; CaptureError while a capture is open.
    """
    if OPEN.recording:
        raise CaptureError(
            f"bind: {name} is bound inside a captured function; a replay would read the number it "
            "has then. Bind it outside and pass it."
        )
    if not lo <= value <= hi:
        wrong = f"bind: {name} = {value} lies outside its bounds; expected {lo} to {hi}"
        raise ArgumentError(f"{wrong}. Declare the variable with wider bounds.")
    if BOUND.get(name, value) != value:
        realize([cell for cell in PENDING if _is_symbolic(cell.uop)])
    BOUND[name] = value


def _is_symbolic(root: UOp) -> bool:
    return any(node.op is Ops.VARIABLE or [*indices(node.arg)] for node in toposort([root]))


def _with_company(cells: list[Cell]) -> list[Cell]:
    """The cells, the random counters they read, and the pending readers of what they overwrite."""
    states = [state for state in STATES if not state.is_realized]
    reached = set(toposort([cell.uop for cell in cells])) if states else set()
    found = dict.fromkeys(cells + [state for state in states if state.stored in reached])
    reading = {cell.stored for cell in found if cell.stored}
    others = [cell for cell in PENDING if cell not in found] if reading else []
    for node in toposort([cell.uop for cell in others]):
        if not reading.isdisjoint(node.src):
            reading.add(node)
    return [*found, *[cell for cell in others if cell.uop in reading]]


def _without_copies(sinks: Sinks) -> Sinks:
    """The sinks with every COPY done, once its source is realized where it lives."""
    if all(not node.is_copy for node in toposort([node for node, _ in sinks])):
        return sinks

    def done(node: UOp) -> UOp:
        return _moved(node.source, node.arg) if node.is_copy else node

    moved = Rebuild(look=done)
    return [(moved.node(node), old) for node, old in sinks]


def _moved(source: UOp, device: str) -> UOp:
    if not source.is_buffer:
        cell = Cell(source, graph.device_of(source) or device)
        realize([cell])
        source = cell.uop
    return new_node(copied(buffer_of(source), device), source.shape)
