"""Two spellings of a program have one canonical text and one key; two programs have two."""

import pytest

from tests.ir import NAMES, read_kernel, read_units
from tinycore.dtype import dtypes
from tinycore.uop.ops import Ops, alu
from tinycore.uop.parser import parse
from tinycore.uop.printer import canonical, kernel_key, show
from tinycore.uop.tree import Access, Kernel, buffer, let, load


def kernel(text: str) -> Kernel:
    """The one kernel of a text."""
    (found,) = parse(text).values()
    assert isinstance(found, Kernel)
    return found


def canonical_text(text: str) -> str:
    """The canonical text of the one kernel of a text."""
    return show(canonical(kernel(text)))


OTHER_ATTENTION = """
kernel other(q f32[H,S,D], keys f32[H,S,D], v f32[H,S,D], out f32[H,S,D])
  par head:H @grid
    par row:S
      buf top f32[] reg = max
      buf norm f32[] reg = sum
      buf acc f32[D] reg = sum
      red col:S
        buf dot f32[] reg = sum
        red x:D: dot += q[head,row,x] * keys[head,col,x]
        score = where(row - col >= 0, 0.25*dot, -inf)
        top max= score rebase exp(norm, acc)
        weight = exp(score - fin(top))
        norm += weight
        par y:D @vec: acc[y] += weight * v[head,col,y]
      par y:D @vec: acc[y] *= recip(norm)
      par y:D @vec: out[head,row,y] = acc[y]
"""


def test_two_spellings_of_attention_are_one_kernel() -> None:
    first = read_kernel("attention")
    (second,) = parse(OTHER_ATTENTION, H=2, S=19, D=8).values()
    assert isinstance(second, Kernel)
    assert canonical(first) == canonical(second)
    assert kernel_key(first) == kernel_key(second)


@pytest.mark.parametrize("name", NAMES)
def test_the_canonical_form_is_its_own_and_survives_the_text(name: str) -> None:
    for unit in read_units(name).values():
        if isinstance(unit, Kernel):
            found = canonical(unit)
            assert canonical(found) == found
            assert parse(show(found))["k"] == found


def test_axes_keep_their_history() -> None:
    text = (
        "kernel a(X f32[64])\n  par j.0:4\n    par j.1.0':4\n      par k_j.1_m:4: X[j.1.0'] = 1.0\n"
    )
    assert canonical_text(text) == (
        "kernel k(b0 f32[64])\n  par i0.0:4\n    par i0.1.0':4\n"
        "      par i1_i0.1_i2:4\n        b0[i0.1.0'] = 1.0\n"
    )


def test_variables_keep_their_names_and_are_not_taken() -> None:
    text = (
        "kernel a(X f32[9], i0 in 1..9, b1 in 1..9)\n  par L:i0: buf t f32[] reg; t = X[L + b1]\n"
    )
    assert canonical_text(text) == (
        "kernel k(i0 in 1..9, b1 in 1..9, b0 f32[9])\n  par i1:i0\n"
        "    buf b2 f32[] reg\n    b2 = b0[b1 + i1]\n"
    )


def test_sibling_scopes_may_share_a_name_or_not() -> None:
    head = "kernel a(X f32[4], Y f32[4])\n"
    body = "  par i:4\n    buf t f32[] reg\n    t = X[i]\n    v = t + 1.0\n    Y[i] = v\n"
    other = body.replace("buf t", "buf s").replace("t =", "s =").replace("v = t", "w = s")
    other = other.replace("] = v", "] = w")
    same = canonical_text(head + body + body)
    assert same == canonical_text(head + body + other)
    assert "buf b3" in same
    assert "v1 = b3 + 1.0" in same


def test_box_and_lane_axes_are_named_in_their_statement_alone() -> None:
    head = "kernel a(X f32[8])\n  buf T f32[8] packed\n"
    copies = "  copy(r:8) T[r] = X[r]\n  par {0}:8: X[{0}] = T[{0}]\n"
    assert canonical_text(head + copies.format("r")) == canonical_text(head + copies.format("q"))
    own = "kernel a()\n  buf T f32[{0}:8] reg own({1}:128) {1} = {0}\n"
    assert canonical_text(own.format("r", "t")) == canonical_text(own.format("c", "r"))


def test_dimension_names_without_own_say_nothing() -> None:
    text = "kernel a()\n  buf T f32[{}8] reg\n"
    assert canonical_text(text.format("r:")) == canonical_text(text.format(""))


def test_a_type_is_a_type_where_an_axis_has_its_name() -> None:
    rows = "".join([f"  par a{n}:2\n    v{n} = X[a{n}]\n" for n in range(32)])
    text = f"kernel a(X i32[2])\n{rows}  par b:2: v = X[b] < i32(-3)\n"
    assert "par i32:2\n    v32 = b0[i32] < i32(-3)" in canonical_text(text)


def test_gathered_nodes_are_renamed() -> None:
    text = "kernel a(ids i32[8], X f32[8])\n  par k:8\n    v = ids[k]\n    X[v in 8] = 1.0\n"
    assert "b1[v0 in 8] = 1.0" in canonical_text(text)


def test_another_program_has_another_key() -> None:
    texts = [
        "kernel a(X f32[8])\n  par i:8: X[i] = 1.0\n",
        "kernel a(X f32[8])\n  par i:8: X[i] = 2.0\n",
        "kernel a(X f32[8])\n  par i:7: X[i] = 1.0\n",
        "kernel a(X f16[8])\n  par i:8: X[i] = 1.0\n",
        "kernel a(X f32[8])\n  par i:8 @vec: X[i] = 1.0\n",
        "kernel a(X f32[8])\n  red i:8: X[i] += 1.0\n",
        "kernel a(X f32[8], n in 1..8)\n  par i:n: X[i] = 1.0\n",
        "kernel a(X f32[8], m in 1..8)\n  par i:m: X[i] = 1.0\n",
    ]
    assert len({kernel_key(kernel(text)) for text in texts}) == len(texts)


def test_a_long_expression_has_a_key() -> None:
    source = buffer("X", dtypes.float32, [])
    value = load(source, Access(()))
    for _ in range(3000):
        value = alu(Ops.EXP, value)
    assert len(kernel_key(Kernel("a", (source,), (), (let("v", value),)))) == 40


def test_an_expression_of_shared_parts_has_a_key() -> None:
    source = buffer("X", dtypes.float32, [])
    keys = []
    for first in (Ops.EXP, Ops.SIN):
        value = alu(first, load(source, Access(())))
        for _ in range(100):
            value = value * value
        keys.append(kernel_key(Kernel("a", (source,), (), (let("v", value),))))
    assert keys[0] != keys[1]
