"""L1 and L2, smoke: every scalar op and the kernels that networks are made of, against numpy.

In: the open device. Out: a verdict a case. Inputs are bit patterns as well as ordinary numbers, so
that infinities, NaN, zeros of both signs and denormals come along; the oracle is numpy in float64,
rounded once. Bounds: units in the last place for one op, gamma(n) * sum |x| for sums.
"""

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from tinycore.runtime.device import OpenDevice

# ULP bounds of the OpenCL full profile (section 7.4 of its specification) for float32.
UNARY = {
    "neg": (np.negative, 0),
    "exp": (np.exp, 3),
    "log": (np.log, 3),
    "sqrt": (np.sqrt, 3),
    "reciprocal": (np.reciprocal, 2.5),
    "trunc": (np.trunc, 0),
    "sin": (np.sin, 4),
}
DTYPES = (
    "int8",
    "uint8",
    "int16",
    "int32",
    "uint32",
    "int64",
)
BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
COMPARED = {"lt": np.less, "eq": np.equal}
INTEGERS = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}
SHAPES = (
    (1,),
    (7, 5),
    (64,),
    (3, 1, 17),
    (129, 65),
)
SIZES = (
    (1, 1, 1),
    (7, 5, 3),
    (64, 64, 64),
    (33, 65, 129),
)
PADDING = (
    (1, 2),
    (0, 0),
    (0, 1),
    (2, 0),
)
EDGES = (
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
)
SMALLEST = float(np.finfo(np.float32).tiny)


def seeded(name: str) -> np.random.Generator:
    """Numbers that depend on nothing but the name of a case."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def patterns(name: str, count: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Floats of uniform bit patterns: every exponent, and the edges."""
    bits = seeded(name).integers(0, 1 << 32, count, dtype=np.uint32)
    edges = np.array(EDGES, np.float32)
    found = np.concatenate([bits.view(np.float32), edges])
    # what devices may flush is not asked for here
    return np.where(np.abs(found) < SMALLEST, np.float32(0), found)


def tensor(values: Any, device: "OpenDevice") -> Any:
    """The values on the device under test."""
    from tinycore import Tensor

    return Tensor(values, device=device.name)


def close(found: Any, exact: Any, ulp: float) -> None:
    """Every element within `ulp` units of the exact value's last place; NaN is NaN."""
    exact = np.asarray(exact, np.float64)
    with np.errstate(all="ignore"):
        wanted = exact.astype(np.float32)
        size = np.abs(wanted)
        unit = np.spacing(np.maximum(size, np.float32(SMALLEST)))
        error = np.abs(found - exact)
        tiny = size < SMALLEST
        tiny &= np.abs(found) <= SMALLEST
        same = found == wanted
        same |= np.isnan(found) & np.isnan(wanted)
    inside = error <= (ulp + 0.5) * unit
    wrong = ~(same | tiny | inside)
    assert not wrong.any(), f"{int(wrong.sum())} elements, first {found[wrong][0]!r}"


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_operand_is_within_its_bound(name: str, tc_device: "OpenDevice") -> None:
    """All exponents, edges too; the sine over the range where its argument is meaningful."""
    function, ulp = UNARY[name]
    values = patterns(name, 4096)
    if name == "sin":
        values = seeded(name).uniform(-1000, 1000, 4096).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = function(values.astype(np.float64))
    method = getattr(tensor(values, tc_device), name)
    close(method().numpy(), exact, ulp)


@pytest.mark.parametrize("name", BINARY)
def test_a_function_of_two_operands_is_correctly_rounded(
    name: str, tc_device: "OpenDevice"
) -> None:
    """Pairs of bit patterns."""
    left = patterns(name + "l", 4096)
    right = patterns(name + "r", 4096)
    function = BINARY[name]
    with np.errstate(all="ignore"):
        exact = function(left.astype(np.float64), right.astype(np.float64))
    method = getattr(tensor(left, tc_device), name)
    found = method(tensor(right, tc_device))
    close(found.numpy(), exact, 0)


@pytest.mark.parametrize("name", COMPARED)
def test_comparisons_know_nan_and_zero(name: str, tc_device: "OpenDevice") -> None:
    """Bit patterns against themselves turned around."""
    left = patterns(name, 4096)
    third = np.arange(len(left)) % 3 == 0
    right = np.where(third, left, left[::-1])
    method = getattr(tensor(left, tc_device), name)
    found = method(tensor(right, tc_device))
    wanted = COMPARED[name](left, right)
    assert (found.numpy() == wanted).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*INTEGERS, "add", "mul"])
def test_integers_wrap(name: str, dtype: str, tc_device: "OpenDevice") -> None:
    """Values over the whole range of the type."""
    bounds = np.iinfo(dtype)
    rng = seeded(name + dtype)
    shape = (2, 500)
    drawn = rng.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)
    left, right = drawn
    function: Any = {**INTEGERS, **BINARY}[name]
    method = getattr(tensor(left, tc_device), name)
    found = method(tensor(right, tc_device))
    with np.errstate(all="ignore"):
        wanted = function(left, right)
    assert (found.numpy() == wanted).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_sums_keep_their_bound(
    shape: tuple[int, ...], axis: int | None, tc_device: "OpenDevice"
) -> None:
    """Both signs, then all positive, which exposes narrow accumulators."""
    rng = seeded(f"{shape}{axis}")
    signed = rng.standard_normal(shape, dtype=np.float32)
    for values in (signed, np.abs(signed)):
        given = tensor(values, tc_device)
        wide = values.astype(np.float64)
        count = values.size if axis is None else shape[axis]
        size = np.abs(wide).sum(axis)
        bound = count * 2.0**-24 * size + SMALLEST
        error = given.sum(axis).numpy() - wide.sum(axis)
        assert (np.abs(error) <= bound).all()
        largest = given.max(axis).numpy()
        assert (largest == values.max(axis)).all()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_matrix_products_keep_their_bound(
    sizes: tuple[int, int, int], tc_device: "OpenDevice"
) -> None:
    """Ragged and whole tiles, transposed operands too."""
    rows, columns, depth = sizes
    rng = seeded(str(sizes))
    a = rng.standard_normal((rows, depth), dtype=np.float32)
    b = rng.standard_normal((columns, depth), dtype=np.float32)
    product = tensor(a, tc_device) @ tensor(b, tc_device).T
    wide_a = a.astype(np.float64)
    wide_b = b.astype(np.float64)
    error = product.numpy() - wide_a @ wide_b.T
    size = np.abs(wide_a) @ np.abs(wide_b).T
    bound = (depth + 1) * 2.0**-23 * size + SMALLEST
    assert (np.abs(error) <= bound).all()


def test_movements_move(tc_device: "OpenDevice") -> None:
    """Views of views, flipped, padded, cut."""
    values = np.arange(120, dtype=np.int32).reshape(2, 3, 4, 5)
    moved = tensor(values, tc_device).permute(3, 1, 0, 2).flip(0)[1:, :, :, ::2]
    expected = values.transpose(3, 1, 0, 2)[::-1][1:, :, :, ::2]
    assert (moved.numpy() == expected).all()
    padded = moved.pad(PADDING, value=-7)
    padded = padded.reshape(-1)
    wanted = np.pad(expected, PADDING, constant_values=-7)
    wanted = wanted.reshape(-1)
    assert (padded.numpy() == wanted).all()


def test_a_small_network_learns_as_the_reference_does(tc_device: "OpenDevice") -> None:
    """L4 smoke: the loss of a convolutional net over ten steps, beside REF's."""
    losses = [_train(tc_device.name), _train("REF")]
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


def _train(device: str) -> list[float]:
    from tinycore import Tensor

    rng = np.random.default_rng(0)
    shapes = ((4, 1, 3, 3), (4,), (10, 36))
    draw = [rng.standard_normal(shape).astype(np.float32) * 0.3 for shape in shapes]
    weights = [Tensor(value, device=device).realize() for value in draw]
    x = Tensor(rng.standard_normal((8, 1, 8, 8)).astype(np.float32), device=device)
    y = Tensor(rng.integers(0, 10, 8).astype(np.int32), device=device)
    losses = []
    for _ in range(10):
        hidden = x.conv2d(weights[0], weights[1]).relu().max_pool2d((2, 2)).flatten(1)
        loss = (hidden @ weights[2].T).cross_entropy(y)
        for weight, grad in zip(weights, loss.gradient(*weights), strict=True):
            weight.assign(weight - grad * 0.1)
        loss.realize(*weights)
        losses.append(float(loss.item()))
    return losses
