"""Sums of products as a formula of letters: einsum.

Comes in: a formula and tensors. Goes out: a lazy tensor: all operands over one space of letters,
multiplied, and summed over the letters that the result has not. Next: attention.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import mul
from typing import Any, Self

from tinycore.dtype import sum_dtype
from tinycore.errors import ArgumentError
from tinycore.tensor.base import DTypeLike, common_dtype, dtype_or
from tinycore.tensor.contraction import Contraction
from tinycore.tensor.spelling import spread
from tinycore.uop.shape import Dim

# Letters for the axes that "..." stands for, from the last; no formula can hold them.
_DOTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


class Einsum(Contraction):
    """Tensor methods written as formulas."""

    __slots__ = ()

    @classmethod
    def einsum(cls, formula: str, *operands: Any, dtype: DTypeLike | None = None) -> Self:
        """Products summed over the letters left of "->" that are not right of it.

        A letter twice in one operand takes its diagonal; "..." stands for axes that broadcast.
        Raises: ArgumentError if the formula does not fit the operands; ShapeError if extents of
        one letter differ.

        >>> x = Tensor([[1, 2], [3, 4]])
        >>> Tensor.einsum("ij,jk->ik", x, x).tolist()
        [[7, 10], [15, 22]]
        >>> Tensor.einsum("ii", x).item()
        5
        """
        tensors: list[Self] = list(spread(operands))
        names, result = _parsed(formula, [tensor.ndim for tensor in tensors])
        letters = list(dict.fromkeys("".join(names)))
        kind = dtype_or(dtype, common_dtype(tensors))
        wide = sum_dtype(kind)
        factors = []
        for tensor, name in zip(tensors, names, strict=True):
            factor = tensor.cast(wide)
            factors.append(factor._over(name, letters))
        product = reduce(mul, factors)
        summed = [k for k, letter in enumerate(letters) if letter not in result]
        total = product._reduced("sum", summed, False, "einsum").cast(kind)
        kept = [letter for letter in letters if letter in result]
        return total.permute([kept.index(letter) for letter in result])

    def _over(self, names: str, letters: Sequence[str]) -> Self:
        """This tensor with one axis for each letter, of extent 1 where it has no such axis."""
        x = self
        for k in reversed(range(len(names))):
            first = names.index(names[k])
            if first == k:
                continue
            rows = x._indices(first)
            columns = x._indices(k)
            diagonal = rows.eq(columns).where(x, 0)
            x = diagonal._reduced("sum", k, False, "einsum")
            names = names[:k] + names[k + 1 :]
        present = [letter for letter in letters if letter in names]
        x = x.permute([names.index(letter) for letter in present])
        extents: dict[str, Dim] = dict(zip(present, x.shape, strict=True))
        return x.reshape([extents.get(letter, 1) for letter in letters])


def _parsed(formula: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, dots written out."""
    left, arrow, right = formula.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise _misfit(formula, f"it names {len(parts)} operands, {len(ranks)} are given")
    names = []
    for part, rank in zip(parts, ranks, strict=True):
        name = _without_dots(part, rank)
        if len(name) != rank:
            raise _misfit(formula, f"{name!r} does not name the axes of {rank}")
        names.append(name)
    every = "".join(names)
    dots = "".join([letter for letter in reversed(_DOTS) if letter in every])
    if not arrow:
        named = sorted(set(every) - set(dots))
        single = [letter for letter in named if every.count(letter) == 1]
        right = "..." + "".join(single)
    result = right.replace("...", dots)
    distinct = set(result)
    if len(distinct) != len(result) or not distinct <= set(every):
        raise _misfit(formula, f"the result {right!r} repeats a letter or has a new one")
    return names, result


def _without_dots(part: str, rank: int) -> str:
    named = part.replace("...", "")
    count = max(rank - len(named), 0)
    dots = _DOTS[:count][::-1]
    return part.replace("...", dots)


def _misfit(formula: str, what: str) -> ArgumentError:
    return ArgumentError(
        f"einsum: in {formula!r} {what}; expected a letter for each axis, as 'ij,jk->ik'. "
        "Change the formula"
    )
