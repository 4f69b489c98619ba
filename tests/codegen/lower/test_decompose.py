"""Every scalar op computes what the op table says, in every element type, on a real processor."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.codegen.harness import NATIVE, TARGET, Built, caps, kernel_of, run, target
from tinycore.codegen.lower.decompose import decompose
from tinycore.dtype import NARROW, DType, dtypes
from tinycore.runtime.contract import Target, Unsupported
from tinycore.runtime.ref import run_kernel
from tinycore.uop.ops import Ops, toposort

Array = NDArray[Any]
LANES = 16


def apply(
    expression: str,
    result: DType,
    *inputs: tuple[Array, DType],
    on_ref: bool = False,
    on: Target = TARGET,
) -> Array:
    """`expression` of X, Y, Z elementwise, over stored elements; by REF if asked."""
    size = inputs[0][0].size
    assert size % LANES == 0
    names = "XYZ"[: len(inputs)]
    heads = [f"{n} {dtype.short}[{size}]" for n, (_, dtype) in zip(names, inputs, strict=True)]
    for name in names:
        expression = expression.replace(name, f"{name}[{LANES}*i + j]")
    text = f"kernel apply({', '.join(heads)}, R {result.short}[{size}])\n"
    text += f"  par i:{size // LANES} @grid: par j:{LANES} @vec: R[{LANES}*i + j] = {expression}\n"
    kernel = kernel_of(text)
    out = np.zeros(size, result.storage)
    arrays = [*[array for array, _ in inputs], out]
    if on_ref:
        run_kernel(kernel, arrays, {})
    else:
        Built(kernel, on)(*arrays)
    return out


def ulps(found: Array, exact: Array) -> float:
    """The largest error in units in the last place, where the exact result is finite."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(found.dtype)
    finite = np.isfinite(rounded)
    error = np.abs(found[finite].astype(np.longdouble) - exact[finite])
    return float((error / np.spacing(np.abs(rounded[finite]))).max())


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 1e-45, 1e-40, 88.72, 88.73, -103.9]
SPECIAL += [-104.0, 1000.0, -1000.0, 0.5]
RANGES = [
    ("exp", dtypes.float32, -103.0, 88.7, 1.1),
    ("exp", dtypes.float64, -745.0, 709.0, 1.1),
    ("log", dtypes.float32, 1e-44, 1e-37, 1.0),
    ("log", dtypes.float32, 0.5, 2.0, 1.0),
    ("log", dtypes.float64, 1e-300, 1e300, 1.0),
    ("sin", dtypes.float32, -1e8, 1e8, 1.0),
    ("sin", dtypes.float64, -1e8, 1e8, 3.0),
    ("sqrt", dtypes.float32, 0.0, 1e30, 0.5),
    ("recip", dtypes.float32, 1e-30, 1e30, 0.5),
]


@pytest.mark.parametrize(("function", "dtype", "low", "high", "bound"), RANGES)
def test_functions_stay_within_their_stated_error(
    function: str, dtype: DType, low: float, high: float, bound: float
) -> None:
    x = np.random.default_rng(0).uniform(low, high, 1 << 14).astype(dtype.name)
    found = apply(f"{function}(X)", dtype, (x, dtype))
    reference: Any = {"recip": lambda v: 1 / v}.get(function) or getattr(np, function)
    assert ulps(found, reference(x.astype(np.longdouble))) <= bound


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64])
@pytest.mark.parametrize("function", ["exp", "log", "sin", "sqrt", "trunc", "fin"])
def test_functions_of_special_numbers_are_those_of_the_reference(
    function: str, dtype: DType
) -> None:
    x = np.array(SPECIAL, dtype.name)
    found = apply(f"{function}(X)", dtype, (x, dtype))
    expected = apply(f"{function}(X)", dtype, (x, dtype), on_ref=True)
    assert np.allclose(found, expected, rtol=1e-6, atol=0, equal_nan=True)


def test_the_sine_of_float32_is_right_however_large_the_angle() -> None:
    random = np.random.default_rng(0)
    size = 2.0 ** random.uniform(-20, 128, 1 << 12)
    x = (size * random.choice([-1, 1], size.size)).astype(np.float32)
    # multiples of pi/2 that float32 comes closest to, and the largest number
    x[:4] = [16367173 * 2.0**72, 11431000.0 * 2.0**-10, np.finfo(np.float32).max, 1e15]
    found = apply("sin(X)", dtypes.float32, (x, dtypes.float32))
    exact = np.sin(x.astype(np.float64))
    assert ulps(found, exact) <= 1.0
    zeros = apply("sin(X)", dtypes.float32, (np.full(16, -0.0, np.float32), dtypes.float32))
    assert np.signbit(zeros).all()


def test_the_sine_of_what_cannot_be_reduced_is_not_a_number() -> None:
    x = np.full(16, 1e30)
    assert np.isnan(apply("sin(X)", dtypes.float64, (x, dtypes.float64))).all()


PAIRS = [(a, b) for a in (0, 1, -1, 7, -7, 127, -128, 3) for b in (0, 1, -1, 2, -2, 5, 100, -128)]
BINARY = ["X + Y", "X * Y", "idiv(X, Y)", "mod(X, Y)", "max(X, Y)", "min(X, Y)"]
LOGIC = ["X & Y", "X or Y", "X ^ Y"]


@pytest.mark.parametrize("dtype", dtypes.ints)
@pytest.mark.parametrize("expression", BINARY + LOGIC)
def test_integer_ops_are_those_of_the_reference(expression: str, dtype: DType) -> None:
    x, y = (np.array(side).astype(dtype.name) for side in zip(*PAIRS, strict=True))
    inputs = ((x, dtype), (y, dtype))
    found = apply(expression, dtype, *inputs)
    assert np.array_equal(found, apply(expression, dtype, *inputs, on_ref=True))


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 8, -1, -2, -5, 0])
def test_division_by_a_constant_rounds_toward_zero(divisor: int) -> None:
    x = np.array([-(2**31), -8, -7, -1, 0, 1, 7, 8] * 2, np.int32)
    for op in ("idiv", "mod"):
        expression = f"{op}(X, {divisor})"
        found = apply(expression, dtypes.int32, (x, dtypes.int32))
        assert np.array_equal(
            found, apply(expression, dtypes.int32, (x, dtypes.int32), on_ref=True)
        )


@pytest.mark.parametrize("dtype", dtypes.ints)
@pytest.mark.parametrize("op", ["shl", "shr"])
def test_shifts_fill_with_the_sign_of_signed_types(op: str, dtype: DType) -> None:
    x = np.array([-128, -3, -1, 0, 1, 5, 100, 127] * 2).astype(dtype.name)
    y = np.arange(16).astype(dtype.name) % 8
    inputs = ((x, dtype), (y, dtype))
    found = apply(f"{op}(X, Y)", dtype, *inputs)
    assert np.array_equal(found, apply(f"{op}(X, Y)", dtype, *inputs, on_ref=True))


@pytest.mark.parametrize("dtype", dtypes.ints)
@pytest.mark.parametrize("op", ["shl", "shr"])
def test_shifts_by_the_width_or_more_leave_no_bit_but_the_sign(op: str, dtype: DType) -> None:
    x = np.array([-128, -3, -1, 0, 1, 5, 100, 127] * 2).astype(dtype.name)
    y = np.array([7, dtype.bits - 1, dtype.bits, dtype.bits + 8, 100, -1, -3, 0] * 2)
    inputs = ((x, dtype), (np.roll(y, 1).astype(dtype.name), dtype))
    for distance in ("Y", str(dtype.bits), "100"):
        found = apply(f"{op}(X, {distance})", dtype, *inputs)
        assert np.array_equal(found, apply(f"{op}(X, {distance})", dtype, *inputs, on_ref=True))


FLOATS = [0.0, -0.0, 1.5, -2.25, math.inf, -math.inf, math.nan, 3.0]


@pytest.mark.parametrize("dtype", dtypes.floats)
@pytest.mark.parametrize("expression", ["X + Y", "X * Y", "max(X, Y)", "min(X, Y)", "-X"])
def test_float_ops_propagate_nan_and_round_once_an_op(expression: str, dtype: DType) -> None:
    x, y = (np.array(side) for side in zip(*[(a, b) for a in FLOATS for b in FLOATS], strict=True))
    inputs = ((dtype.encode(x), dtype), (dtype.encode(y), dtype))
    found = dtype.decode(apply(expression, dtype, *inputs[: expression.count("Y") + 1]))
    expected = apply(expression, dtype, *inputs[: expression.count("Y") + 1], on_ref=True)
    assert np.array_equal(found, dtype.decode(expected), equal_nan=True)


@pytest.mark.parametrize("dtype", dtypes.floats)
@pytest.mark.parametrize("expression", ["X < Y", "X == Y"])
def test_comparisons_with_nan_are_false(expression: str, dtype: DType) -> None:
    x, y = (np.array(side) for side in zip(*[(a, b) for a in FLOATS for b in FLOATS], strict=True))
    inputs = ((dtype.encode(x), dtype), (dtype.encode(y), dtype))
    found = apply(expression, dtypes.bool, *inputs)
    assert np.array_equal(found, apply(expression, dtypes.bool, *inputs, on_ref=True))


def test_float_division_rounds_toward_zero_and_leaves_a_remainder() -> None:
    a = np.array([6, 7, -7, 6, 1, -9.5, 0.3, 5] * 2, np.float32)
    b = np.array([3, 2, 2, -3, 0, 3, 0.1, 49] * 2, np.float32)
    inputs = ((a, dtypes.float32), (b, dtypes.float32))
    quotient = apply("idiv(X, Y)", dtypes.float32, *inputs)
    with np.errstate(all="ignore"):
        exact = np.trunc(a.astype(np.float64) / b)
    assert np.array_equal(quotient, np.where(b == 0, 0, exact))
    rest = apply("mod(X, Y)", dtypes.float32, *inputs)
    assert np.allclose(rest, a - np.where(b == 0, 0, exact) * b, atol=1e-6)


def test_nothing_divides_into_infinity() -> None:
    a, b = np.array([1, -7, 0, 1e30] * 4, np.float32), np.full(16, np.inf, np.float32)
    for divisor in (b, -b):
        found = apply("idiv(X, Y)", dtypes.float32, (a, dtypes.float32), (divisor, dtypes.float32))
        assert not found.any()


@pytest.mark.parametrize("dtype", list(NARROW))
def test_every_bit_pattern_of_a_narrow_float_widens_exactly(dtype: DType) -> None:
    stored = np.arange(1 << dtype.bits).astype(f"uint{dtype.bits}").view(dtype.storage)
    found = apply("f32(X)", dtypes.float32, (stored, dtype))
    expected = dtype.decode(stored).astype(np.float32)
    assert np.array_equal(found, expected, equal_nan=True)


def hard_cases(dtype: DType) -> Array:
    """Every narrow number, the middle between neighbours, and what lies just beside it."""
    stored = np.arange(1 << dtype.bits).astype(f"uint{dtype.bits}").view(dtype.storage)
    with np.errstate(all="ignore"):
        values = dtype.decode(stored).astype(np.float64)
    values = np.unique(values[np.isfinite(values)])
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    beside = [np.nextafter(middles, np.float32(side)) for side in (-np.inf, np.inf)]
    largest = values.max()
    beyond = np.array([largest * 1.001, largest * 1.04, largest * 1.1, 3e38, np.inf, np.nan])
    beyond = np.minimum(beyond, 3.4e38).astype(np.float32)
    found = np.concatenate([values.astype(np.float32), middles, *beside, beyond, -beyond])
    return np.resize(found, -(-found.size // LANES) * LANES)


@pytest.mark.parametrize("dtype", list(NARROW))
def test_narrowing_rounds_to_nearest_and_ties_to_even(dtype: DType) -> None:
    x = hard_cases(dtype)
    found = apply(f"{dtype.short}(X)", dtype, (x, dtypes.float32))
    with np.errstate(all="ignore"):
        expected = dtype.encode(x)
    assert np.array_equal(dtype.decode(found), dtype.decode(expected), equal_nan=True)


@pytest.mark.parametrize(
    "expression",
    ["exp(X)", "log(X)", "sin(X)", "sqrt(X)", "trunc(X)", "max(X, Y)", "idiv(X, Y)", "mod(X, Y)"],
)
def test_a_target_that_computes_half_precision_needs_no_function_of_it(expression: str) -> None:
    native = target(dtypes=(*NATIVE, "float16"), storage=())
    random = np.random.default_rng(0).uniform(0.1, 9, (2, 4096)).astype(np.float16)
    inputs = [(row, dtypes.float16) for row in random]
    found = apply(expression, dtypes.float16, *inputs, on=native)
    expected = apply(expression, dtypes.float16, *inputs, on_ref=True)
    assert np.array_equal(found, expected)


def test_half_precision_needs_no_hardware() -> None:
    emulating = target(storage=(), emulated=tuple([row.name for row in NARROW]))
    x = hard_cases(dtypes.float16)
    found = apply("f16(X)", dtypes.float16, (x, dtypes.float32), on=emulating)
    with np.errstate(all="ignore"):
        assert np.array_equal(found, x.astype(np.float16), equal_nan=True)
    back = apply("f32(X)", dtypes.float32, (found, dtypes.float16), on=emulating)
    assert np.array_equal(back, found.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("dtype", list(NARROW))
def test_narrowing_a_double_rounds_once(dtype: DType) -> None:
    tie = 1.0 + 2.0 ** -(NARROW[dtype].mantissa + 1)
    x = np.array([tie + 2.0**-40, tie - 2.0**-40, tie, -tie - 2.0**-40] * 4)
    found = dtype.decode(apply(f"{dtype.short}(X)", dtype, (x, dtypes.float64)))
    step = 2.0 ** -NARROW[dtype].mantissa
    assert found[:4].tolist() == [1 + step, 1.0, 1.0, -1 - step]


def test_the_bits_of_half_precision_are_those_of_numpy() -> None:
    x = np.append(hard_cases(dtypes.float16), np.float32(-0.0))
    with np.errstate(all="ignore"):
        expected = x.astype(np.float16)
    assert np.array_equal(dtypes.float16.to_bits(x), expected.view(np.uint16))


CASTS = [(a, b) for a in dtypes.all for b in dtypes.all if a is not b]


@pytest.mark.parametrize(("source", "target"), CASTS, ids=lambda dtype: dtype.short)
def test_every_conversion_is_that_of_the_reference(source: DType, target: DType) -> None:
    x = source.encode(np.array([0, 1, 2, 3, 100, 7, 0, 5] * 2))
    expression = f"{target.short}(X)"
    found = apply(expression, target, (x, source))
    assert np.array_equal(found, apply(expression, target, (x, source), on_ref=True))


def test_logic_on_booleans_needs_no_arithmetic() -> None:
    x = np.array([False, False, True, True] * 4)
    y = np.array([False, True] * 8)
    inputs = ((x, dtypes.bool), (y, dtypes.bool))
    expected = {"X & Y": x & y, "X or Y": x | y, "X ^ Y": x ^ y, "X < Y": ~x & y, "X == Y": x == y}
    expected |= {"max(X, Y)": x | y, "min(X, Y)": x & y, "where(X, Y, X)": x & y}
    for expression, result in expected.items():
        assert np.array_equal(apply(expression, dtypes.bool, *inputs), result), expression


def test_what_a_target_spells_is_left_alone_and_what_it_lacks_has_a_name() -> None:
    kernel = kernel_of("kernel k(X f32[4], Y f32[4])\n  par i:4: Y[i] = sqrt(exp(X[i]))\n")
    whole = decompose(kernel, caps(ops=("EXP", "SQRT")))
    assert Ops.EXP in {node.op for node in toposort(whole.body)}
    with pytest.raises(Unsupported, match="the target has no SQRT on dtypes"):
        decompose(kernel, caps(ops=("ADD", "MUL")))


def test_values_that_are_gathered_are_decomposed_too() -> None:
    ids = np.array([9, 4, 13, 2], np.int32)
    x, y = np.arange(8, dtype=np.float32), np.zeros(4, np.float32)
    text = "kernel k(I i32[4], X f32[8], Y f32[4])\n  par i:4: Y[i] = X[idiv(I[i], 2) in 8]\n"
    run(text, [ids, x, y])
    assert y.tolist() == [4, 2, 6, 1]
