"""Contractions: sums of products over shared axes: dot, einsum, attention.

Comes in: tensors. Goes out: lazy tensors; the scheduler fuses attention. Next: convolution.py.
"""

from collections.abc import Sequence
from functools import reduce
from math import inf, sqrt
from operator import mul
from typing import Any, Self

from tinycore.dtype import promote
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor.base import DTypeLike, broadcast_shape, common_dtype, dtype_or
from tinycore.tensor.random import Random
from tinycore.tensor.spelling import spelled, spread
from tinycore.tensor.statistics import Statistics
from tinycore.util import dedup

# Letters for the axes of "...", the last for the last; no formula can hold them.
_DOTS = "⁹⁸⁷⁶⁵⁴³²¹⁰"


class Contraction(Statistics, Random):
    """Tensor methods that sum products."""

    __slots__ = ()

    @spelled
    def dot(self, w: Self, dtype: DTypeLike = None) -> Self:
        """The product of vectors, matrices or batches of them, added and returned in `dtype`.

        Shapes: (.., m, k) and (.., k, n) give (.., m, n); a vector has no m or no n.
        Raises: ShapeError if the extents k differ.

        >>> Tensor([1, 2]).dot(Tensor([3, 4])).item()
        11
        """
        self._check_device(w)
        self._check_dot(w)
        usual = promote(self.dtype, w.dtype)
        kind = dtype_or(dtype, usual)
        wide = kind.accumulator
        rows = self.cast(wide)
        columns = w.cast(wide)
        if w.ndim > 1:
            columns = columns.transpose(-1, -2)
        if w.ndim > 1 and self.ndim > 1:
            rows = rows.unsqueeze(-2)
            columns = columns.unsqueeze(-3)
        products = rows * columns
        total = products._reduced("sum", -1)
        return total.cast(kind)

    def _check_dot(self, w: Self) -> None:
        mine = self.shape
        theirs = w.shape
        shared = -min(w.ndim, 2)
        if not mine or not theirs or mine[-1] != theirs[shared]:
            raise ShapeError(
                f"dot: shapes {mine} and {theirs} share no axis to sum over; expected (.., m, k) "
                "and (.., k, n). Transpose one"
            )
        broadcast_shape("dot", mine[:-2], theirs[:-2])

    @spelled
    def matmul(self, x: Self, reverse: bool = False, dtype: DTypeLike = None) -> Self:
        """self @ x, or x @ self: see dot.

        >>> (Tensor([1, 2]) @ Tensor([3, 4])).item()
        11
        """
        if reverse:
            return x.dot(self, dtype)
        return self.dot(x, dtype)

    @spelled
    def linear(
        self,
        weight: Self,
        bias: Self | None = None,
        dtype: DTypeLike = None,
    ) -> Self:
        """self @ weight + bias; a weight of one axis multiplies each element.

        Shapes: (.., in), weight (in, out), bias (out,) give (.., out).

        >>> Tensor([1]).linear(Tensor([[3]]), Tensor([1])).item()
        4
        """
        x = self if dtype is None else self.cast(dtype)
        is_scale = weight.ndim == 1
        product = x * weight if is_scale else x.dot(weight, dtype)
        if bias is None:
            return product
        return product + bias

    @spelled
    def outer(self, w: Self) -> Self:
        """Every element of one vector times every one of another.

        >>> Tensor([1, 2]).outer(Tensor([3])).tolist()
        [[3], [6]]
        """
        column = self.reshape(-1, 1)
        row = w.reshape(1, -1)
        return column * row

    def __matmul__(self, x: Self) -> Self:
        return self.dot(x)

    @classmethod
    def einsum(cls, formula: str, *operands: Any, dtype: DTypeLike = None) -> Self:
        """Products summed over the letters left of "->" that are not right of it.

        A letter twice in one operand takes its diagonal; "..." stands for axes that broadcast.
        Raises: ArgumentError if the formula does not fit; ShapeError if extents of a letter differ.

        >>> Tensor.einsum("i,i->", Tensor([1, 2]), Tensor([3, 4])).item()
        11
        """
        tensors: list[Self] = list(spread(operands))
        ranks = [tensor.ndim for tensor in tensors]
        names, result = _parsed(formula, ranks)
        letters = dedup("".join(names))
        kind = dtype_or(dtype, common_dtype(tensors))
        wide = kind.accumulator
        widened = [tensor.cast(wide) for tensor in tensors]
        pairs = zip(widened, names, strict=True)
        factors = [tensor._over(name, letters) for tensor, name in pairs]
        product = reduce(mul, factors)
        summed = [k for k, letter in enumerate(letters) if letter not in result]
        total = product._reduced("sum", summed).cast(kind)
        kept = [letter for letter in letters if letter in result]
        order = [kept.index(letter) for letter in result]
        return total.permute(order)

    def _over(self, names: str, letters: Sequence[str]) -> Self:
        x = self
        for k in reversed(range(len(names))):
            first = names.index(names[k])
            if first == k:
                continue
            rows = x._indices(first)
            columns = x._indices(k)
            diagonal = rows.eq(columns).where(x, 0)
            x = diagonal._reduced("sum", k)
            names = names[:k] + names[k + 1 :]
        present = [letter for letter in letters if letter in names]
        order = [names.index(letter) for letter in present]
        x = x.permute(order)
        extents = dict(zip(present, x.shape, strict=True))
        shape = [extents.get(letter, 1) for letter in letters]
        return x.reshape(shape)

    @spelled
    def scaled_dot_product_attention(
        self,
        key: Self,
        value: Self,
        attn_mask: Self | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        enable_gqa: bool = False,
    ) -> Self:
        """softmax(self @ key.T / sqrt(d) + mask) @ value; scores of 16 bits are kept in 32.

        Shapes: self (.., L, d), key (.., S, d), value (.., S, e) give (.., L, e). Bools of a mask
        are true where a key may be seen; is_causal hides the keys after the query. With enable_gqa
        several heads (axis -3) of self share one of key and value.
        Raises: ArgumentError for a mask with is_causal; ShapeError if heads cannot be shared
        evenly.
        Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.

        >>> q = Tensor.ones(2, 4)
        >>> q.scaled_dot_product_attention(q, q).shape
        (2, 4)
        """
        if is_causal and attn_mask is not None:
            raise ArgumentError(
                "scaled_dot_product_attention: a mask and is_causal are both given; expected one. "
                "Put causality into the mask"
            )
        if enable_gqa:
            shares = self._shares(key)
            key = key.repeat_interleave(shares, -3)
            value = value.repeat_interleave(shares, -3)
        kind = promote(self.dtype, key.dtype)
        width = self._sizes[-1]
        scale = 1 / sqrt(width)
        keys = key.transpose(-2, -1)
        scores = self.dot(keys, kind.accumulator) * scale
        if is_causal:
            scores = scores._above(0).where(-inf, scores)
        if attn_mask is not None and attn_mask.dtype.kind == "b":
            scores = attn_mask.where(scores, -inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = scores.softmax(-1).cast(kind)
        return weights.dropout(dropout_p).dot(value)

    def _shares(self, key: Self) -> int:
        mine = self._sizes[-3]
        theirs = key._sizes[-3]
        if mine % theirs:
            raise ShapeError(
                f"scaled_dot_product_attention: {mine} heads cannot share {theirs}; "
                "expected a multiple. Change the number of heads"
            )
        return mine // theirs


def _parsed(formula: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    text = formula.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise _misfit(formula, f"it names {len(parts)} operands, {len(ranks)} are given")
    names = []
    for part, rank in zip(parts, ranks, strict=True):
        named = len(part) - len("...")
        begin = len(_DOTS) - rank + named
        name = part.replace("...", _DOTS[begin:])
        if len(name) != rank:
            raise _misfit(formula, f"{name!r} does not name the axes of {rank}")
        names.append(name)
    every = "".join(names)
    dots = "".join(letter for letter in _DOTS if letter in every)
    if not arrow:
        letters = [letter for letter in sorted(every) if letter not in dots]
        single = [letter for letter in letters if every.count(letter) == 1]
        right = "..." + "".join(single)
    result = right.replace("...", dots)
    distinct = set(result)
    is_known = distinct <= set(every)
    if len(distinct) != len(result) or not is_known:
        raise _misfit(formula, f"the result {right!r} repeats a letter or has a new one")
    return names, result


def _misfit(formula: str, what: str) -> ArgumentError:
    return ArgumentError(
        f"einsum: in {formula!r} {what}; expected a letter for each axis, as 'ij,jk->ik'. "
        "Change the formula"
    )
