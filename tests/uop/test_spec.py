"""Every kernel of the notation is legal; a kernel that breaks one rule is refused by its name."""

import pytest

from tests.ir import NAMES, kernels_of, read_units, sizes_of, text_of
from tinycore.dtype import dtypes
from tinycore.errors import SpecError
from tinycore.uop.index import alias, axis, variable
from tinycore.uop.ops import Ops, UOp, const
from tinycore.uop.parser import parse
from tinycore.uop.printer import canonical
from tinycore.uop.spec import check, counterexample
from tinycore.uop.tree import Access, Kernel, Own, StoreArg, buffer, let, load, loop, store

SYNCED = {"ring", "flash"}
SCHEDULED = {"attention", "embedding", "kv", "rebase", "softmax", "splitk", "tail"}


def boundary_of(name: str) -> str:
    """The last boundary that the kernels of a file have reached."""
    return "sync" if name in SYNCED else "action"


def refusal(kernel: Kernel, boundary: str = "action") -> str:
    """The message that checking `kernel` raises."""
    with pytest.raises(SpecError) as caught:
        check(kernel, boundary)
    return str(caught.value)


def kernel_of(text: str, **sizes: int) -> Kernel:
    """The first kernel of a text."""
    found = next(iter(parse(text, **sizes).values()))
    assert isinstance(found, Kernel)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_of_the_notation_is_legal(name: str) -> None:
    for unit in read_units(name).values():
        for kernel in kernels_of(unit):
            check(kernel, boundary_of(name))
            check(canonical(kernel), boundary_of(name))


@pytest.mark.parametrize("size", [1, 5, 13, 64, 100])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_legal_at_one_element_and_with_empty_remainders(name: str, size: int) -> None:
    sizes = dict.fromkeys(sizes_of(text_of(name)), size)
    if "KT" in sizes:
        sizes["KT"] = -(-size // 64)
    for unit in read_units(name, **sizes).values():
        if isinstance(unit, Kernel):
            check(unit, boundary_of(name))


@pytest.mark.parametrize("name", sorted(SCHEDULED))
def test_kernels_without_maps_are_schedules(name: str) -> None:
    plain = text_of(name).split()
    text = text_of(name)
    for word in sorted({word for word in plain if word.startswith("@")}, key=len, reverse=True):
        text = text.replace(" " + word.rstrip(":,"), "")
    text = text.replace(" own(t:8) t = a", "")
    for unit in parse(text, **sizes_of(text_of(name))).values():
        if isinstance(unit, Kernel):
            check(unit, "schedule")


HEAD = "kernel bad(X f32[8], ids i32[8], Y f32[8], Z f32[8,8], L in 1..8)\n"
TILE = "  buf T f32[8] packed\n"
RING = "  buf T f32[4] group slots 2\n"

REFUSED = {
    # ops are known
    "  buf T f32[8] warp": "space warp at boundary action; expected one of ('reg',",
    "  barrier": "statement BARRIER at boundary action; expected one of ['BLOCK', 'BUFFER', 'COPY'",
    # names are new
    "  par i:8: par i:8: Y[i] = 1": "i is a name in scope already; expected a new one.",
    "  buf X f32[] reg": "X is a name in scope already",
    "  v = 1.0; v = 2.0": "v is a name in scope already",
    "  par r:8: copy(r:8) Y[r] = X[r]": "r is a name in scope already",
    # ranks match
    "  par i:8: Z[i] = 1": "1 indices into Z; expected 2, one a dimension.",
    "  Y[0] = X": "0 indices into X; expected 1, one a dimension.",
    "  par i:8: Y[i] = X[i, i]": "2 indices into X; expected 1, one a dimension.",
    # types match
    "  par i:8: Y[i] = ids[i]": "i32 at Y of f32; expected one type. Cast it.",
    "  par i:8: Y[i] = where(X[i], 1, X[i])": "; expected [dtypes.float32, dtypes.bool, ",
    # indices are in bounds
    "  par i:9: Y[i] = 1": "index i of Y is 8 at {i: 8}; expected a mask or a larger extent.",
    "  par i:8: Y[i] = X[i - 1]": "index i - 1 of X is -1 at {i: 0};",
    "  par i:3, j:3: Y[3*i + j | 3*i + j < 9] = 1": "index 3*i + j of Y is 8 at {i: 2, j: 2};",
    "  par i:8: Y[i] = X[L + i | i < 2]": "index L + i of X is 8 at {L: 7, i: 1};",
    "  par i:8: if i > 3: Y[i + 1] = 1": "index i + 1 of Y is 8 at {i: 7};",
    "  ser i:8: ser j:i: Y[j + 2] = 1": "index j + 2 of Y is 8 at {i: 7, j: 6};",
    "  par i:8: Y[i] = X[(ids[i] in 9)]": "index ids[i] in 9 of X is 8 at {<gather",
    "  par i:8: Y[(ids[ids[i + 1] in 8] in 8)] = 1": "index i + 1 of ids is 8 at {i: 7};",
    # par stores apart
    "  par i:8: Y[0] = X[i]": "iterations of par i write one place; expected i in it.",
    "  par i:8: Y[ids[i] in 8] += X[i]": "iterations of par i write one place;",
    "  buf m f32[] reg; par i:8: m += X[i]": "iterations of par i write one place;",
    # red combines
    "  buf m f32[] reg; red i:8: m = X[i]": "iterations of red i write one place;",
    # one combine
    "  buf m f32[] reg; red i:8: m += X[i]; m max= X[i]": "m is combined in two ways;",
    # state is rebased
    "  buf m f32[] reg; buf l f32[] reg; red i:8: m max= X[i]; l += exp(X[i] - m)": (
        "`l += exp(X[i] - m)` depends on m, which changes; expected l in its rebase."
    ),
    "  buf m f32[] reg; red i:8: m += X[i] * m": "`m += X[i] * m` depends on m,",
    "  buf m f32[] reg; red i:8: m += X[i]; v = m + 1.0; Y[i] = v": "`Y[i] = v` depends on m,",
    "  buf m f32[] reg; red i:8: m += X[i]; buf t f32[] reg; t = m; Y[i] = t": "`Y[i] = t` depends",
    # rebase fits
    "  buf m f32[] reg; buf l f32[] reg; red i:8: m += X[i] rebase exp(l)": (
        "rebase exp of another state; expected one of {'exp': ('max',),"
    ),
    "  buf m f32[] reg; buf l f32[] reg; red i:8: m += X[i] rebase var(l)": (
        "rebase var of another state; expected one of"
    ),
    # maps nest
    "  par i:8 @thread: par j:8 @grid: Z[i, j] = 1": "j stands in i @thread; expected grid > wa",
    "  par i:8 @vec: par j:8 @reg: Z[i, j] = 1": "j stands in i @vec; expected grid > warpgroup",
    "  par i:8 @core: Y[i] = 1": "map @core; expected one of ('grid', 'warpgroup', 'warp',",
    # grid extents are known
    "  ser i:8: par j:i+1 @warp: Z[i, j] = 1": "as many teams as i + 1; expected a constant.",
    "  ser i:8: par j:i+1 @grid: Z[i, j] = 1": "a grid loop counts to i; expected an extent of",
    # agents act together
    TILE + "  copy(r:8) T[r] = X[r]; par i:8 @thread: wait T[]": (
        "WAIT stands in i @thread; expected"
    ),
    "  par i:8 @lane: Y[i] = 1; mma(c:8, r:8) Z[i, c] += Z[i, r] * Z[r, c] @warpgroup": (
        "MMA stands in i @lane; expected"
    ),
    "  ser i:2 @warp: mma(c:8, r:8, q:8) Z[r, c] += Z[r, q] * Z[q, c] @warpgroup": (
        "MMA stands in i @warp; expected"
    ),
    # roles hold roles
    "  roles\n    par i:8: Y[i] = 1": "a role outside roles, or another statement in them;",
    "  role load\n    par i:8: Y[i] = 1": "a role outside roles, or another statement in them;",
    # own names dimensions
    "  buf T f32[r:8] group own(t:128) t = r": "own in space group; expected reg, and names",
    "  buf T f32[8] reg own(t:128) t = 0": "expected reg, and names as in f32[r:64, c:32].",
    "  par q:8: buf T f32[r:8] reg own(t:128) t = q": "own speaks of q; expected a dimension's",
    # own loops touch fragments
    "  par i:8 @own: Y[i] = 1": "no fragment inside i @own; expected one among the operands.",
    # places name slots
    RING + "  par i:4: T[i] = 1": "T has 2 slots; expected b[e; ..].",
    # rings turn
    TILE + "  copy(r:8) T[r] = X[r]": "copied to and never waited for; expected a WAIT.",
    RING + "  ser k:2: copy(r:4) T[k; r] = X[4*k + r]; wait T[k]": (
        "filled again and never freed; expected a FREE."
    ),
    TILE + "  free T[]": "waited for or freed, and never copied; expected a COPY.",
    TILE + "  wait T[]": "waited for or freed, and never copied; expected a COPY.",
    # copies fit
    "  copy(r:8) Y[r] = X[r]": "a COPY between ['global']; expected a slot at one end",
    "  buf T f32[8] reg; copy(r:8) T[r] = X[r]": "a COPY between ['global', 'reg'];",
    TILE + "  copy(r:8) T[r | r < 4] = X[r]; wait T[]": "expected the whole slot filled, without a",
    TILE + "  copy(r:4) T[r] = X[r]; wait T[]": "a box of [4] into [8]; expected the whole slo",
    TILE + "  copy(r:8, q:2) T[r] = X[r]; wait T[]": "a box of [8, 2] into [8];",
    # copies stay within slots
    RING + "  ser k:2: wait T[k]; copy(r:4) T[k + 2; r] = X[r]; free T[k]": (
        "a COPY runs as far ahead of its WAIT as it has slots; expected more slots."
    ),
    # mma contracts
    "  mma(r:8, c:8, q:8, p:8) Z[r, c] += Z[r, q] * Z[q, c] @warpgroup": (
        "box axis p is in 0 of acc, A and B; expected two."
    ),
    "  mma(r:8, c:8) Z[r, c] += Z[r, c] @warpgroup": "no product of two LOADs; expected one.",
    "  mma(r:8, c:8, q:8) Z[r, c] += Z[r, q | q < 4] * Z[q, c] @warpgroup": (
        "a masked operand; expected fills that add nothing. Mask the COPY."
    ),
}


@pytest.mark.parametrize("body", REFUSED)
def test_a_kernel_that_breaks_a_rule_is_refused(body: str) -> None:
    message = refusal(kernel_of(HEAD + body))
    assert message.startswith("spec, ")
    assert "of kernel bad: " in message
    assert REFUSED[body] in message


PLAIN = {
    "  par i:8 @vec: Y[i] = 1": "map vec at boundary schedule; expected one of ('',).",
    "  buf T f32[8] group": "space group at boundary schedule; expected one of ('reg', 'packed',",
    "  buf T f32[8] reg slots 2": "slots 2 at boundary schedule; expected one of (1,).",
    "  wait X[]": "statement WAIT at boundary schedule; expected one of ['BUFFER', 'IF', 'LET'",
}


@pytest.mark.parametrize("body", PLAIN)
def test_a_schedule_holds_nothing_of_a_device(body: str) -> None:
    assert PLAIN[body] in refusal(kernel_of(HEAD + body), "schedule")


def test_what_agents_do_is_written_out_after_sync() -> None:
    red = HEAD.rstrip() + " spmd\n  buf m f32[] reg; red i:8 @thread: m += X[i]"
    assert "red @thread after the pass reduce" in refusal(kernel_of(red), "sync")
    assert "the head of kernel bad lacks spmd" in refusal(kernel_of(HEAD + "  barrier"), "sync")
    inside = HEAD.rstrip() + " spmd\n  par i:8 @thread: barrier"
    assert "BARRIER stands in i @thread" in refusal(kernel_of(inside), "sync")


ALLOWED = [
    "  ser i:2 @thread: mma(c:8, r:8, q:8) Z[r, c] += Z[r, q] * Z[q, c] @thread",
    "  par i:8: if i == 3: Y[0] = X[i]",
    "  par i:8: Y[0 | i < 1] = X[i]",
    "  red i:8: Y[i] = X[i]",
    "  par i:8: Y[i] = X[L - 1]",
    "  par i:L: Y[i] = X[L - 1 - i]",
    "  ser i:8: ser j:i: Y[j + 1] = X[i - 1 - j]",
    "  par i:3, j:3: Y[3*i + j | 3*i + j < 8] = 1",
    "  par p:9: Z[p//8, p%8 | p < 8] = 1",
    "  par i:8, j:8: Z[i, j | i - j >= 1] = Z[i - 1, j | i >= 1]",
    "  par i:8 @grid: ser k:2: par j:8 @grid: Z[i, j] = 1",
    "  buf T f32[2,4] packed; copy(a:8) T[a//4, a%4] = X[a]; wait T[]",
    RING + "  ser k:2: copy(r:4) T[k; r] = X[4*k + r]; wait T[k]; free T[k]",
    "  red i:8: Y[ids[i] in 8] += X[i]",
    "  par i:8: Y[0 | false] = X[i]",
    "  par i:8: if false: Y[0] = X[i]",
    "  par i:8: par j:0: Y[9] = X[i]",
]


@pytest.mark.parametrize("body", ALLOWED)
def test_a_legal_kernel_is_not_refused(body: str) -> None:
    check(kernel_of(HEAD + body), "action")


X = buffer("X", dtypes.float32, [8])
I = axis("i", 8)  # noqa: E741
x = load(X, Access((I,)))


def around(*statements: UOp) -> Kernel:
    """A kernel of one loop over i."""
    return Kernel("bad", (X,), (), (loop("par", "i", 8, statements),))


ELSEWHERE = buffer("T", dtypes.float32, [8], "reg")
HALF = const(0.5, dtypes.float16)
BROKEN = {
    "own in space reg; expected reg, and names": buffer(
        "T", dtypes.float32, [8, 2], "reg", names=("r",), own=Own(axis("t", 8), axis("r", 8))
    ),
    "names are in scope: `X[i] = T[i]`": store(X, Access((I,)), load(ELSEWHERE, Access((I,)))),
    "`v = 1.0` is not in scope": store(X, Access((I,)), let("v", const(1.0, dtypes.float32))),
    "axis j of 0..3 is not in scope": store(X, Access((axis("j", 4),)), x),
    "axis i of 0..3 is not in scope": store(X, Access((axis("i", 4),)), x),
    "variable n of 1..4 is not in scope": store(X, Access((variable("n", 1, 4),)), x),
    "index i holds an alias": store(X, Access((alias(I, 0, 3),)), x),
    "REDUCE in an expression": let("v", UOp(Ops.REDUCE, dtypes.float32, (x,))),
    "SHUFFLE in an expression": let("v", UOp(Ops.SHUFFLE, dtypes.float32, (x,), (0,))),
    "has types [dtypes.float32, dtypes.float32, dtypes.float16]; expected": let(
        "v", UOp(Ops.ADD, dtypes.float32, (x, HALF))
    ),
    "has 1 sources; expected as many as": let("v", UOp(Ops.ADD, dtypes.float32, (x,))),
    "has types [dtypes.float16, dtypes.float32]; expected": let(
        "v", UOp(Ops.EXP, dtypes.float16, (x,))
    ),
    "f16 at X of f32; expected one type.": let(
        "v", UOp(Ops.LOAD, dtypes.float16, (X,), Access((I,)))
    ),
    "rebase up of another state; expected one of": UOp(
        Ops.STORE, dtypes.void, (X, x, X), StoreArg((Access((I,)),), "max", "up")
    ),
    "scope @block; expected thread, warp or warpgroup.": kernel_of(
        "kernel k(X f32[8,8])\n  mma(r:8, c:8, q:8) X[r, c] += X[r, q] * X[q, c] @block"
    ).body[0],
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_tree_that_no_text_can_say_is_refused(message: str) -> None:
    statement = BROKEN[message]
    kernel = around(statement)
    if statement.op is Ops.MMA:
        kernel = Kernel("bad", (statement.src[0],), (), (statement,))
    assert message in refusal(kernel)


def test_a_head_that_declares_a_name_twice_is_refused() -> None:
    message = refusal(Kernel("bad", (X, X), (), ()))
    assert "`buf X f32[8]` of kernel bad: X is a name in scope already" in message


def test_every_wait_and_free_of_a_kernel_is_needed() -> None:
    for name, word in [("ring", "free As[k], Bs[k]"), ("matmul_staged", "wait P[]")]:
        text = text_of(name)
        assert word in text
        lines = [line for line in text.splitlines() if line.strip() != word]
        message = refusal(kernel_of("\n".join(lines), **sizes_of(text)), boundary_of(name))
        assert "rings turn" in message


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tail", "Z[i | i < N]", "Z[i]"),
        ("matmul_staged", ", KC*k.0+q < K]", "]"),
        ("matmul_staged", "C[12*i.0+i.1, j | j < N] =", "C[12*i.0+i.1, j] ="),
        ("conv_gemm", "(32*p.0+c)%9 + b%3 >= 1, ", ""),
        ("embedding", "red b", "par b"),
        ("splitk", "red z:4 @unroll", "par z:4"),
        ("splitk", "W[z,i,j] = acc", "W[0,i,j] = acc"),
        ("attention", "rebase exp(l, O)", "rebase exp(O)"),
        ("ring", "64*k+128+q < K", "64*k+128+q <= K"),
        ("ring", "As[k+2; r, q] =", "As[k+3; r, q] ="),
        ("kv", "red n:L", "red n:L+1"),
    ],
)
def test_a_slip_in_a_kernel_is_refused(name: str, old: str, new: str) -> None:
    text = text_of(name)
    assert old in text
    for unit in parse(text.replace(old, new), **sizes_of(text)).values():
        if isinstance(unit, Kernel):
            try:
                check(unit, boundary_of(name))
            except SpecError:
                return
    pytest.fail(f"{name} with {new} for {old} passes")


def test_no_point_refutes_what_masks_imply() -> None:
    i, j = axis("i", 100), axis("j", 100)
    assert counterexample(-i + 9, [-i + 9]) is None
    assert counterexample(-(i * 2) + 19, [-i + 9]) is None
    assert counterexample(-i - j + 18, [-i + 9, -j + 9]) is None
    assert counterexample(-i - j + 17, [-i + 9, -j + 9]) is not None
    assert counterexample(-i + 9, []) is not None


def test_a_counterexample_holds_every_constraint() -> None:
    i, j, far = axis("i", 100), axis("j", 100), axis("far", 10**6)
    found = counterexample(-i - j + 17, [-i + 9, -j + 9])
    assert found is not None
    assert {atom.name: number for atom, number in found.items()} == {"i": 9, "j": 9}
    assert counterexample(-i - j + 18, [-i + 9, -j + 9]) is None
    assert counterexample(-far + 10**6 - 2, [-j + 3]) is not None
    assert counterexample(-i, [-j - 1]) is None
    assert counterexample(i * 0 - 1, []) == {}
    assert counterexample(i * 0 - 1, [i * 0 - 1]) is None
