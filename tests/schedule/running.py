"""Runs a schedule on REF and compares every sink with numpy.

In: sinks with their old buffers, and arrays. Out: the schedule, after all values were checked.
"""

from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np

from tests.schedule.evaluate import Array, Evaluator
from tinycore.dtype import to_dtype
from tinycore.runtime.ref import run_kernel
from tinycore.schedule.create import Schedule, schedule_within
from tinycore.schedule.emit import ScheduledKernel
from tinycore.schedule.nodes import Limits
from tinycore.uop import Ops, UOp, graph
from tinycore.uop.index import upper_shape
from tinycore.uop.printer import canonical, show
from tinycore.uop.spec import check
from tinycore.uop.tree import walk

Sink = tuple[UOp, UOp | None]
_numbers = count(10_000)


class Data(dict[UOp, Array]):
    """Buffers with their arrays."""

    def put(self, array: Array) -> UOp:
        """A buffer that holds `array`."""
        dtype = to_dtype(str(array.dtype))
        node = graph.graph_buffer(next(_numbers), array.shape, dtype, "REF")
        self[node] = array
        return node


def run(
    schedule: Schedule, data: Mapping[UOp, Array], variables: Mapping[str, int] | None = None
) -> dict[UOp, Array]:
    """Every buffer after the kernels; new ones start as poison."""
    arrays = {node: array.copy() for node, array in data.items()}
    for scheduled in schedule.kernels:
        for node in scheduled.buffers:
            if node not in arrays:
                arrays[node] = _poison(node)
        run_kernel(scheduled.kernel, [arrays[node] for node in scheduled.buffers], variables)
    return arrays


def _poison(node: UOp) -> Array:
    value = np.nan if node.dtype.is_float else 77
    return node.dtype.encode(np.full(upper_shape(node.shape), value))


def check_sinks(
    sinks: Sequence[Sink | UOp],
    data: Mapping[UOp, Array],
    limits: Limits | None = None,
    variables: Mapping[str, int] | None = None,
    tolerance: float = 3e-5,
) -> Schedule:
    """Schedule and run; every sink holds its value, and no other input has changed."""
    pairs = [sink if isinstance(sink, tuple) else (sink, None) for sink in sinks]
    evaluator = Evaluator(data, variables or {})
    wanted = [evaluator(node) for node, _ in pairs]
    limits = limits or Limits(units=2)
    schedule = schedule_within(pairs, limits)
    for scheduled in schedule.kernels:
        check(scheduled.kernel, "schedule")
        assert len(scheduled.buffers) <= limits.buffers, "a kernel of too many buffers"
    arrays = run(schedule, data, variables)
    for (_, old), place, value in zip(pairs, schedule.places, wanted, strict=True):
        assert place is old or place.op is not Ops.BUFFER, "a sink in a buffer of another"
        compare(used_part(arrays[place], value), value, tolerance)
    written = set(schedule.places)
    for node, array in data.items():
        if node not in written:
            np.testing.assert_array_equal(arrays[node], array, "an input was overwritten")
    return schedule


def written(scheduled: ScheduledKernel) -> list[UOp]:
    """The buffers a kernel writes."""
    kernel, buffers = scheduled
    stores = [s.src[0] for s, _ in walk(kernel.body) if s.op is Ops.STORE]
    return [node for node, param in zip(buffers, kernel.params, strict=True) if param in stores]


def temporaries(schedule: Schedule) -> list[UOp]:
    """What is stored and is no place of a sink."""
    stored = [node for scheduled in schedule.kernels for node in written(scheduled)]
    return [node for node in stored if node not in schedule.places]


def used_part(found: Array, wanted: Array) -> Array:
    """The elements below the symbolic extents."""
    return found[tuple(slice(0, extent) for extent in wanted.shape)]


def compare(found: Array, wanted: Array, tolerance: float) -> None:
    """Equal shape, type and values; NaN equals NaN."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    finite = np.abs(np.where(np.isfinite(wanted), wanted, 0).astype(np.float64))
    size = finite.max(initial=1.0)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * size)


def texts(schedule: Schedule) -> str:
    """The canonical text of all kernels."""
    return "\n".join([show(canonical(one.kernel)) for one in schedule.kernels])
