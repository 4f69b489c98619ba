"""The meaning of a graph in numpy, node by node: what every schedule is compared with.

In: graph nodes and arrays for their BUFFERs. Out: the array each node stands for. It shares no
code with the scheduler: every op is written as numpy would say it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinycore.dtype import AS_BITS, DType
from tinycore.uop import graph
from tinycore.uop.index import Dim, Index
from tinycore.uop.ops import ELEMENTWISE, Ops, UOp, toposort

Array = np.ndarray[Any, np.dtype[Any]]
_COMBINE: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def numpy_type(dtype: DType) -> np.dtype[Any]:
    """The numpy type that holds the values of an element type."""
    return np.dtype("float32" if dtype in AS_BITS else dtype.name)


class Evaluator:
    """Values of nodes, each computed once; `variables` gives the VARIABLEs by name."""

    def __init__(self, data: Mapping[UOp, Array], variables: Mapping[str, int]) -> None:
        self.values: dict[UOp, Array] = dict(data)
        self.variables = variables

    def __call__(self, root: UOp) -> Array:
        with np.errstate(all="ignore"):
            for node in toposort([root]):
                if node not in self.values:
                    sources = [self.values[source] for source in node.src]
                    value = RULES[node.op](self, node, *sources)
                    self.values[node] = np.asarray(value).astype(numpy_type(node.dtype))
        return self.values[root]

    def number(self, extent: Dim) -> int:
        """An extent or a bound as an integer."""
        if isinstance(extent, Index):
            return int(extent.evaluate(lambda atom: self.variables[atom.name]))
        return extent

    def shape(self, node: UOp) -> tuple[int, ...]:
        """The shape of a node with its variables bound."""
        return tuple([self.number(extent) for extent in node.shape])


def _scalar(run: Evaluator, node: UOp, *values: Array) -> Array:
    shaped = [np.asarray(value) for value in values]
    reference = node.op.row.reference
    assert reference is not None, f"evaluate: no reference for {node}"
    return np.broadcast_to(reference(np, *shaped), run.shape(node))


def _reduce(run: Evaluator, node: UOp, x: Array) -> Array:
    function = _COMBINE[node.arg.combine]
    identity = {"sum": 0, "prod": 1, "max": node.dtype.min, "min": node.dtype.max}
    start = np.array(identity[node.arg.combine]).astype(numpy_type(node.dtype))
    if node.dtype.kind == "b" and node.arg.combine in ("max", "min"):
        function = np.logical_or if node.arg.combine == "max" else np.logical_and
    return function.reduce(x, axis=node.arg.axes, keepdims=True, initial=start, dtype=x.dtype)


def _pad(run: Evaluator, node: UOp, x: Array) -> Array:
    pairs = [(run.number(lo), run.number(hi)) for lo, hi in node.arg.pairs]
    return np.pad(x, pairs, constant_values=node.arg.fill)


def _shrink(run: Evaluator, node: UOp, x: Array) -> Array:
    return x[_box(run, node.arg)]


def _box(run: Evaluator, pairs: Any) -> tuple[slice, ...]:
    return tuple([slice(run.number(begin), run.number(end)) for begin, end in pairs])


def _skew(run: Evaluator, node: UOp, x: Array) -> Array:
    arg = node.arg
    out = np.zeros(run.shape(node), x.dtype)
    moved_out = np.moveaxis(out, (arg.axis, arg.window), (0, 1))
    moved_in = np.moveaxis(x, (arg.axis, arg.window), (0, 1))
    for j in range(moved_in.shape[1]):
        for o in range(moved_in.shape[0] if arg.inverse else moved_out.shape[0]):
            place = o * arg.stride + j * arg.dilation
            if arg.inverse and place < moved_out.shape[0]:
                moved_out[place, j] = moved_in[o, j]
            elif not arg.inverse:
                moved_out[o, j] = moved_in[place, j]
    return out


def _gather(run: Evaluator, node: UOp, rows: Array, ids: Array) -> Array:
    places = np.where(ids < 0, ids.astype(np.int64) + rows.shape[0], ids)
    valid = (places >= 0) & (places < rows.shape[0])
    found = rows[np.where(valid, places, 0)]
    valid = valid.reshape(valid.shape + (1,) * (rows.ndim - 1))
    return np.where(valid, found, np.zeros((), rows.dtype))


def _scatter(run: Evaluator, node: UOp, base: Array, ids: Array, values: Array) -> Array:
    out = base.copy()
    for place in np.ndindex(ids.shape):
        row = int(ids[place])
        row = row + base.shape[0] if row < 0 else row
        if 0 <= row < base.shape[0]:
            out[row] = _COMBINE[node.arg](out[row], values[place])
    return out


def _store(run: Evaluator, node: UOp, base: Array, value: Array) -> Array:
    """Element numbers seen through the view say where each element of the value goes."""
    shape = run.shape(node)
    numbers = np.arange(base.size).reshape(shape)
    for op, arg in node.arg:
        numbers = _VIEWS[op](run, arg, numbers)
    out = base.copy().reshape(-1)
    out[numbers.reshape(-1)] = np.broadcast_to(value, numbers.shape).reshape(-1)
    return out.reshape(shape)


def _shaped(run: Evaluator, shape: Any) -> tuple[int, ...]:
    return tuple([run.number(extent) for extent in shape])


_VIEWS: dict[Ops, Callable[[Evaluator, Any, Array], Array]] = {
    Ops.RESHAPE: lambda run, arg, x: x.reshape(_shaped(run, arg)),
    Ops.PERMUTE: lambda run, arg, x: x.transpose(arg),
    Ops.SHRINK: lambda run, arg, x: x[_box(run, arg)],
    Ops.FLIP: lambda run, arg, x: np.flip(x, arg),
}

RULES: dict[Ops, Callable[..., Array]] = {
    Ops.CONST: lambda run, node: np.array(node.arg),
    Ops.VARIABLE: lambda run, node: np.array(run.variables[node.arg[0]]),
    Ops.IOTA: lambda run, node: np.arange(node.arg),
    Ops.RESHAPE: lambda run, node, x: x.reshape(run.shape(node)),
    Ops.PERMUTE: lambda run, node, x: x.transpose(node.arg),
    Ops.EXPAND: lambda run, node, x: np.broadcast_to(x, run.shape(node)),
    Ops.PAD: _pad,
    Ops.SHRINK: _shrink,
    Ops.FLIP: lambda run, node, x: np.flip(x, node.arg),
    Ops.SKEW: _skew,
    Ops.REDUCE: _reduce,
    Ops.GATHER: _gather,
    Ops.SCATTER: _scatter,
    Ops.STORE: _store,
    Ops.DETACH: lambda run, node, x: x,
    Ops.CONTIGUOUS: lambda run, node, x: x,
    **dict.fromkeys(ELEMENTWISE, _scalar),
    Ops.CAST: lambda run, node, x: node.dtype.convert(x),
    Ops.BITCAST: lambda run, node, x: x.view(numpy_type(node.dtype)),
}


def evaluate(
    root: UOp, data: Mapping[UOp, Array], variables: Mapping[str, int] | None = None
) -> Array:
    """The array that `root` stands for."""
    return Evaluator(data, variables or {})(root)


def device_buffer(number: int, array: Array, dtype: DType) -> UOp:
    """A leaf of the graph for `array`."""
    return graph.graph_buffer(number, array.shape, dtype, "REF")
