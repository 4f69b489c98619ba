"""C-family source of lowered programs, in two dialects that share as little as they can."""

import re
from collections.abc import Iterator

import pytest

from tests.codegen.hand import Code, index
from tests.codegen.harness import caps
from tinycore.codegen.render.c_family import CRenderer
from tinycore.codegen.render.dialect import Dialect, Memory, Reach
from tinycore.dtype import DType, Scalar, dtypes
from tinycore.runtime.contract import Unsupported
from tinycore.uop.index import as_index, variable
from tinycore.uop.lowered import FUSED, Lowered, check_lowered
from tinycore.uop.ops import Ops, UOp, const
from tinycore.uop.tree import LoopArg, buffer

# Like CUDA C++: pointers, vectors of a type made for the purpose, operators for all.

PREAMBLE = """\
template <class T, int N> struct alignas(sizeof(T) * N) vec { T at[N]; };
template <class T, class S>
__device__ T as(S from) { T to; memcpy(&to, &from, sizeof to); return to; }"""
VECTORS = Reach(
    "*reinterpret_cast<const {type} *>({buffer} + {offset})",
    "*reinterpret_cast<{type} *>({buffer} + {offset}) = {value};",
)
ARRAY = "alignas({alignment}) {type} {name}[{size}];"
POINTERS = Dialect(
    name="CUDA C++",
    kernel='{preamble}\nextern "C" __global__ void __launch_bounds__({threads})\n'
    "{name}({parameters}) {{\n{group}\n{body}\n}}\n",
    types={
        "bool": "bool",
        "int8": "signed char",
        "uint8": "unsigned char",
        "int16": "short",
        "uint16": "unsigned short",
        "int32": "int",
        "uint32": "unsigned",
        "int64": "long long",
        "uint64": "unsigned long long",
        "float16": "__half",
        "bfloat16": "unsigned short",
        "fp8e4m3": "unsigned char",
        "fp8e5m2": "unsigned char",
        "float32": "float",
        "float64": "double",
    },
    spaces={
        "global": Memory(
            "{type} *__restrict__ {name}", "const {type} *__restrict__ {name}", aligned=VECTORS
        ),
        "group": Memory(f"__shared__ {ARRAY}", aligned=VECTORS),
        "packed": Memory(ARRAY, aligned=VECTORS),
    },
    number={"grid": "blockIdx.x", "thread": "threadIdx.x"},
    barrier="__syncthreads();",
    ops={Ops.SQRT: "sqrt({0})", Ops.TRUNC: "trunc({0})"},
    preamble={"": PREAMBLE, "float16": "#include <cuda_fp16.h>"},
    suffixes={"uint32": "u", "int64": "LL", "uint64": "ULL", "float32": "f"},
    widths=(2, 4, 8, 16),
    vector="vec<{type}, {lanes}>",
    vector_of="{type}{{{{{values}}}}}",
    lane="{name}.at[{lane}]",
)

# Like WGSL: types after names, parameters outside, no pointers, no ?:, indices of 32 bits.

ARRAYS = Dialect(
    name="WGSL",
    kernel="{parameters}\n{group}\n@compute @workgroup_size({threads})\n"
    "fn {name}(@builtin(workgroup_id) group: vec3<u32>,\n"
    "    @builtin(local_invocation_id) thread: vec3<u32>) {{\n{body}\n}}\n",
    types={"bool": "bool", "int32": "i32", "int64": "i32", "uint32": "u32", "float32": "f32"},
    spaces={
        "global": Memory(
            "@group(0) @binding({number}) var<storage, read_write> {name}: array<{type}>;",
            "@group(0) @binding({number}) var<storage, read> {name}: array<{type}>;",
        ),
        "group": Memory("var<workgroup> {name}: array<{type}, {size}>;"),
        "packed": Memory("var {name}: array<{type}, {size}>;"),
    },
    number={"grid": "i32(group.x)", "thread": "i32(thread.x)"},
    barrier="workgroupBarrier();",
    ops={
        Ops.WHERE: "select({2}, {1}, {0})",
        Ops.SHL: "{0} << u32({1})",
        Ops.SHR: "{0} >> u32({1})",
        Ops.SQRT: "sqrt({0})",
        Ops.TRUNC: "trunc({0})",
    },
    suffixes={"int32": "i", "int64": "i", "uint32": "u", "float32": "f"},
    variable="@group(0) @binding({number}) var<uniform> {name}: {type};",
    separator="\n",
    constant="let {name}: {type} = {value};",
    register="var {name}: {type} = {value};",
    loop="for (var {name}: {type} = 0; {name} < {end}; {name}++)",
    cast="{type}({value})",
    bitcast="bitcast<{type}>({value})",
    wraps=True,
)
BOTH = pytest.mark.parametrize("dialect", [POINTERS, ARRAYS], ids=lambda dialect: dialect.name)


def render(program: Lowered, dialect: Dialect, **more: object) -> str:
    check_lowered(program)
    return CRenderer(caps(16, **more), dialect).render(program)


def lines(program: Lowered, dialect: Dialect, **more: object) -> list[str]:
    """The lines of the body, without margins."""
    text = render(program, dialect, **more)
    return [line.strip() for line in text.splitlines() if line.startswith("  ")]


def tour() -> Lowered:
    """A program with one of everything."""
    code = Code()
    n = UOp(Ops.VARIABLE, dtypes.int64, (), ("n", 1, 99))
    x, y = buffer("X", dtypes.float32, [4096]), buffer("Y", dtypes.float32, [4096])
    total = code.buffer(dtypes.float32.vec(4), 1, "reg")
    own = code.buffer(dtypes.int32, 6, "packed")
    with code.loop(n, "grid", variable("n", 1, 99)) as group:
        shared = code.buffer(dtypes.float32, 64, "group")
        with code.loop(32, "thread") as t:
            code.store(shared, t, code.load(x, t))
        code.barrier()
        with code.loop(64, "thread") as t, code.loop(7) as i:
            place = code.alu(Ops.MUL, code.alu(Ops.ADD, i, group), index(4))
            some = code.load(x, place, lanes=4, whole=True)
            test = code.alu(Ops.LT, t, group)
            fill = const(1.5, dtypes.float32.vec(4))
            more = code.load(x, place, code.shuffle([0] * 4, test), fill, lanes=4, whole=True)
            product = code.alu(Ops.MUL, some, more, tag=FUSED)
            now = code.alu(Ops.ADD, product, code.load(total, 0), tag=FUSED)
            code.store(total, 0, now)
            with code.when(test):
                whole = code.cast(code.alu(Ops.TRUNC, code.load(shared, i)), dtypes.int32)
                moved = code.alu(Ops.SHL, whole, const(3, dtypes.int32))
                code.store(own, i, code.alu(Ops.WHERE, test, moved, code.alu(Ops.NEG, whole)))
                turned = code.cast(code.load(own, i), dtypes.float32, Ops.BITCAST)
                code.store(y, place, turned, test)
            code.store(y, place, code.shuffle((3, 2, 1, 0), code.load(total, 0)), whole=True)
    more_fields = {"grid": (variable("n", 1, 99),), "group": (as_index(64),)}
    return code.program([x, y], variables=(n,), **more_fields)


def texts(table: object) -> Iterator[str]:
    """Every text in a table, at any depth."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, tuple):
        for part in table:
            yield from texts(part)
    elif isinstance(table, dict):
        yield from texts(tuple(table.values()))


@BOTH
def test_every_word_of_a_program_stands_in_the_table(dialect: Dialect) -> None:
    words = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", render(tour(), dialect)))
    known = set(re.findall(r"[A-Za-z_]\w*", " ".join(texts(dialect))))
    rest = {word for word in words - known if not re.fullmatch(r"[biv]\d+", word)}
    assert rest == {"if", "test"}


@BOTH
def test_blocks_are_closed_and_memory_of_the_group_stands_outside(dialect: Dialect) -> None:
    text = render(tour(), dialect)
    assert text.count("{") == text.count("}")
    (row,) = [line for line in text.splitlines() if re.search(r"__shared__|var<workgroup>", line)]
    assert not row.startswith(" ")
    assert "64" in row


X, Y = buffer("X", dtypes.float32, [99]), buffer("Y", dtypes.float32, [99])


@BOTH
def test_groups_and_threads_are_guarded_unless_as_many_are_launched(dialect: Dialect) -> None:
    code = Code()
    with code.loop(8, "grid") as group, code.loop(64, "thread") as t:
        code.store(Y, t, code.load(X, group))
    for threads, guards in ((64, 0), (128, 1)):
        program = code.program([X, Y], grid=(as_index(8),), group=(as_index(threads),))
        found = lines(program, dialect)
        assert any(line.endswith(f"{dialect.number['grid']};") for line in found)
        assert any(line.endswith(f"{dialect.number['thread']};") for line in found)
        assert sum(line.startswith("if") for line in found) == guards


@pytest.mark.parametrize(("place", "start"), [("", "for (int i3"), ("thread", "const int v3")])
def test_a_loop_counts_in_its_own_type(place: str, start: str) -> None:
    head = LoopArg("i", as_index(4), "par", place)
    loop = UOp(Ops.LOOP, dtypes.int32, (const(4, dtypes.int32),), head)
    store = UOp(Ops.STORE, dtypes.void, (Y, loop, UOp(Ops.LOAD, dtypes.float32, (X, loop))))
    end = UOp(Ops.END, dtypes.void, (loop,))
    program = Lowered("test", (X, Y), (), (), (), 0, (loop, store.src[2], store, end))
    assert start in CRenderer(caps(16), POINTERS).render(program)


def test_a_parameter_is_constant_unless_something_is_stored_to_it() -> None:
    code = Code()
    code.store(Y, 0, code.load(X, 1))
    program = code.program([X, Y])
    assert "(const float *__restrict__ b1, float *__restrict__ b2)" in render(program, POINTERS)
    assert re.findall(r"storage, (\w+)", render(program, ARRAYS)) == ["read", "read_write"]


def widths(dialect: Dialect, whole: bool, lanes: int) -> str:
    """The lanes of each load of a vector, whose offset is a multiple of them; 1 is an element."""
    code = Code()
    code.store(Y, 0, code.load(X, 0, lanes=lanes, whole=whole))
    loads = [line for line in lines(code.program([X, Y]), dialect) if re.search(r"\bb1\b", line)]
    found = [re.search(r"vec<float, (\d+)>", line) for line in loads]
    return " ".join([match[1] if match else "1" for match in found])


@pytest.mark.parametrize(
    ("lanes", "expected"), [(2, "2"), (3, "1 1 1"), (4, "4"), (6, "2 2 2"), (12, "4 4 4")]
)
def test_neighbours_move_in_vectors_where_the_offset_is_a_multiple(
    lanes: int, expected: str
) -> None:
    assert widths(POINTERS, True, lanes) == expected
    assert widths(POINTERS, False, lanes) == " ".join("1" * lanes)
    assert widths(ARRAYS, True, lanes) == " ".join("1" * lanes)


def test_a_vector_is_no_wider_than_the_target_has() -> None:
    wide = POINTERS._replace(widths=(2, 4, 8))
    code = Code()
    code.store(Y, 0, code.load(X, 0, lanes=8, whole=True), whole=True)
    for vector_bytes, count in ((8, 4), (16, 2), (32, 1), (64, 1)):
        renderer = CRenderer(caps(vector_bytes), wide)
        assert renderer.render(code.program([X, Y])).count("const vec<float") == 2 * count


def test_unaligned_neighbours_move_in_vectors_where_the_language_has_a_way() -> None:
    memory = POINTERS.spaces["global"]._replace(unaligned=Reach("near{lanes}({buffer}, {offset})"))
    code = Code()
    code.store(Y, 0, code.load(X, 1, lanes=4))
    text = render(code.program([X, Y]), POINTERS._replace(spaces={"global": memory}))
    assert "vec<float, 4> v3 = near4(b1, 1LL);" in text


def test_lanes_with_masks_of_their_own_are_loaded_and_stored_one_by_one() -> None:
    code = Code()
    tests = buffer("T", dtypes.bool, [4])
    mask = code.load(tests, 0, lanes=4, whole=True)
    value = code.load(X, 0, mask, const(0.5, dtypes.float32.vec(4)), lanes=4, whole=True)
    code.store(Y, 0, value, mask)
    found = lines(code.program([X, Y, tests]), POINTERS)
    assert found[1:5] == [
        "float v5 = 0.5f;",
        "if (v4.at[0]) { v5 = b1[0LL]; }",
        "float v6 = 0.5f;",
        "if (v4.at[1]) { v6 = b1[0LL + 1]; }",
    ]
    assert found[-1] == "if (v4.at[3]) { b2[0LL + 3] = v8; }"


def test_a_shuffle_writes_nothing() -> None:
    code = Code()
    pair = code.shuffle((1, 0, 1), code.load(X, 0, lanes=2, whole=True))
    code.store(Y, 0, code.shuffle((2, 1), pair), whole=True)
    assert lines(code.program([X, Y]), POINTERS)[1:] == [
        "*reinterpret_cast<vec<float, 2> *>(b2 + 0LL) = vec<float, 2>{{v3.at[1], v3.at[0]}};"
    ]


def test_threads_and_bytes_have_words_of_the_vendor() -> None:
    words = {Ops.DOT: "dot4({0}, {1})", Ops.EXCHANGE: "__shfl_sync(~0u, {0}, {1})"}
    own = POINTERS._replace(ops=words)
    code = Code()
    bits = buffer("B", dtypes.int8, [8])
    left, right = code.load(bits, 0, lanes=4, whole=True), code.load(bits, 4, lanes=4, whole=True)
    with code.loop(32, "thread") as t:
        total = code.put(UOp(Ops.DOT, dtypes.int32, (left, right)))
        near = code.put(UOp(Ops.EXCHANGE, dtypes.int32, (total, t)))
        code.store(buffer("Z", dtypes.int32, [32]), t, near)
    text = render(code.program([bits, buffer("Z", dtypes.int32, [32])], group=(as_index(32),)), own)
    made = re.search(r"int (\w+) = dot4\(vec<signed char, 4>\{(.*)\}, vec<.*>\{(.*)\}\);", text)
    assert made
    assert [len(lanes.split(", ")) for lanes in made.groups()[1:]] == [4, 4]
    assert re.search(rf"int \w+ = __shfl_sync\(~0u, {made[1]}, \w+\);", text)
    with pytest.raises(Unsupported, match=r"DOT from .* has no spelling in CUDA"):
        render(code.program([bits, buffer("Z", dtypes.int32, [32])]), POINTERS)


def sums() -> Lowered:
    code = Code()
    a, b, c = (code.load(X, place) for place in range(3))
    product = code.alu(Ops.MUL, a, b, tag=FUSED)
    both = code.alu(Ops.ADD, product, product, tag=FUSED)
    code.store(Y, 0, code.alu(Ops.ADD, c, code.alu(Ops.MUL, a, c, tag=FUSED), tag=FUSED))
    code.store(Y, 1, both)
    code.store(Y, 2, code.alu(Ops.ADD, code.alu(Ops.MUL, b, c), a))
    return code.program([X, Y])


@BOTH
def test_a_sum_is_rounded_once_where_it_is_marked_and_the_target_may(dialect: Dialect) -> None:
    once = [line for line in lines(sums(), dialect) if "fma" in line]
    assert [line[line.index("fma") :] for line in once] == [
        "fma(v3, v4, v6);",
        "fma(v3, v5, v5);",
    ]
    apart = render(sums(), dialect, contraction=False)
    assert "fma" not in apart
    assert len(re.findall(r"= v\d \* v\d", apart)) == 3


def test_a_product_that_became_part_of_a_sum_is_not_written() -> None:
    found = re.findall(r"= (v\d \* v\d)", render(sums(), POINTERS))
    assert found == ["v3 * v4", "v4 * v5"]  # the one that two sums use, the one without a mark


def value(op: Ops, dtype: DType, dialect: Dialect, result: DType | None = None) -> str:
    """How an op on loaded values is spelled."""
    code = Code()
    source, target = buffer("S", dtype, [4]), buffer("R", result or dtype, [4])
    src = [code.load(source, place) for place in range(op.row.sources)]
    code.store(target, 0, code.put(UOp(op, result or dtype, tuple(src))))
    declared = lines(code.program([source, target]), dialect)[-2]
    return declared.partition(" = ")[2]


OPERATORS = [
    (Ops.ADD, dtypes.int32, "(int)((unsigned)(v3) + (unsigned)(v4));", "v3 + v4;"),
    (Ops.ADD, dtypes.uint32, "v3 + v4;", "v3 + v4;"),
    (Ops.NEG, dtypes.uint32, "0 - v3;", "0 - v3;"),
    (Ops.NEG, dtypes.float32, "-(v3);", "-(v3);"),
    (Ops.RECIP, dtypes.float32, "1 / v3;", "1 / v3;"),
    (Ops.SHR, dtypes.int32, "v3 >> v4;", "v3 >> u32(v4);"),
    (Ops.IDIV, dtypes.int32, "v3 / v4;", "v3 / v4;"),
    (Ops.LT, dtypes.int32, "v3 < v4;", "v3 < v4;"),
    (Ops.ADD, dtypes.bool, "v3 | v4;", "v3 | v4;"),
    (Ops.LT, dtypes.bool, "!v3 & v4;", "!v3 & v4;"),
    (Ops.XOR, dtypes.bool, "v3 != v4;", "v3 != v4;"),
]


@pytest.mark.parametrize(("op", "dtype", "pointers", "arrays"), OPERATORS)
def test_operators_by_type(op: Ops, dtype: DType, pointers: str, arrays: str) -> None:
    result = dtypes.bool if op.row.group == "comparison" else dtype
    assert value(op, dtype, POINTERS, result) == pointers
    assert value(op, dtype, ARRAYS, result) == arrays


def test_narrow_integers_are_computed_unsigned_so_that_they_wrap() -> None:
    short = "(unsigned short)((unsigned)(v3) * (unsigned)(v4));"
    assert value(Ops.MUL, dtypes.uint16, POINTERS) == short
    assert value(Ops.SHL, dtypes.int8, POINTERS).startswith("(signed char)((unsigned)(v3) << ")
    assert "(unsigned long long)(v3)" in value(Ops.ADD, dtypes.int64, POINTERS)


CASTS = [
    (Ops.CAST, dtypes.float32, dtypes.int32, "(int)(v3);", "i32(v3);"),
    (Ops.CAST, dtypes.float32, dtypes.bool, "v3 != 0.0f;", "v3 != 0.0f;"),
    (Ops.CAST, dtypes.bool, dtypes.float32, "(float)(v3);", "f32(v3);"),
    (Ops.BITCAST, dtypes.float32, dtypes.int32, "as<int>(v3);", "bitcast<i32>(v3);"),
]


@pytest.mark.parametrize(("op", "old", "new", "pointers", "arrays"), CASTS)
def test_conversions(op: Ops, old: DType, new: DType, pointers: str, arrays: str) -> None:
    assert value(op, old, POINTERS, new) == pointers
    assert value(op, old, ARRAYS, new) == arrays


def test_a_vendor_may_spell_a_conversion() -> None:
    own = POINTERS._replace(casts={("float32", "float16"): "__float2half_rn({0})"})
    assert value(Ops.CAST, dtypes.float32, own, dtypes.float16) == "__float2half_rn(v3);"


def test_bits_of_a_type_spelled_like_another_need_no_word() -> None:
    code = Code()
    source, target = buffer("S", dtypes.bfloat16, [4]), buffer("R", dtypes.uint16, [4])
    code.store(target, 0, code.cast(code.load(source, 0), dtypes.uint16, Ops.BITCAST))
    assert lines(code.program([source, target]), POINTERS)[-1] == "b2[0LL] = v3;"


LITERALS: list[tuple[Scalar, DType, str]] = [
    (1.0, dtypes.float32, "1.0f"),
    (-0.0, dtypes.float32, "-0.0f"),
    (0.1, dtypes.float32, "0x1.99999a0000000p-4f"),
    (0.1, dtypes.float64, "0.1"),
    (5e-324, dtypes.float64, "5e-324"),
    (2.0**-149, dtypes.float32, "0x1.0000000000000p-149f"),
    (float("-inf"), dtypes.float32, "-INFINITY"),
    (float("nan"), dtypes.float64, "(double)(NAN)"),
    (0.1, dtypes.float16, "(__half)(0x1.9980000000000p-4f)"),
    (1.0, dtypes.bfloat16, "(unsigned short)(16256)"),
    (float("inf"), dtypes.fp8e5m2, "(unsigned char)(124)"),
    (True, dtypes.bool, "true"),
    (0, dtypes.bool, "false"),
    (-128, dtypes.int8, "(signed char)(-128)"),
    (-(2**31), dtypes.int32, "(-2147483647 - 1)"),
    (-(2**63), dtypes.int64, "(-9223372036854775807LL - 1)"),
    (2**64 - 1, dtypes.uint64, "18446744073709551615ULL"),
]


@pytest.mark.parametrize(("number", "dtype", "text"), LITERALS)
def test_a_literal_is_exact(number: Scalar, dtype: DType, text: str) -> None:
    assert POINTERS.literal(number, dtype) == text


def test_a_line_of_the_preamble_comes_with_the_type_or_op_that_needs_it() -> None:
    own = POINTERS._replace(preamble={"float16": "#half", "SQRT": "#root"})
    code = Code()
    code.store(Y, 0, code.alu(Ops.SQRT, code.load(X, 0)))
    text = render(code.program([X, Y]), own)
    assert "#root" in text
    assert "#half" not in text
    half = buffer("H", dtypes.float16, [1])
    code.store(half, 0, const(1.0, dtypes.float16))
    assert "#half\n#root" in render(code.program([half, X, Y]), own)


def test_the_ops_of_a_dialect_are_those_of_the_family_and_its_own() -> None:
    assert {"SQRT", "TRUNC"} <= {*POINTERS.op_names}
    plain = {*POINTERS._replace(ops={}).op_names}
    assert plain == {*POINTERS.op_names} - {"SQRT", "TRUNC"}
    assert {"ADD", "RECIP", "SHR", "WHERE", "CAST", "BITCAST"} <= plain
    assert not {"MAX", "MIN", "EXP"} & plain


def test_an_op_may_be_spelled_otherwise_for_one_dtype() -> None:
    own = POINTERS._replace(overloads={(Ops.SQRT, "float32"): "sqrtf({0})"})
    assert value(Ops.SQRT, dtypes.float32, own) == "sqrtf(v3);"
    assert value(Ops.SQRT, dtypes.float64, own) == "sqrt(v3);"


def test_what_has_no_word_is_named() -> None:
    with pytest.raises(Unsupported, match=r"EXP from dtypes.float32 to .* has no spelling in WGSL"):
        value(Ops.EXP, dtypes.float32, ARRAYS)
    with pytest.raises(Unsupported, match=r"WGSL has no word for float64, only for bool, int32"):
        value(Ops.NEG, dtypes.float64, ARRAYS)
    code = Code()
    code.store(Y, 0, code.load(buffer("P", dtypes.float32, [4], "image"), 0))
    image = code.program([buffer("P", dtypes.float32, [4], "image"), Y])
    with pytest.raises(Unsupported, match=r"WGSL has no word for image, only for global, group"):
        render(image, ARRAYS)


@pytest.mark.parametrize("op", [Ops.CAST, Ops.ADD, Ops.SQRT])
def test_bits_of_a_narrow_float_are_no_number(op: Ops) -> None:
    result = dtypes.float32 if op is Ops.CAST else dtypes.bfloat16
    with pytest.raises(Unsupported, match=rf"{op.name} from dtypes.bfloat16 to .* no spelling"):
        value(op, dtypes.bfloat16, POINTERS, result)


def test_another_space_is_another_row_of_the_table() -> None:
    """An image of pixels of four, say, that is only read."""
    pixel = Reach("read({buffer}, ({offset}) / 4)")
    image = Memory("writeonly image {name}", "readonly image {name}", Reach("?"), aligned=pixel)
    own = POINTERS._replace(spaces={**POINTERS.spaces, "image": image})
    code, source = Code(), buffer("P", dtypes.float32, [64], "image")
    code.store(Y, 0, code.load(source, 8, lanes=4, whole=True))
    text = render(code.program([source, Y]), own)
    assert "(readonly image b1, float" in text
    assert "vec<float, 4> v3 = read(b1, (8LL) / 4);" in text


@pytest.mark.parametrize(
    ("lanes", "whole", "mask", "word"),
    [
        (4, True, False, "writeonly image b1"),
        (8, True, False, "writeonly image b1"),
        (2, True, False, "float *__restrict__ b1"),
        (4, False, False, "float *__restrict__ b1"),
        (4, True, True, "float *__restrict__ b1"),
    ],
)
def test_a_parameter_is_no_image_unless_all_stores_are_of_texels(
    lanes: int, whole: bool, mask: bool, word: str
) -> None:
    pixel = Reach("read({buffer}, {offset})", "write({buffer}, {offset}, {value});")
    image = Memory("writeonly image {name}", "readonly image {name}", pixel, pixel, texel=4)
    own = POINTERS._replace(spaces={**POINTERS.spaces, "image": image})
    code, target = Code(), buffer("P", dtypes.float32, [64], "image")
    value = code.load(X, 8, lanes=lanes)
    masks = [const(True, dtypes.bool.vec(lanes))] if mask else []
    code.store(target, 8, value, *masks, whole=whole)
    text = render(code.program([target, X]), own)
    assert f"({word}" in text
    assert ("write(b1" in text) == word.startswith("write")
