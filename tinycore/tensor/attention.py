"""Attention: what each query takes from the values, by how it fits the keys.

Comes in: queries, keys, values. Goes out: a lazy tensor; that it runs without the table of all
scores is the scheduler's work. Next: indexing.py.
"""

from __future__ import annotations

import math
from typing import Self

from tinycore.dtype import COMPUTE, promote
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor.einsum import Einsum
from tinycore.tensor.random import Random
from tinycore.tensor.spelling import spelled
from tinycore.uop.shape import upper


class Attention(Einsum, Random):
    """Attention as PyTorch calls it."""

    __slots__ = ()

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

        Shapes: self (.., L, d), key (.., S, d), value (.., S, e) give (.., L, e). A mask of bools
        is true where a key may be seen; is_causal hides the keys after the query. enable_gqa lets
        several heads (axis -3) of self share one of key and value.
        Raises: ArgumentError if a mask and is_causal are both given; ShapeError if heads cannot be
        shared evenly.
        Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.

        >>> q = Tensor.ones(1, 2, 4)
        >>> q.scaled_dot_product_attention(q, q, is_causal=True).shape
        (1, 2, 4)
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
        scores = self.dot(key.transpose(-2, -1), COMPUTE.get(kind, kind))
        scores = scores * (1 / math.sqrt(upper(self.shape[-1])))
        if is_causal:
            scores = scores._causal()
        if attn_mask is not None:
            scores = scores._masked(attn_mask)
        weights = scores.softmax(-1).cast(kind).dropout(dropout_p)
        return weights.dot(value)

    def _shares(self, key: Self) -> int:
        mine = upper(self.shape[-3])
        theirs = upper(key.shape[-3])
        if mine % theirs:
            raise ShapeError(
                f"scaled_dot_product_attention: {mine} heads cannot share {theirs}; "
                "expected a multiple. Change the number of heads"
            )
        return mine // theirs

    def _causal(self) -> Self:
        """Scores with the keys after each query hidden."""
        queries = self._indices(self.ndim - 2)
        keys = self._indices(self.ndim - 1)
        return (queries < keys).where(-math.inf, self)

    def _masked(self, mask: Self) -> Self:
        if mask.dtype.kind == "b":
            return mask.where(self, -math.inf)
        return self + mask
