"""What is printed is read back as the same nodes, and what cannot be read is named by its line."""

import math
import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.ir import NAMES, read_units
from tests.uop.test_index import random_index
from tinycore.dtype import DType, dtypes
from tinycore.errors import ParseError
from tinycore.uop.index import NEVER, Index, as_index, axis, both, digit, gather, mask_of, variable
from tinycore.uop.ops import Ops, UOp, alu, const
from tinycore.uop.parser import parse
from tinycore.uop.printer import show
from tinycore.uop.tree import (
    Access,
    BlockArg,
    BufferArg,
    Kernel,
    Launch,
    LoopArg,
    Own,
    Plan,
    StoreArg,
    buffer,
    index_value,
    let,
    load,
    loop,
    mask_value,
    store,
)

N = 8
X = buffer("X", dtypes.float32, [N])
IDS = buffer("ids", dtypes.int32, [N])
I = axis("i", N)  # noqa: E741
x = load(X, Access((I,)))
ids = load(IDS, Access((I,)))


def again(kernel: Kernel) -> Kernel:
    """`kernel` printed and read back."""
    found = parse(show(kernel))[kernel.name]
    assert isinstance(found, Kernel)
    return found


def kernel_of(*statements: UOp, variables: tuple[UOp, ...] = ()) -> Kernel:
    """A kernel over X, ids and `variables`."""
    return Kernel("k", (X, IDS), variables, statements)


def expect_same(kernel: Kernel) -> None:
    """Every field, and every statement as an object, survives the text."""
    found = again(kernel)
    assert found == kernel, show(kernel)
    for old, new in zip(kernel.body, found.body, strict=True):
        assert old is new, show(old)


def value_of(text: str, **more: int) -> UOp:
    """The node of an expression over X, ids and axis i."""
    head = "kernel k(X f32[8], ids i32[8], Y f32[8], L in 1..4)\n"
    found = parse(f"{head}  par i:8\n    v = {text}\n", **more)["k"]
    assert isinstance(found, Kernel)
    statement: UOp = found.body[0].src[0]
    return statement.src[0]


def failure(text: str) -> str:
    """The message that reading `text` as the body of a kernel raises."""
    with pytest.raises(ParseError) as caught:
        parse(f"kernel k(X f32[8], ids i32[8], Y f32[8])\n{text}")
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_of_the_notation_prints_and_parses_to_itself(name: str) -> None:
    units = read_units(name)
    for key, unit in units.items():
        text = show(unit)
        back = parse(text)
        assert back[key] == unit
        assert show(back[key]) == text
        if isinstance(unit, Kernel):
            expect_same(unit)


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_of_the_notation_prints_as_the_golden(
    name: str, golden: Callable[[str, str], None]
) -> None:
    units = list(read_units(name).values())
    plans = [unit for unit in units if isinstance(unit, Plan)]
    golden("".join(show(unit) for unit in plans or units), name)


@pytest.mark.parametrize("seed", range(20))
def test_random_index_values_and_masks_survive_the_text(seed: int) -> None:
    rng = random.Random(seed)
    names = {"i": rng.randint(2, 5), "j.0": rng.randint(2, 70), "k'": rng.randint(2, 7)}
    values: list[Index] = []
    while len(values) < 40:
        plain = {name.strip("'").replace(".", "_"): n for name, n in names.items()}
        values.append(random_index(rng, plain, rng.randint(1, 5))[0])
    body: list[UOp] = []
    for first, second in pairwise(values):
        mask = mask_of([second])
        if mask == NEVER:
            continue
        value = load(X, Access((first,), mask))
        body.append(store(X, Access((second,)), value))
    nest = loop("par", "i", names["i"], body)
    nest = loop("par", "k", names["k'"], [nest])
    expect_same(kernel_of(loop("par", "j_0", names["j.0"], [nest])))


VALUES = [
    x + 2.0,
    x - 2.0,
    x + -0.0,
    x - x,
    x + -const(2.0, dtypes.float32),
    const(2.0, dtypes.float32) - x,
    -x,
    -(x + x) * x,
    x - (x - x),
    x / 2.0,
    x / x / (x / x),
    x.alu(Ops.RECIP),
    x.alu(Ops.RECIP) * x,
    x * x.alu(Ops.RECIP).alu(Ops.RECIP),
    const(2.0, dtypes.float32) * x.alu(Ops.RECIP),
    UOp(Ops.MUL, dtypes.float32, (const(1.0, dtypes.float32), x.alu(Ops.RECIP))),
    UOp(Ops.ADD, dtypes.float32, (x, const(0.0, dtypes.float32))),
    UOp(Ops.NEG, dtypes.float32, (const(2.0, dtypes.float32),)),
    UOp(Ops.ADD, dtypes.float32, (x, UOp(Ops.NEG, dtypes.float32, (const(2.0, x.dtype),)))),
    UOp(Ops.ADD, dtypes.float16, (const(2.0, dtypes.float16), const(3.0, dtypes.float16))),
    UOp(Ops.ADD, dtypes.float32, (const(2.0, dtypes.float32), const(-3.0, dtypes.float32))),
    UOp(Ops.CAST, dtypes.float32, (const(2.0, dtypes.float64),)),
    UOp(Ops.RECIP, dtypes.float32, (const(2.0, dtypes.float32),)),
    alu(Ops.MAX, x, const(0.1, dtypes.float32)),
    alu(Ops.MIN, const(math.inf, dtypes.float32), x),
    alu(Ops.WHERE, x < 0.5, x, const(-math.inf, dtypes.float32)),
    alu(Ops.WHERE, x < x, const(math.nan, dtypes.float32), const(1e-30, dtypes.float32)),
    alu(Ops.WHERE, alu(Ops.EQ, x, x) & (x < 1.0), x, const(1e20, dtypes.float32)),
    alu(Ops.WHERE, (x < x) | (x < 1.0) ^ const(True, dtypes.bool), x, x),
    alu(Ops.WHERE, mask_value((I - 3,)) & (x < 1.0), x, x.const_like(0)),
    alu(Ops.WHERE, mask_value(mask_of([I - 3, -I + 5])), x, x.const_like(0)),
    ids.cast(dtypes.float32) * x,
    x.cast(dtypes.float16).cast(dtypes.float32),
    (x + x).cast(dtypes.int64),
    UOp(Ops.BITCAST, dtypes.uint32, (x,)) >> 3,
    alu(Ops.SHL, ids, const(3, dtypes.uint32)),
    alu(Ops.IDIV, ids, const(3, dtypes.int32)) + alu(Ops.MOD, ids, ids),
    ids - 3,
    ids & 7,
    ids + const(-(2**31), dtypes.int32),
    index_value(I + 3),
    index_value(I * 2, dtypes.int64),
    index_value(I) + 3,
    index_value(I) < index_value(I * 2),
    const(3, dtypes.int32),
    const(True, dtypes.bool),
    const(0.1, dtypes.float64),
    alu(Ops.EXP, alu(Ops.FIN, alu(Ops.LOG, alu(Ops.SQRT, alu(Ops.SIN, alu(Ops.TRUNC, x)))))),
    load(X, Access((gather(ids, N),))),
    load(X, Access((gather(ids & 7, N) + I,), (gather(ids, N) - 3,))),
    load(X, Access((digit(gather(ids + ids, N) + 1, 3, 0),))),
    load(X, Access((I,), (I - 3,), None, -math.inf)),
    load(X, Access((I,), (), I * 2, 1.5)),
    load(buffer("X", dtypes.float32, [N]), Access((variable("i0", 1, 9) * I,), ())),
]


@pytest.mark.parametrize("value", VALUES, ids=show)
def test_every_form_of_value_survives_the_text(value: UOp) -> None:
    variables = (UOp(Ops.VARIABLE, dtypes.int32, (), ("i0", 1, 9)),)
    nest = loop("par", "i", N, [let("v", value)])
    expect_same(kernel_of(nest, variables=variables))


@pytest.mark.parametrize("dtype", [row for row in dtypes.all if row.kind != "b"])
def test_numbers_keep_their_type(dtype: DType) -> None:
    target = buffer("t", dtype, [], "reg")
    place = Access(())
    number = const(3, dtype)
    body = (target, store(target, place, number), let("v", number + load(target, place)))
    expect_same(kernel_of(*body, let("w", number)))


def test_every_statement_survives_the_text() -> None:
    tile = buffer("T", dtypes.float32, [4, 4], "group", slots=3, swizzle=(3, 4, 3))
    box = (("r", axis("r", 9) - axis("r", 9) + 4), ("c", axis("i", N) + 1))
    copied = load(X, Access((axis("r", 4) + axis("c", 8),)))
    place = Access((axis("r", 4), axis("c", 8)), (), I * 2)
    copy = UOp(Ops.COPY, dtypes.void, (tile, copied), StoreArg((place,), box=box, engine="bulk"))
    wait = UOp(Ops.WAIT, dtypes.void, (tile, X), (I * 2, None))
    free = UOp(Ops.FREE, dtypes.void, (tile,), (I,))
    barrier = UOp(Ops.BARRIER, dtypes.void)
    one = UOp(Ops.BLOCK, dtypes.void, (copy, wait), BlockArg("role", "load"))
    two = UOp(Ops.BLOCK, dtypes.void, (free,), BlockArg("role", "math", "w", as_index(2)))
    roles = UOp(Ops.BLOCK, dtypes.void, (one, two), BlockArg("roles"))
    plain = UOp(Ops.BLOCK, dtypes.void, (barrier,), BlockArg("seq"))
    empty = UOp(Ops.LOOP, dtypes.void, (), LoopArg("e", I + 1, "ser"))
    never = UOp(Ops.IF, dtypes.void, (barrier,), NEVER)
    always = UOp(Ops.IF, dtypes.void, (barrier,), ())
    nest = loop("par", "i", N, [roles, plain, empty, never, always, barrier], "warpgroup")
    expect_same(kernel_of(tile, nest))


def test_a_box_of_one_element_is_kept() -> None:
    tile = buffer("T", dtypes.float32, [1, N], "packed")
    box = (("r", axis("r", 1) + 1), ("c", axis("c", N) - axis("c", N) + N))
    place = Access((axis("r", 1), axis("c", N)))
    copy = UOp(Ops.COPY, dtypes.void, (tile, x), StoreArg((place,), box=box))
    expect_same(kernel_of(loop("par", "i", N, [tile, copy])))


@pytest.mark.parametrize("lanes", [128, 32, 8])
def test_the_lanes_of_a_fragment_are_counted(lanes: int) -> None:
    t, r = axis("t", lanes), axis("r", 8)
    more = {"names": ("r",), "own": Own(digit(t, 4, 0), r)}
    found = kernel_of(buffer("a", dtypes.float32, [8], "reg", **more))
    assert f"own(t:{lanes}) t//4 = r" in show(found)
    expect_same(found)


def test_states_of_a_tuple_survive_the_text() -> None:
    n, s, m = (buffer(name, dtypes.float32, [], "reg", init="sum") for name in "nsm")
    arg = StoreArg((Access(()), Access((), (I - 3,))), "sum", "var")
    tuples = UOp(Ops.STORE, dtypes.void, (n, s, x.const_like(1), x, m), arg)
    expect_same(kernel_of(n, s, m, loop("red", "i", N, [tuples])))


def test_parameters_may_have_spaces_and_symbolic_extents() -> None:
    n = variable("L", 1, 9)
    big = buffer("Z", dtypes.float32, [n, n * 2 + 1], "image")
    bound = UOp(Ops.VARIABLE, dtypes.int32, (), ("L", 1, 9))
    statement = store(big, Access((n - 1, n)), const(1.0, dtypes.float32))
    expect_same(Kernel("k", (big, X), (bound,), (statement,), True))


def test_a_plan_prints_its_kernels_before_it() -> None:
    kernel = kernel_of(loop("par", "i", N, [store(X, Access((I,)), x + 1.0)]))
    temp = buffer("W", dtypes.float32, [N])
    steps = (Launch("k", ("X", "W"), kernel), Launch("gemm", ("W",)), Launch("k", ("W",), kernel))
    plan = Plan("p", (X,), (), (temp,), steps)
    found = parse(show(plan))
    assert list(found) == ["k", "p"]
    assert found["p"] == plan


def test_several_statements_and_loops_may_share_a_line() -> None:
    short = "kernel k(X f32[N])\n  par i:N, j:4 @reg: a = i; X[a + j] = 1.0; X[i] = 2\n"
    long = (
        "kernel k(X f32[5])\n  par i:5\n    par j:4 @reg\n      X[i + j] = 1.0\n      X[i] = 2.0\n"
    )
    assert show(parse(short, N=5)["k"]) == long


def test_the_box_of_one_statement_is_not_that_of_the_next_on_the_line() -> None:
    copies = ["copy(r:4) T[r] = X[r]", "copy(r:2) T[r] = X[r + 4]"]
    text = "kernel k(X f32[8])\n  buf T f32[4] packed\n  "
    found = parse(text + "; ".join(copies))["k"]
    assert isinstance(found, Kernel)
    assert [show(statement) for statement in found.body[1:]] == copies


def test_a_number_takes_the_type_beside_it() -> None:
    assert value_of("X[i] * 2") is x * 2.0
    assert value_of("ids[i] + 2") is ids + 2
    assert value_of("where(X[i] < 1, 2, X[i])").src[1] is const(2.0, dtypes.float32)
    assert value_of("2.0") is const(2.0, dtypes.float32)
    assert value_of("i32(2)") is const(2, dtypes.int32)


def test_an_index_among_values_is_a_value() -> None:
    assert value_of("ids[i] + (2*i + 1)") is ids + index_value(I * 2 + 1)
    assert value_of("f32(i)") is index_value(I).cast(dtypes.float32)
    assert value_of("i32(i)") is index_value(I)
    assert value_of("i < 3") is mask_value((-I + 2,))


def test_sizes_are_integers_of_index_arithmetic() -> None:
    assert value_of("X[i | (K+KC-1)//KC - i > K%4]", K=37, KC=16).arg.mask == (-I + 1,)


def test_masks_read_every_comparison() -> None:
    forms = {"i < 3": -I + 2, "i <= 3": -I + 3, "i > 3": I - 4, "i >= 3": I - 3}
    for text, constraint in forms.items():
        assert value_of(f"X[i | {text}]").arg.mask == (constraint,)
    assert len(value_of("X[i | i == 3]").arg.mask) == 2


def test_masks_print_what_is_negative_on_the_right() -> None:
    j = axis("j", 9)
    texts = {
        "i < 3": -I + 2,
        "i >= 3": I - 3,
        "i < j": j - I - 1,
        "j >= 2*i": j - I * 2,
        "j >= i - 3": j - I + 3,
    }
    for text, constraint in texts.items():
        assert show(mask_value((constraint,))) == text


@pytest.mark.parametrize("name", ["i", "i0.1.0'", "a.0'_b''.1", "n.j0", "_x"])
def test_an_axis_keeps_its_history_in_its_name(name: str) -> None:
    place = Access((axis(name, N),))
    expect_same(kernel_of(loop("par", name, N, [store(X, place, x.const_like(0))])))


def test_a_mask_that_never_holds_swallows_the_others() -> None:
    assert both((I - 3,), NEVER) == both(NEVER, (I - 3,)) == NEVER


def test_the_order_of_a_printed_mask_does_not_depend_on_history() -> None:
    late, early = axis("z_late", 50), axis("a_early", 50)
    mask = (late - 3, early - 3)
    assert show(mask_value(mask)) == show(mask_value(mask[::-1]))


def test_the_order_of_a_printed_product_does_not_depend_on_history() -> None:
    late, early = variable("z_last", 1, 50), variable("a_first", 1, 50)
    assert show(index_value(late * early)) == "i32(a_first*z_last)"
    swapped = variable("a_next", 1, 50) * variable("z_next", 1, 50)
    assert show(index_value(swapped)) == "i32(a_next*z_next)"


def test_a_long_expression_prints_without_recursion() -> None:
    value = x
    for _ in range(5000):
        value = alu(Ops.EXP, value + 1.0)
    assert show(value).count("exp") == 5000


def test_a_long_sum_is_read_without_recursion() -> None:
    value = x
    for _ in range(3000):
        value = value + x
    expect_same(kernel_of(loop("par", "i", N, [let("v", value)])))


def test_buffers_of_other_levels_print_something() -> None:
    assert "EXP" not in show(alu(Ops.EXP, x))
    assert show(UOp(Ops.LOOP, dtypes.void, (), LoopArg("i", I, "par"))) == "par i:i"
    assert BufferArg("b", ()).space == "global"


ERRORS = {
    "  par i.0": "line 2, `par i.0`: found the end of the line; expected ':'.",
    "  par i:8\n    Y[i] = Q[i]": "line 3, `Y[i] = Q[i]`: 'Q' is not in scope; expected an axis",
    "  Y[X[0]] = 1": "found a value; expected an index. A loaded x becomes one by 'x in 8'.",
    "  Y[ids[0] in X[0]] = 1": "found a value; expected an index.",
    "  Y[X[0] in 8] = 1": "'in' makes an index of a loaded value; expected an integer before it.",
    "  Y[0] = X[0] + ids[0]": "operands have types f32 and i32; expected one type. Cast one",
    "  Y[0] = ids[0] + 0.5": "found 0.5 beside i32; expected an integer, or a cast.",
    "  Y[0] = ids[0] / ids[1]": "found '/' of i32; expected one of - > & * + < == ^ or.",
    "  Y[0] = X[0] <= 1.0": "found '<=' of f32; expected one of - > & * + < == ^ or.",
    "  Y[0] = ids[0] // 2": "found '//' after a value; expected an index. Use idiv or mod.",
    "  Y[0] = tanh(X[0])": "found tanh with 1 arguments; expected one of bitcast, exp,",
    "  Y[0] = f32(1, 2)": "found f32 with 2 arguments; expected one of idiv, max, min, mod,",
    "  Y[3/2] = 1": "found '/' of i32; expected one of - > & * + < == ^ or.",
    "  Y[0 | X[0] < 1] = 1": "found a value in a mask; expected comparisons of index values.",
    "  Y[0 | 3] = 1": "found a value in a mask; expected comparisons of index values.",
    "  Y[0 1] = 1": "found '1'; expected ']'.",
    "  v = X[0 else X[1]]": "found a value after else; expected a number.",
    "  Y[0] + 1": "found '+'; expected one of =, +=, *=, max=, min=.",
    "  Y[0] += 1 rebase up(X)": "found 'up'; expected one of exp, reset, var.",
    "  wait Z[0]": "'Z' is no buffer in scope; expected one.",
    "  buf a f32[4] near": "found 'near'; expected the end of the line.",
    "  Y[0], X[0] += 1": "1 values for 2 buffers; expected one for each.",
    "  buf a f31[4] reg": "found 'f31'; expected one of bool, i8, u8,",
    "  buf a f32[4] reg = avg": "found 'avg'; expected one of sum, prod, max, min.",
    "  par i:8\n    buf a f32[4] reg slots i": "found an axis, a variable or too small a number;",
    "  buf T f32[4] packed\n  copy(q:X[0]) T[q] = X[q]": "found a value; expected an index.",
    "  Y[0] = 1 2": "found '2'; expected the end of the line.",
    "  Y[0] = 1\n    Y[1] = 1": "line 3, `Y[1] = 1`: indented by 4; expected 2 spaces.",
    "  Y[0] = $": "found '$'; expected a number, a name, '-' or '('.",
    "  in = 3": "found 'in'; expected a statement.",
    "plan p()\n  barrier": "found 'barrier'; expected one of temp, launch.",
    "buf": "found 'buf'; expected one of kernel, plan.",
}


@pytest.mark.parametrize("text", ERRORS)
def test_what_cannot_be_read_is_named(text: str) -> None:
    message = failure(text)
    assert message.startswith("parse: line ")
    assert ERRORS[text] in message


def test_reading_takes_about_a_millisecond() -> None:
    text = show(read_units("conv_gemm")["conv_gemm"])
    parse(text)
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        parse(text)
        best = min(best, time.perf_counter() - start)
    assert best < 0.005, f"20 lines took {best * 1e3:.2f} ms"
