"""OpenCL C that the renderer writes, run on a device: it means what the lowered program says."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from numpy.typing import NDArray

import tests.schedule
from tests.codegen.hand import I64, Code, index
from tests.codegen.harness import NoCompiler, caps
from tests.codegen.lower import fuzz_groups
from tests.codegen.lower.fuzz import arrays_for
from tests.codegen.optimize import kernels
from tests.ir.cases import CASES, Case, by_launches, run_case
from tinycore.backend import CRenderer, Dialect, DType, Lowered, Ops, Target, UOp, dtypes
from tinycore.codegen.lower import lower
from tinycore.codegen.optimize.actions import apply_all
from tinycore.runtime.ref import run_kernel
from tinycore.uop.index import as_index, variable
from tinycore.uop.lowered import FUSED, check_lowered
from tinycore.uop.ops import arena, const, toposort
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel, buffer
from tinycore_qcom.dialect import opencl
from tinycore_qcom.runtimes import visible

Array = NDArray[Any]
FULL = opencl(fp16=True, fp64=True)
NATIVE = tuple(
    row for row in dtypes.all if row.name in FULL.types and row.name[:2] not in ("bf", "fp")
)


# A device, as far as these tests need one


@cache
def machine() -> tuple[cl.Context, cl.CommandQueue]:
    """The first device there is, with the runtimes that the plugin finds."""
    with visible():
        devices = [row for one in cl.get_platforms() for row in one.get_devices()]
    context = cl.Context(devices[:1])
    return context, cl.CommandQueue(context)


def run(
    program: Lowered,
    arrays: Sequence[Array],
    dialect: Dialect = FULL,
    values: Mapping[str, int] | None = None,
    vector_bytes: int = 16,
) -> str:
    """Render, compile and run a program on copies that are written back; the text."""
    check_lowered(program)
    names = [row for row in dialect.types if row in {one.name for one in NATIVE}]
    renderer = CRenderer(caps(vector_bytes, dtypes=tuple(names)), dialect)
    text = renderer.render(program)
    launch(text, program, arrays, values or {})
    return text


def launch(text: str, program: Lowered, arrays: Sequence[Array], values: Mapping[str, int]) -> None:
    """A run in as many groups as the grid has at most: what is not there is left out."""
    context, queue = machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        built = cl.Program(context, text).build(["-cl-std=CL3.0"], cache_dir=False)
    kernel = getattr(built, program.name)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    memory = [cl.Buffer(context, flags, hostbuf=array) for array in arrays]
    numbers = [np.int64(values[node.arg[0]]) for node in program.variables]
    groups, threads = (
        math.prod(one.hi for one in sizes) for sizes in (program.grid, program.group)
    )
    kernel(queue, (groups * threads,), (threads,), *memory, *numbers)
    for array, one in zip(arrays, memory, strict=True):
        cl.enqueue_copy(queue, array, one)


def bits(array: Array) -> Array:
    """What tells signed zeros apart, and makes all NaNs one."""
    if array.dtype.kind != "f":
        return array
    whole = array.view(f"u{array.itemsize}").copy()
    whole[np.isnan(array)] = ~np.zeros((), whole.dtype)
    return whole


def ids(row: DType) -> str:
    return row.short


INTEGERS = (0, 1, 2, 3, 7, 100)
FLOATS = (0.0, 1.0, 1.5, 0.1, math.pi, 100.25, 3e38, 6e4, 1e-8, 1e-40, math.inf, math.nan)


def edges(dtype: DType) -> Array:
    """Numbers at the borders of a type, and some between."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.is_float:
        with np.errstate(over="ignore"):
            found = np.array([sign * one for one in FLOATS for sign in (1, -1)])
            return found.astype(dtype.name)
    numbers = {*INTEGERS, *[-one for one in INTEGERS], dtype.min, dtype.min + 1, dtype.max}
    numbers |= {dtype.max - 1, dtype.max // 2 + 1, dtype.min // 2 - 1, dtype.max // 3}
    return np.array(sorted(one for one in numbers if dtype.holds(one)), dtype.name)


# Values

OPERATORS = {
    "b": (Ops.ADD, Ops.MUL, Ops.LT, Ops.EQ, Ops.AND, Ops.OR, Ops.XOR),
    "f": (Ops.ADD, Ops.MUL, Ops.LT, Ops.EQ, Ops.NEG, Ops.RECIP, Ops.SQRT, Ops.TRUNC),
}
OPERATORS["i"] = OPERATORS["u"] = (
    *(Ops.ADD, Ops.MUL, Ops.LT, Ops.EQ, Ops.NEG, Ops.AND, Ops.OR, Ops.XOR),
    *(Ops.IDIV, Ops.MOD, Ops.SHL, Ops.SHR),
)


def operands(op: Ops, dtype: DType) -> tuple[Array, Array]:
    """Every pair of edges that lowering lets the op meet."""
    x, y = np.meshgrid(edges(dtype), edges(dtype))
    x, y = x.ravel(), y.ravel()
    if op in (Ops.SHL, Ops.SHR):
        y = (y.astype(np.int64) % dtype.bits).astype(dtype.name)
    if op in (Ops.IDIV, Ops.MOD):
        y = np.where((y == 0) | (y == dtype.cast(-1)), dtype.cast(3), y).astype(dtype.name)
    return x, y


@pytest.mark.parametrize("dtype", NATIVE, ids=ids)
def test_an_op_computes_what_its_row_says_on_edges(dtype: DType) -> None:
    code = Code()
    kinds = OPERATORS[dtype.kind]
    arrays, params = [], []
    for number, op in enumerate(kinds):
        inputs = operands(op, dtype)[: op.row.sources]
        found = dtypes.bool if op.row.group == "comparison" else dtype
        arrays += [*inputs, np.zeros(len(inputs[0]), found.name)]
        count = len(inputs[0])
        names = [buffer(f"p{number}.{k}", dtype, [count]) for k in range(len(inputs))]
        params += [*names, buffer(f"q{number}", found, [count])]
        with code.loop(count) as i:
            loaded = [code.load(one, i) for one in names]
            code.store(params[-1], i, code.put(UOp(op, found, tuple(loaded))))
    run(code.program(params), arrays)
    for op in kinds:
        *inputs, found = [arrays.pop(0) for _ in range(op.row.sources + 1)]
        assert op.row.reference is not None
        with np.errstate(all="ignore"):
            expected = op.row.reference(np, *inputs).astype(found.dtype)
        wrong = np.flatnonzero(bits(found) != bits(expected))
        rows = [(*[one[k] for one in inputs], found[k], expected[k]) for k in wrong[:5]]
        assert not rows, (op, rows)


@pytest.mark.parametrize("dtype", NATIVE, ids=ids)
def test_every_cast_converts_what_the_new_type_holds(dtype: DType) -> None:
    code = Code()
    x = edges(dtype)
    params, arrays, expected = [buffer("X", dtype, [len(x)])], [x], []
    with code.loop(len(x)) as i:
        loaded = code.load(params[0], i)
        for new in NATIVE:
            params.append(buffer(f"Y{new.short}", new, [len(x)]))
            code.store(params[-1], i, code.cast(loaded, new))
            arrays.append(np.zeros(len(x), new.name))
    run(code.program(params), arrays)
    for new, found in zip(NATIVE, arrays[1:], strict=True):
        fits = np.ones(len(x), bool)
        if dtype.is_float and new.is_int:
            fits = np.isfinite(x) & (np.abs(x, dtype=np.float64) < 128)
            fits &= (x >= 0) | (new.kind == "i")
        with np.errstate(all="ignore"):
            expected = x.astype(new.name)
        assert np.array_equal(bits(found)[fits], bits(expected)[fits]), (new, found, expected)


@pytest.mark.parametrize("dtype", dtypes.all, ids=ids)
def test_a_constant_is_exact(dtype: DType) -> None:
    code = Code()
    numbers = list(edges(dtype if dtype in NATIVE else dtypes.float64).tolist())
    numbers += [-0.0, 5e-324, 2.0**-149, 2.0**-126, 65504.0, 1.7e308] if dtype.is_float else []
    y = buffer("Y", dtype, [len(numbers)])
    for place, number in enumerate(numbers):
        code.store(y, place, const(number, dtype))
    found = np.zeros(len(numbers), dtype.storage)
    run(code.program([y]), [found])
    with np.errstate(over="ignore"):
        expected = dtype.encode(np.array(numbers, "float64" if dtype.is_float else dtype.name))
    assert np.array_equal(bits(found), bits(expected))


@pytest.mark.parametrize("dtype", [row for row in NATIVE if row.kind != "b"], ids=ids)
def test_bits_are_read_as_another_type(dtype: DType) -> None:
    code = Code()
    x = edges(dtype)
    like = [row for row in NATIVE if row.itemsize == dtype.itemsize and row.kind != "b"]
    params = [buffer("X", dtype, [len(x)])]
    params += [buffer(f"Y{row.short}", row, [len(x)]) for row in like]
    with code.loop(len(x)) as i:
        loaded = code.load(params[0], i)
        for new, target in zip(like, params[1:], strict=True):
            code.store(target, i, code.cast(loaded, new, Ops.BITCAST))
    arrays = [x, *[np.zeros(len(x), row.name) for row in like]]
    run(code.program(params), arrays)
    for new, found in zip(like, arrays[1:], strict=True):
        assert np.array_equal(bits(found), bits(x.view(new.name)))


@pytest.mark.parametrize("op", [Ops.RECIP, Ops.SQRT])
def test_reciprocals_and_roots_are_rounded_correctly(op: Ops) -> None:
    code = Code()
    x = np.random.default_rng(0).integers(0, 1 << 31, 1 << 16, np.uint32).view(np.float32)
    source, target = (buffer(name, dtypes.float32, [len(x)]) for name in "XY")
    with code.loop(len(x)) as i:
        code.store(target, i, code.alu(op, code.load(source, i)))
    found = np.zeros_like(x)
    run(code.program([source, target]), [x, found])
    with np.errstate(all="ignore"):
        expected = np.sqrt(x) if op is Ops.SQRT else 1 / x
    assert np.array_equal(bits(found), bits(expected))


def test_only_a_sum_marked_so_is_rounded_once() -> None:
    code = Code()
    x = np.random.default_rng(1).standard_normal((3, 999)).astype(np.float32)
    a, b, c, *targets = (buffer(name, dtypes.float32, [999]) for name in "abcxyz")
    with code.loop(999) as i:
        p, q, r = (code.load(one, i) for one in (a, b, c))
        apart = code.alu(Ops.ADD, code.alu(Ops.MUL, p, q), r)
        product = code.alu(Ops.MUL, p, q, tag=FUSED)
        once = code.alu(Ops.ADD, product, r, tag=FUSED)
        swapped = code.alu(Ops.ADD, r, product, tag=FUSED)
        for target, value in zip(targets, (apart, once, swapped), strict=True):
            code.store(target, i, value)
    found = np.zeros((3, 999), np.float32)
    rows = list(found)
    run(code.program([a, b, c, *targets]), [*x, *rows])
    wide = x.astype(np.float64)
    assert np.array_equal(rows[0], x[0] * x[1] + x[2])
    assert np.array_equal(rows[1], (wide[0] * wide[1] + wide[2]).astype(np.float32))
    assert np.array_equal(rows[1], rows[2])
    assert not np.array_equal(rows[0], rows[1])


def test_a_device_may_compute_functions_itself() -> None:
    own = opencl(fp16=True, fp64=True, native=(Ops.EXP, Ops.LOG, Ops.SIN))
    assert {"EXP", "LOG", "SIN"} == {*own.op_names} - {*FULL.op_names}
    code = Code()
    x = np.linspace(0.1, 9, 100, dtype=np.float32)
    source, *targets = (buffer(name, dtypes.float32, [100]) for name in "xels")
    with code.loop(100) as i:
        loaded = code.load(source, i)
        for op, target in zip((Ops.EXP, Ops.LOG, Ops.SIN), targets, strict=True):
            code.store(target, i, code.alu(op, loaded))
    found = [np.zeros(100, np.float32) for _ in targets]
    run(code.program([source, *targets]), [x, *found], own)
    for function, one in zip((np.exp, np.log, np.sin), found, strict=True):
        assert np.allclose(one, function(x.astype(np.float64)), rtol=1e-6, atol=1e-7)


def test_halves_are_converted_where_they_are_stored_alone() -> None:
    code = Code()
    wide = np.random.default_rng(2).integers(0, 1 << 32, 1 << 16, np.uint32).view(np.float32)
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    count = len(x)
    params = [
        buffer(name, dtype, [count])
        for name in "xyzw"
        for dtype in [dtypes.float32 if name in "yz" else dtypes.float16]
    ]
    with code.loop(count) as i:
        code.store(params[1], i, code.cast(code.load(params[0], i), dtypes.float32))
        code.store(params[3], i, code.cast(code.load(params[2], i), dtypes.float16))
    arrays = [x, np.zeros(count, np.float32), wide, np.zeros(count, np.float16)]
    text = run(code.program(params), arrays, opencl(fp64=True))
    assert "cl_khr_fp16" not in text
    with np.errstate(all="ignore"):
        assert np.array_equal(bits(arrays[1]), bits(x.astype(np.float32)))
        assert np.array_equal(bits(arrays[3]), bits(wide.astype(np.float16)))


# Memory


def ramp(count: int, dtype: DType) -> Array:
    """Different small numbers as they are stored."""
    numbers = np.arange(count) % 2 if dtype.kind == "b" else np.arange(count) % 13
    return dtype.encode(numbers)


@pytest.mark.parametrize("dtype", dtypes.all, ids=ids)
@pytest.mark.parametrize("space", ["global", "packed", "group"])
def test_lanes_are_loaded_and_stored_at_any_offset(dtype: DType, space: str) -> None:
    code = Code()
    x, y = (buffer(name, dtype, [400]) for name in "XY")
    middle = code.buffer(dtype, 400, space) if space != "global" else x
    written, at = [], 0
    with code.loop(2) as i:
        start = code.alu(Ops.MUL, i, index(200))
        for lanes in (1, 2, 3, 4, 7, 8, 16, 20):
            for shift in (0, 1):
                place = code.alu(Ops.ADD, start, index(at + shift))
                whole = not 200 % lanes and not (at + shift) % lanes
                if middle is not x:
                    loaded = code.load(x, place, lanes=lanes, whole=whole)
                    code.store(middle, place, loaded, whole=whole)
                loaded = code.load(middle, place, lanes=lanes, whole=whole)
                code.store(y, place, loaded, whole=whole)
                written += range(at + shift, at + shift + lanes)
                at += lanes + shift
    for vector_bytes in (16, 64):
        given, found, expected = ramp(400, dtype), dtype.encode(np.zeros(400)), ramp(400, dtype)
        run(code.program([x, y]), [given, found], vector_bytes=vector_bytes)
        expected[np.isin(np.arange(400) % 200, written, invert=True)] = found[199]
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", dtypes.all, ids=ids)
@pytest.mark.parametrize("space", ["global", "packed", "group"])
def test_a_false_mask_touches_no_memory(dtype: DType, space: str) -> None:
    code = Code()
    x, y = (buffer(name, dtype, [64]) for name in "XY")
    tests = buffer("T", dtypes.bool, [8])
    fill = const(1, dtype.vec(4))
    far = index(1 << 45)
    source = x
    if space != "global":
        source = code.buffer(dtype, 64, space)
        with code.loop(64) as i:
            code.store(source, i, code.load(x, i))
    masks = [code.load(tests, place) for place in range(8)]
    same = [code.shuffle([0] * 4, mask) for mask in masks[:2]]
    mixed = code.shuffle(range(4), *masks[4:])
    code.store(y, 0, code.load(source, 4, same[1], fill, lanes=4))
    code.store(y, 4, code.load(source, far, same[0], fill, lanes=4))
    code.store(y, 8, code.load(source, 60, mixed, fill, lanes=4))
    code.store(y, 12, code.load(source, far, masks[0], const(1, dtype)))
    code.store(y, 13, code.load(source, 13, masks[1], const(1, dtype)))
    value = code.load(source, 20, lanes=4)
    code.store(y, far, value, same[0])
    code.store(y, 16, value, same[1])
    code.store(y, 20, value, mixed)
    code.store(y, far, code.load(source, 1), masks[0])
    code.store(y, 24, code.load(source, 24), masks[1])
    given, found = ramp(64, dtype), dtype.encode(np.zeros(64))
    chosen = np.array([False, True, False, False, True, False, True, False])
    run(code.program([x, y, tests]), [given, found, chosen])
    one, zero = dtype.encode(np.ones(4)), dtype.encode(np.zeros(4))
    expected = dtype.encode(np.zeros(64))
    expected[:4], expected[4:8], expected[12], expected[13] = given[4:8], one, one[0], given[13]
    expected[8:12] = np.where(chosen[4:], given[60:], one)
    expected[16:20], expected[24] = given[20:24], given[24]
    expected[20:24] = np.where(chosen[4:], given[20:24], zero)
    assert np.array_equal(found, expected)


def test_a_shuffle_gives_lanes_other_places() -> None:
    code = Code()
    x, y = (buffer(name, dtypes.float32, [16]) for name in "XY")
    left, right = code.load(x, 0, lanes=4), code.load(x, 4, lanes=4)
    one = code.load(x, 9)
    for place, value in enumerate(
        (
            code.shuffle((3, 2, 1, 0), left),
            code.shuffle((0, 4, 1, 5), left, right),
            code.shuffle((0, 0, 0, 0), one),
            code.shuffle((4, 1, 8, 7), left, one, right),
        )
    ):
        code.store(y, 4 * place, value)
    given, found = ramp(16, dtypes.float32), np.zeros(16, np.float32)
    run(code.program([x, y]), [given, found])
    order = [3, 2, 1, 0, 0, 4, 1, 5, 9, 9, 9, 9, 9, 1, 7, 6]
    assert np.array_equal(found, given[order])


# Loops, branches, groups


def test_registers_keep_what_was_stored_last() -> None:
    """Numbers of Fibonacci: a load is what was there, whatever is stored afterwards."""
    code = Code()
    n = UOp(Ops.VARIABLE, I64, (), ("n", 0, 9))
    y = buffer("Y", dtypes.int64, [2])
    pair = code.buffer(dtypes.int64, 2, "reg")
    code.store(pair, 0, index(0))
    code.store(pair, 1, index(1))
    with code.loop(n, bound=variable("n", 0, 9)) as i:
        first, second = code.load(pair, 0), code.load(pair, 1)
        code.store(pair, 0, second)
        code.store(pair, 1, code.alu(Ops.ADD, first, second))
        with code.when(code.alu(Ops.LT, index(7), i)):
            code.store(pair, 0, index(-1))
    code.store(y, 0, code.load(pair, 0))
    code.store(y, 1, code.load(pair, 1))
    program = code.program([y], variables=(n,))
    for count, expected in ((0, [0, 1]), (1, [1, 1]), (7, [13, 21]), (9, [-1, 55])):
        found = np.zeros(2, np.int64)
        run(program, [found], values={"n": count})
        assert found.tolist() == expected


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_vector_of_registers_is_one_variable_a_lane(lanes: int) -> None:
    code = Code()
    x, y = (buffer(name, dtypes.float32, [6 * lanes]) for name in "XY")
    total = code.buffer(dtypes.float32.vec(lanes), 1, "reg")
    code.store(total, 0, const(0.5, dtypes.float32.vec(lanes)))
    with code.loop(6) as i:
        place = code.alu(Ops.MUL, i, index(lanes))
        more = code.load(x, place, lanes=lanes)
        code.store(total, 0, code.alu(Ops.ADD, code.load(total, 0), more))
        code.store(y, place, code.load(total, 0))
    given, found = ramp(6 * lanes, dtypes.float32), np.zeros(6 * lanes, np.float32)
    run(code.program([x, y]), [given, found])
    assert np.array_equal(found.reshape(6, lanes), 0.5 + given.reshape(6, lanes).cumsum(0))


def test_an_array_of_a_thread_stands_in_its_scope() -> None:
    code = Code()
    y = buffer("Y", dtypes.int32, [8, 4])
    with code.loop(8, "grid") as group:
        own = code.buffer(dtypes.int32, 4, "packed")
        with code.loop(4) as i:
            code.store(own, i, code.cast(code.alu(Ops.MUL, i, group), dtypes.int32))
        with code.loop(4) as i:
            back = code.alu(Ops.ADD, index(3), code.alu(Ops.MUL, i, index(-1)))
            place = code.alu(Ops.ADD, code.alu(Ops.MUL, group, index(4)), i)
            code.store(y, place, code.load(own, back))
    found = np.zeros((8, 4), np.int32)
    run(code.program([y], grid=(as_index(8),)), [found])
    assert np.array_equal(found, np.outer(np.arange(8), [3, 2, 1, 0]))


@pytest.mark.parametrize("threads", [8, 64])
def test_the_threads_of_a_group_sum_in_memory_they_share(threads: int) -> None:
    """Sums of rows in halves: those who are left add what the others have."""
    code = Code()
    n = UOp(Ops.VARIABLE, I64, (), ("n", 1, 9))
    extent = variable("n", 1, 9)
    x, y = buffer("X", dtypes.float32, [9, threads]), buffer("Y", dtypes.float32, [9])
    with code.loop(n, "grid", extent) as group:
        shared = code.buffer(dtypes.float32, threads, "group")
        with code.loop(threads, "thread") as t:
            place = code.alu(Ops.ADD, code.alu(Ops.MUL, group, index(threads)), t)
            code.store(shared, t, code.load(x, place))
        left = threads
        while left > 1:
            left //= 2
            code.barrier()
            with code.loop(left, "thread") as t:
                other = code.load(shared, code.alu(Ops.ADD, t, index(left)))
                code.store(shared, t, code.alu(Ops.ADD, code.load(shared, t), other))
        code.barrier()
        with code.loop(1, "thread"):
            code.store(y, group, code.load(shared, 0))
    program = code.program([x, y], variables=(n,), grid=(extent,), group=(as_index(threads),))
    given, found = ramp(9 * threads, dtypes.float32), np.zeros(9, np.float32)
    run(program, [given, found], values={"n": 7})
    assert np.array_equal(found, given.reshape(9, threads).sum(1) * (np.arange(9) < 7))


def test_threads_see_what_others_of_the_group_wrote_to_global_memory() -> None:
    code = Code()
    y, z = (buffer(name, dtypes.int64, [4, 64]) for name in "YZ")
    with code.loop(4, "grid") as group:
        first = code.alu(Ops.MUL, group, index(64))
        with code.loop(64, "thread") as t:
            place = code.alu(Ops.ADD, first, t)
            code.store(y, place, place)
        code.barrier()
        with code.loop(64, "thread") as t:
            back = code.alu(Ops.ADD, index(63), code.alu(Ops.MUL, t, index(-1)))
            other = code.load(y, code.alu(Ops.ADD, first, back))
            code.store(z, code.alu(Ops.ADD, first, t), other)
    arrays = [np.zeros((4, 64), np.int64) for _ in range(2)]
    run(code.program([y, z], grid=(as_index(4),), group=(as_index(64),)), arrays)
    assert np.array_equal(arrays[1], np.arange(256).reshape(4, 64)[:, ::-1])


# Whole kernels


def run_kernel_here(
    kernel: Kernel,
    arrays: Sequence[Array],
    values: Mapping[str, int],
    seed: int = 0,
    dialect: Dialect = FULL,
    warp: int = 1,
) -> str:
    """Lower a kernel and run it; the text."""
    names = tuple(one.name for one in NATIVE)
    group = {"max_group_threads": 256, "group_bytes": 1 << 15, "warp_threads": warp}
    row = caps(16, dtypes=names, storage=(), ops=dialect.op_names, **group)
    on = Target("test", row, CRenderer(row, dialect), NoCompiler())
    with arena():
        program = lower(kernel, on)
        text = CRenderer(row, dialect).render(program)
        launch(text, program, arrays, values)
        return text


def run_in_warps(kernel: Kernel, arrays: Sequence[Array]) -> str:
    """The same, where neighbours read each other's registers and bytes have an op."""
    dialect = opencl(fp16=True, fp64=True, native=(Ops.DOT,), warp=4)
    return run_kernel_here(kernel, arrays, {}, dialect=dialect, warp=4)


def runs_here(case: Case) -> bool:
    unit = case.read()
    kernels = [unit] if isinstance(unit, Kernel) else [step.kernel for step in unit.launches]
    nodes = [node for kernel in kernels if kernel for node in toposort(kernel.body)]
    return not any(node.op is Ops.MMA or "'roles'" in repr(node.arg) for node in nodes)


@pytest.mark.parametrize("case", [case for case in CASES if runs_here(case)], ids=str)
def test_a_hand_written_kernel_computes_what_numpy_does(case: Case) -> None:
    assert not run_case(case, case.read(), 1, by_launches(run_kernel_here))


GOLDENS = Path(tests.schedule.__file__).parent / "golden" / "kernels"


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_scheduled_kernel_computes_what_the_reference_does(path: Path) -> None:
    with arena():
        for part in path.read_text().split("\nkernel "):
            text = part if part.startswith("kernel ") else f"kernel {part}"
            for kernel in parse(text).values():
                assert isinstance(kernel, Kernel)
                expected = arrays_for(kernel, 0)
                found = [array.copy() for array in expected]
                values = {node.arg[0]: node.arg[2] for node in kernel.variables}
                run_kernel(kernel, expected, values)
                run_kernel_here(kernel, found, values)
                for one, other in zip(found, expected, strict=True):
                    assert np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


# Random actions


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_groups_after_random_actions_run_as_the_reference(start: int) -> None:
    told = [fuzz_groups.run(seed, run_kernel_here) for seed in range(start, start + 20)]
    assert told.count("ran") > 5


SHARED = """
kernel shared(X {dtype}[3,{count}], Y {dtype}[3,2], I i32[{count}])
  par i:3 @grid
    buf s {dtype}[] reg = {combine}; buf z {dtype}[2] reg = {combine}
    red t:{count} @thread
      s[{mask}] {sign} X[i,t]
      z[1] {sign} X[i,{count}-1-t]
    Y[i,0] = s; Y[i,1] = z[1]
"""
SIGNS = {"sum": "+=", "max": "max=", "min": "min=", "prod": "*="}
MASKS = ("", "| t < 5", "| i < 2", "| I[t] in 4 < 3")


@pytest.mark.parametrize("count", [4, 32, 36, 128, 100])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.int32, dtypes.int8], ids=ids)
def test_warps_add_up_what_groups_do(count: int, dtype: DType) -> None:
    """All monoids and masks; counts of whole warps of four."""
    for combine, mask in product(SIGNS, MASKS):
        fields = {"count": count, "dtype": dtype.short, "combine": combine, "mask": mask}
        [kernel] = parse(SHARED.format(sign=SIGNS[combine], **fields)).values()
        assert isinstance(kernel, Kernel)
        given = arrays_for(kernel, count)
        expected, found = ([array.copy() for array in given] for _ in range(2))
        run_kernel(kernel, expected, {})
        assert "sub_group_shuffle(" in run_in_warps(kernel, found)
        assert np.allclose(found[1], expected[1], rtol=1e-4, atol=1e-5)


PRODUCTS = """
kernel products(X i8[5,24], W i8[3,24], Y i32[5,3])
  par i:5 @grid: par j:3 @thread
    buf s i32[] reg = sum
    red k.0:6: red k.1:4 @vec: s += i32(X[i, {place}]) * i32(W[j, 4*k.0+k.1])
    Y[i, j] = s
"""


@pytest.mark.parametrize(
    "place", ["4*k.0+k.1", "23-4*k.0-k.1", "4*k.0+k.1+1 | k.1 < 2", "6*k.1+k.0", "4*k.0"]
)
def test_products_of_bytes_are_added_up_exactly(place: str) -> None:
    [kernel] = parse(PRODUCTS.format(place=place)).values()
    assert isinstance(kernel, Kernel)
    numbers = np.random.default_rng(0)
    given = [numbers.integers(-128, 128, (rows, 24), "i1") for rows in (5, 3)]
    expected, found = np.zeros((5, 3), "i4"), np.zeros((5, 3), "i4")
    run_kernel(kernel, [*given, expected], {})
    assert "= dot(" in run_in_warps(kernel, [*given, found])
    assert np.array_equal(found, expected)


MOVED = [
    (4, 7, "MAP(i1, thread)", "MAP(i0, thread)", "REORDER(i0, i1)"),
    (8, 16, "MAP(i1, unroll)", "MAP(i0, thread)", "REORDER(i0, i1)", "STAGE(b0, i1, packed, box)"),
    (2, 17, "REORDER(i0, i1)", "MAP(i1, thread)", "MAP(i0, unroll)"),
    (17, 17, "PEEL(i0)", "SPLIT(i1', 5)", "SPLIT(i1'.1, 3)", "MAP(i1'.1.0, thread)"),
]


@pytest.mark.parametrize(("rows", "columns", "actions"), [(a, b, rest) for a, b, *rest in MOVED])
def test_states_that_threads_touch_differently_are_moved_once(
    rows: int, columns: int, actions: list[str]
) -> None:
    kernel = kernels(A=rows, B=columns)["argmax"]
    tree = apply_all(kernel, actions)
    assert fuzz_groups.run_tree(kernel, tree, actions, run_kernel_here) == "ran"


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 4000, 100))
def test_many_groups_after_random_actions_run_as_the_reference(start: int) -> None:
    for seed in range(start, start + 100):
        fuzz_groups.run(seed, run_kernel_here)
