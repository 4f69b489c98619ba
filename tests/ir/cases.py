"""Inputs of the hand-written kernels, and what numpy says in float64 that they must compute.

An expected output has a scale: the sum of the magnitudes that were added up for each element. An
error is bounded by steps * 2**-24 of it, the bound of a float32 accumulation of so many steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tests.ir import read_units
from tinycore.runtime.ref import check_kernel
from tinycore.runtime.ref.memory import initial
from tinycore.uop.index import size
from tinycore.uop.tree import Kernel, Plan

Array = NDArray[np.generic]
Wide = NDArray[np.float64]
HALF_ULP = 2.0**-24


@dataclass(frozen=True)
class Expected:
    """The value of parameter number `at`, and the scale of its error."""

    at: int
    value: Wide
    scale: Wide
    steps: int = 8


@dataclass(frozen=True)
class Case:
    """One kernel or plan of a file at one choice of sizes."""

    file: str
    unit: str
    make: Callable[..., tuple[list[Array], list[Expected]]]
    sizes: Mapping[str, int]
    variables: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        sizes = {**self.sizes, **self.variables}
        return "-".join([self.unit, *[f"{name}{size}" for name, size in sizes.items()]])

    def read(self) -> Kernel | Plan:
        """The kernel or plan at these sizes."""
        return read_units(self.file, **self.sizes)[self.unit]


def run_case(case: Case, unit: Kernel | Plan, seed: int, run: Callable[..., None]) -> list[str]:
    """Runs `unit` on fresh inputs and lists the outputs that are wrong."""
    numbers = np.random.default_rng(seed)
    arrays, expected = case.make(numbers, **case.sizes, **case.variables)
    run(unit, arrays, case.variables, seed)
    return [text for want in expected if (text := wrong(arrays[want.at], want))]


def by_launches(run: Callable[..., None]) -> Callable[..., None]:
    """`run`, which takes a kernel, on the launches of a plan one after another."""

    def run_unit(
        unit: Kernel | Plan,
        arrays: Sequence[Array],
        values: Mapping[str, int] = MappingProxyType({}),
        seed: int = 0,
    ) -> None:
        if isinstance(unit, Kernel):
            run(unit, arrays, values, seed)
            return
        held = {node.name: array for node, array in zip(unit.params, arrays, strict=True)}
        for node in unit.temps:
            held[node.name] = np.full(size(node.arg.shape), initial("", node.dtype))
        for _, buffers, kernel in unit.launches:
            assert kernel, "a vendor's call"
            run(kernel, [held[name] for name in buffers], values, seed)

    return run_unit


def checked(case: Case, unit: Kernel | Plan, seed: int = 0) -> list[str]:
    """What is wrong after the checked entry ran `unit`."""
    return run_case(case, unit, seed, by_launches(check_kernel))


def wrong(found: Array, want: Expected) -> str:
    """Empty if `found` is within its bound, NaN where NaN is expected."""
    value = found.astype(np.float64)
    if not np.array_equal(np.isnan(value), np.isnan(want.value)):
        return f"parameter {want.at}: NaN in other places"
    error = np.nan_to_num(np.abs(value - want.value))
    bound = np.nan_to_num(want.steps * HALF_ULP * want.scale)
    worst = np.max(error - bound, initial=0)
    return f"parameter {want.at}: {worst:.3g} over its bound" if worst > 0 else ""


def normal(numbers: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Normally distributed float32."""
    return numbers.standard_normal(shape).astype(np.float32)


def unset(*shape: int) -> NDArray[np.float32]:
    """An output that nothing was written to."""
    return np.full(shape, np.nan, np.float32)


def wide(x: Array) -> Wide:
    """x in float64."""
    return x.astype(np.float64)


def causal(size: int) -> Array:
    """True on and below the diagonal."""
    return np.tril(np.ones((size, size), bool))


Made = tuple[list[Array], list[Expected]]


def tail(numbers: np.random.Generator, N: int) -> Made:
    """max(2x + y, 0)"""
    x, y = normal(numbers, N), normal(numbers, N)
    value = 2.0 * x.astype(np.float64) + y
    scale = 2.0 * np.abs(x.astype(np.float64)) + np.abs(y)
    return [x, y, unset(N)], [Expected(2, np.maximum(value, 0), scale)]


def product(a: Array, b: Array, at: int) -> Expected:
    """a @ b"""
    left, right = a.astype(np.float64), b.astype(np.float64)
    steps = a.shape[1] + 8
    return Expected(at, left @ right, np.abs(left) @ np.abs(right), steps)


def matmul(numbers: np.random.Generator, M: int, N: int, K: int, **_: int) -> Made:
    """float32 matrices"""
    a, b = normal(numbers, M, K), normal(numbers, K, N)
    return [a, b, unset(M, N)], [product(a, b, 2)]


def matmul_half(numbers: np.random.Generator, M: int, N: int, K: int, **_: int) -> Made:
    """float16 matrices, float32 sums"""
    a, b = normal(numbers, M, K).astype(np.float16), normal(numbers, K, N).astype(np.float16)
    return [a, b, unset(M, N)], [product(a, b, 2)]


def softmax(numbers: np.random.Generator, R: int, N: int) -> Made:
    """Rows with a masked start, and one that is masked altogether if there are several."""
    x = 4 * normal(numbers, R, N)
    x[:, : min(3, N - 1)] = -np.inf
    if R > 1:
        x[0] = -np.inf
    with np.errstate(invalid="ignore"):
        e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
        y = e / e.sum(1, keepdims=True)
        # exp(d) has a relative error of |d| half units from rounding d
        spread = 1 + np.nan_to_num(np.abs(x - x.max(1, keepdims=True)), nan=0, posinf=0)
    return [x, unset(R, N)], [Expected(1, y, y * spread, N + 8)]


def conv(numbers: np.random.Generator) -> Made:
    """3x3 with a border of one zero."""
    x, g = normal(numbers, 2, 3, 7, 9), normal(numbers, 10, 3, 3, 3)
    value, scale = (_conv(f(x), f(g)) for f in (lambda v: v.astype(np.float64), np.abs))
    return [x, g, unset(2, 10, 7, 9)], [Expected(2, value, scale, 40)]


def _conv(x: Array, g: Array) -> Wide:
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    value: Wide = np.einsum("ncyxij,ocij->noyx", windows, g.astype(np.float64))
    return value


def embedding(numbers: np.random.Generator, B: int, V: int, D: int) -> Made:
    """Ids repeat, count from the end, and lie outside."""
    ids = numbers.integers(-V - 2, V + 2, B).astype(np.int32)
    edges = [0, -1, V, -V - 1, 0][:B]
    ids[: len(edges)] = edges
    table, g = normal(numbers, V, D), normal(numbers, B, D)
    rows, gradient = np.zeros((B, D)), np.zeros((V, D))
    scale = np.zeros((V, D))
    for at, number in enumerate(ids):
        place = number + V if number < 0 else number
        if 0 <= place < V:
            rows[at] = table[place]
            gradient[place] += g[at]
            scale[place] += np.abs(g[at])
    arrays: list[Array] = [ids, table, g, unset(B, D), unset(V, D)]
    return arrays, [Expected(3, rows, 0 * rows), Expected(4, gradient, scale, B + 8)]


def attend(q: Wide, k: Wide, v: Wide, keep: Array, at: int, steps: int) -> Expected:
    """softmax(0.25 * q @ k.T where keep) @ v for each leading index"""
    scores = np.where(keep, 0.25 * np.einsum("hid,hnd->hin", q, k), -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    rounding = 1 + 0.25 * np.einsum("hid,hnd->hin", np.abs(q), np.abs(k)).max()
    return Expected(at, p @ v, p @ np.abs(v) * rounding, steps)


def attention(numbers: np.random.Generator, H: int, S: int, D: int) -> Made:
    """Causal."""
    q, k, v = (normal(numbers, H, S, D) for _ in range(3))
    want = attend(wide(q), wide(k), wide(v), causal(S), 3, 4 * (S + D + 8))
    return [q, k, v, unset(H, S, D)], [want]


def flash(numbers: np.random.Generator, H: int, S: int) -> Made:
    """Causal; p is rounded to float16, which counts 2**13 half units of float32."""
    q, k, v = (normal(numbers, H, S, 16).astype(np.float16) for _ in range(3))
    want = attend(wide(q), wide(k), wide(v), causal(S), 3, 2 * 2**13)
    return [q, k, v, unset(H, S, 16)], [want]


def decode(numbers: np.random.Generator, H: int, D: int, L: int) -> Made:
    """The caches hold NaN where nothing was appended yet."""
    q, key, value = (normal(numbers, H, D) for _ in range(3))
    keys, values = unset(H, 32, D), unset(H, 32, D)
    keys[:, : L - 1], values[:, : L - 1] = (
        normal(numbers, H, L - 1, D),
        normal(numbers, H, L - 1, D),
    )
    all_keys, all_values = wide(keys), wide(values)
    all_keys[:, L - 1], all_values[:, L - 1] = key, value
    # the kernel scales by 0.5, attend by 0.25
    query = 2.0 * wide(q)[:, None]
    keep = np.ones((1, L), bool)
    want = attend(query, all_keys[:, :L], all_values[:, :L], keep, 5, 4 * (L + D + 8))
    result = Expected(5, want.value[:, 0], want.scale[:, 0], want.steps)
    same = [Expected(3, all_keys, 0 * all_keys), Expected(4, all_values, 0 * all_values)]
    return [q, key, value, keys, values, unset(H, D)], [result, *same]


def argmax(numbers: np.random.Generator, R: int, N: int) -> Made:
    """The first of equal ones."""
    x = numbers.integers(0, 5, (R, N)).astype(np.float32)
    value = x.argmax(1).astype(np.float64)
    return [x, np.full(R, -1, np.int32)], [Expected(1, value, 0 * value)]


def variance(numbers: np.random.Generator, R: int, N: int) -> Made:
    """Around the mean."""
    x = normal(numbers, R, N)
    value = x.astype(np.float64).var(1)
    scale = (x.astype(np.float64) ** 2).mean(1)
    return [x, unset(R)], [Expected(1, value, scale, 4 * N + 8)]


Make = Callable[..., Made]


def _cases(file: str, unit: str, make: Make, *sizes: Mapping[str, int]) -> list[Case]:
    return [Case(file, unit, make, size) for size in sizes]


ROWS: Sequence[Mapping[str, int]] = ({"R": 5, "N": 30}, {"R": 3, "N": 32}, {"R": 1, "N": 1})
CASES: list[Case] = [
    *_cases("tail", "tail", tail, {"N": 1003}, {"N": 64}, {"N": 65}, {"N": 1}),
    *_cases(
        "matmul_staged",
        "matmul_staged",
        matmul,
        {"M": 29, "N": 75, "K": 37, "KC": 16},
        {"M": 12, "N": 64, "K": 16, "KC": 16},
        {"M": 24, "N": 65, "K": 33, "KC": 16},
        {"M": 1, "N": 1, "K": 1, "KC": 16},
    ),
    *_cases("softmax", "softmax_two_pass", softmax, *ROWS),
    *_cases("softmax", "softmax_online", softmax, *ROWS),
    *_cases("softmax", "softmax_rows", softmax, *ROWS),
    *_cases("conv_gemm", "conv_gemm", conv, {}),
    *_cases(
        "embedding",
        "embedding",
        embedding,
        {"B": 9, "V": 20, "D": 6},
        {"B": 40, "V": 3, "D": 2},
        {"B": 1, "V": 1, "D": 1},
    ),
    *_cases(
        "attention",
        "attention",
        attention,
        {"H": 2, "S": 19, "D": 8},
        {"H": 1, "S": 2, "D": 3},
        {"H": 1, "S": 1, "D": 1},
    ),
    *_cases(
        "ring",
        "ring",
        matmul_half,
        {"M": 200, "N": 40, "K": 300, "KT": 5},
        {"M": 128, "N": 32, "K": 64, "KT": 1},
        {"M": 129, "N": 33, "K": 129, "KT": 3},
        {"M": 1, "N": 1, "K": 1, "KT": 1},
    ),
    *_cases(
        "splitk",
        "splitk",
        matmul,
        {"M": 6, "N": 10, "K": 45},
        {"M": 4, "N": 4, "K": 4},
        {"M": 1, "N": 1, "K": 1},
    ),
    *[
        Case("kv", "kv", decode, {"H": heads, "D": depth}, {"L": length})
        for heads, depth in ((3, 8), (1, 1))
        for length in (1, 2, 13, 32)
    ],
    *_cases("flash", "flash", flash, {"H": 2, "S": 75}, {"H": 1, "S": 64}, {"H": 1, "S": 1}),
    *_cases("rebase", "argmax", argmax, {"R": 5, "N": 37}, {"R": 1, "N": 1}),
    *_cases("rebase", "variance", variance, {"R": 5, "N": 37}, {"R": 1, "N": 1}),
]
