"""einsum agrees with numpy's for every kind of formula."""

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor import Tensor

rng = np.random.default_rng(13)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ij->ji", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("iij->j", [(3, 3, 2)]),
        ("i,j->ij", [(2,), (3,)]),
        ("bij, bjk -> bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...ij,...jk->...ik", [(2, 3, 4), (4, 5)]),
        ("...i->i...", [(2, 3, 4)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
        ("i,i->", [(3,), (3,)]),
    ],
)
def test_a_formula_is_numpys(formula: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    wanted = np.einsum(formula, *arrays)
    same(Tensor.einsum(formula, *[Tensor(a) for a in arrays]), wanted, 1e-5)
    same(Tensor.einsum(formula, [Tensor(a) for a in arrays]), wanted, 1e-5)


def test_gradients_are_slopes() -> None:
    check_gradient(lambda x, y: Tensor.einsum("ij,kj->ik", x, y), (2, 3), (4, 3))
    check_gradient(lambda x: Tensor.einsum("ii->i", x), (3, 3))


@pytest.mark.parametrize(
    ("formula", "what"),
    [
        ("ij,jk->ik", "it names 2 operands, 1 are given"),
        ("ijk->i", "'ijk' does not name the axes of 2"),
        ("ij->ii", "the result 'ii' repeats a letter or has a new one"),
        ("ij->k", "the result 'k' repeats a letter or has a new one"),
    ],
)
def test_a_formula_that_does_not_fit_is_refused(formula: str, what: str) -> None:
    assert message(ArgumentError, lambda: Tensor.einsum(formula, Tensor.ones(2, 3))) == (
        f"einsum: in {formula!r} {what}; expected a letter for each axis, as 'ij,jk->ik'. "
        "Change the formula"
    )


def test_extents_of_one_letter_must_agree() -> None:
    with pytest.raises(ShapeError, match="do not broadcast"):
        Tensor.einsum("ij,jk->ik", Tensor.ones(2, 3), Tensor.ones(4, 5))
