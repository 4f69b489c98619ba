"""Scalar expressions as numpy arrays: what both sides of a rule are compared by."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from tinycore.dtype import DType, dtypes
from tinycore.uop.index import Index, atoms
from tinycore.uop.ops import Ops, UOp, toposort

Array = np.ndarray[Any, Any]


def leaf(name: str, dtype: DType) -> UOp:
    """A value of which nothing is known but its type."""
    return UOp(Ops.BUFFER, dtype, (), name)


def edge_values(dtype: DType, rng: np.random.Generator) -> Array:
    """Values at which a wrong rule shows, and random ones."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.is_float:
        edges = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 65504.0, np.inf, -np.inf, np.nan]
        return np.concatenate([edges, rng.normal(size=8) * 10]).astype(dtype.name)
    lo, hi = int(dtype.min), int(dtype.max)
    edges = sorted({lo, lo + 1, max(lo, -8), max(lo, -1), 0, 1, 2, 3, 7, 8, hi - 1, hi})
    drawn = rng.integers(lo, hi, size=8, endpoint=True, dtype=dtype.name)
    return np.concatenate([np.array(edges, dtype=dtype.name), drawn])


def points(nodes: list[UOp], seed: int = 0) -> dict[Any, Array]:
    """Every combination of edge values of the leaves and of places of the axes under `nodes`."""
    rng = np.random.default_rng(seed)
    axes: dict[Any, Array] = {}
    for node in toposort(nodes):
        if node.op is Ops.BUFFER:
            axes[node] = edge_values(node.dtype, rng)
        if node.op is Ops.VARIABLE:
            axes[node] = np.arange(node.arg[1], node.arg[2] + 1, dtype=node.dtype.name)
        for value in indices(node):
            for atom in atoms(value):
                axes[atom] = np.arange(atom.lo, atom.hi + 1)
    places = list(product(*[range(len(values)) for values in axes.values()]))
    if len(places) > 4_000:
        places = [places[k] for k in rng.choice(len(places), 4_000, replace=False)]
    columns = np.array(places, dtype=int).reshape(len(places), len(axes))
    return {key: axes[key][columns[:, k]] for k, key in enumerate(axes)}


def indices(node: UOp) -> tuple[Index, ...]:
    """The index values in a node."""
    if node.op is Ops.INDEX:
        return (node.arg,)
    return node.arg if node.op is Ops.MASK else ()


def compute(root: UOp, env: Mapping[Any, Array]) -> Array:
    """The values of `root` at the points of `env`."""
    found: dict[UOp, Array] = {}
    with np.errstate(all="ignore"):
        for node in toposort([root]):
            found[node] = _value(node, [found[source] for source in node.src], env)
    size = max([len(values) for values in env.values()], default=1)
    return np.broadcast_to(found[root], (size,))


def _value(node: UOp, src: list[Array], env: Mapping[Any, Array]) -> Array:
    name = node.dtype.name
    if node in env:
        return env[node]
    if node.op is Ops.CONST:
        return np.array([node.arg], dtype=name)
    if node.op is Ops.INDEX:
        return np.asarray(node.arg.evaluate(lambda atom: env[atom])).astype(name)
    if node.op is Ops.MASK:
        parts = [value.evaluate(lambda atom: env[atom]) >= 0 for value in node.arg]
        return np.asarray(np.logical_and.reduce(parts))
    if node.op is Ops.CAST:
        return src[0].astype(name)
    if node.op is Ops.BITCAST:
        return np.ascontiguousarray(src[0]).view(name)
    reference = node.op.row.reference
    assert reference is not None, f"values: {node.op} has no reference"
    return np.asarray(reference(np, *src)).astype(name)


def same(a: Array, b: Array, signed_zero: bool = True) -> bool:
    """True if equal bit by bit; a NaN is any NaN."""
    equal = (a == b) | ((a != a) & (b != b))
    if signed_zero and a.dtype.kind == "f":
        zeros = (a == 0) & (b == 0)
        equal &= ~zeros | (np.signbit(a) == np.signbit(b))
    return bool(a.dtype == b.dtype and equal.all())


FLOATS = (dtypes.float16, dtypes.float32, dtypes.float64)
