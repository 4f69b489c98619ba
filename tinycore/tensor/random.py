"""Random numbers: Threefry of a counter, so that equal seeds give equal numbers on every device.

Comes in: shapes. Goes out: lazy tensors. Each device has a stored counter that every call moves on;
two equal steps of training are thus one graph, whose numbers differ. The words are made in
threefry.py. Next: attention.py.
"""

from __future__ import annotations

import math
from typing import Any, Self

from tinycore.config import TRAINING
from tinycore.dtype import NARROW, DType, dtypes, to_dtype
from tinycore.engine.cell import Cell, fresh_number
from tinycore.errors import ArgumentError, DTypeError
from tinycore.runtime.registry import Device
from tinycore.tensor.activations import Activations
from tinycore.tensor.base import DTypeLike, default_float
from tinycore.tensor.creation import Creation
from tinycore.tensor.spelling import extents, spelled
from tinycore.tensor.threefry import SEEDS
from tinycore.uop import graph
from tinycore.uop.shape import Shape, upper_shape
from tinycore.util import prod


class Random(Activations, Creation):
    """Tensor methods that draw random numbers."""

    __slots__ = ()

    @staticmethod
    def manual_seed(seed: int = 0) -> None:
        """Start the random numbers of all devices anew.

        >>> Tensor.manual_seed(7)
        >>> first = Tensor.rand(3).tolist()
        >>> Tensor.manual_seed(7)
        >>> Tensor.rand(3).tolist() == first
        True
        """
        SEEDS.restart(seed)

    @classmethod
    def _words(cls, shape: Shape, device: str | None) -> tuple[Self, Self]:
        """Two tensors of independent random uint32."""
        home = Device.canonicalize(device)
        sizes = upper_shape(shape)
        first, second = SEEDS.words(home, prod(sizes))
        a = cls.of_cell(Cell(first, home)).reshape(sizes)
        b = cls.of_cell(Cell(second, home)).reshape(sizes)
        return a, b

    @classmethod
    def _units(
        cls,
        shape: Shape,
        device: str | None,
        dtype: DType,
    ) -> tuple[Self, Self]:
        """Two tensors of independent numbers 0 <= u < 1, as fine as their type resolves."""
        a, b = cls._words(shape, device)
        if dtype is dtypes.float64:
            high = (a >> 5).cast(dtype) * float(1 << 26)
            unit = (high + (b >> 6).cast(dtype)) * 2.0**-53
            return unit, (b.cast(dtype) + 0.5) * 2.0**-32
        bits = NARROW[dtype].mantissa + 1 if dtype in NARROW else 24  # more would round up to 1
        return a._unit(bits).cast(dtype), b._unit(bits).cast(dtype)

    def _unit(self, bits: int) -> Self:
        # as a signed integer, which every processor converts
        return (self >> (32 - bits)).int().float() * 2.0**-bits

    def _kept(self, is_kept: bool, requires_grad: bool | None) -> Self:
        """The numbers drawn once and stored, if that is wished."""
        numbers = self
        if is_kept:
            numbers = self.of_cell(Cell(graph.contiguous(self.uop, fresh_number()), self.device))
        return numbers if requires_grad is None else numbers.requires_grad_(requires_grad)

    @classmethod
    def rand(
        cls,
        *shape: Any,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        contiguous: bool = True,
        requires_grad: bool | None = None,
    ) -> Self:
        """Numbers equally likely in 0 <= x < 1; stored when drawn, unless contiguous is False.

        Raises: DTypeError if `dtype` is not floating point.

        >>> Tensor.rand(2, 3).shape
        (2, 3)
        """
        kind = _float_dtype("rand", dtype)
        units, _ = cls._units(extents(shape, "rand"), device, kind)
        return units._kept(contiguous, requires_grad)

    @classmethod
    def randn(
        cls,
        *shape: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        contiguous: bool = True,
        requires_grad: bool | None = None,
    ) -> Self:
        """Numbers of the normal distribution with mean 0 and standard deviation 1.

        Raises: DTypeError if `dtype` is not floating point.
        Source: Box and Muller 1958.

        >>> Tensor.randn(2, 3).shape
        (2, 3)
        """
        kind = _float_dtype("randn", dtype)
        wide = dtypes.float64 if kind is dtypes.float64 else dtypes.float32
        u, v = cls._units(extents(shape, "randn"), device, wide)
        radius = ((1.0 - u).log() * -2.0).sqrt()
        numbers = radius * (v * (2 * math.pi)).sin()
        return numbers.cast(kind)._kept(contiguous, requires_grad)

    @classmethod
    def randint(
        cls,
        *shape: Any,
        low: int = 0,
        high: int = 10,
        dtype: DTypeLike = dtypes.int32,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """Whole numbers equally likely in low <= x < high.

        Raises: ArgumentError if there is none, or more than 2^32.

        >>> Tensor.randint(3, low=5, high=6).tolist()
        [5, 5, 5]
        """
        count = high - low
        if not 0 < count <= 1 << 32:
            raise ArgumentError(
                f"randint: {low} to {high} holds {max(count, 0)} numbers; expected 1 to 2^32. "
                "Pass low < high"
            )
        words, _ = cls._words(extents(shape, "randint"), device)
        numbers = (words.cast(dtypes.uint64) * count >> 32).cast(dtypes.int64) + low
        return numbers.cast(dtype)._kept(True, requires_grad)

    @classmethod
    def uniform(
        cls,
        *shape: Any,
        low: float = 0.0,
        high: float = 1.0,
        dtype: DTypeLike | None = None,
        requires_grad: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Numbers equally likely in low <= x < high; rounded down for an integer `dtype`.

        >>> Tensor.uniform(2, low=-1, high=1).shape
        (2,)
        """
        kind = default_float() if dtype is None else to_dtype(dtype)
        wide = kind if kind.is_float else default_float()
        units = cls.rand(*shape, dtype=wide, **{**kwargs, "contiguous": False})
        numbers = (units * (high - low) + low).cast(kind)
        return numbers._kept(kwargs.get("contiguous", True), requires_grad)

    @classmethod
    def normal(
        cls,
        *shape: Any,
        mean: float = 0.0,
        std: float = 1.0,
        requires_grad: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Numbers of a normal distribution.

        >>> Tensor.normal(2, mean=3.0, std=0.0).tolist()
        [3.0, 3.0]
        """
        drawn = cls.randn(*shape, **{**kwargs, "contiguous": False})
        return (drawn * std + mean)._kept(kwargs.get("contiguous", True), requires_grad)

    @classmethod
    def randperm(
        cls,
        n: int,
        device: str | None = None,
        dtype: DTypeLike = dtypes.int32,
        **kwargs: Any,
    ) -> Self:
        """0 .. n - 1 in random order: the ranks of random numbers, so that it takes n^2 steps.

        >>> sorted(Tensor.randperm(4).tolist())
        [0, 1, 2, 3]
        """
        words, _ = cls._words((n,), device)
        keys = words._kept(True, None)
        mine, theirs = keys.reshape(n, 1), keys.reshape(1, n)
        place = cls.of_cell(Cell(graph.iota(n), keys.device))
        is_earlier = place.reshape(1, n) < place.reshape(n, 1)
        before = (theirs < mine) | (theirs.eq(mine) & is_earlier)
        ranks = before.cast(dtypes.int32).uop
        total = keys.of_uop(graph.reduce(ranks, [1], "sum")).reshape(n)
        return total.cast(dtype)._kept(True, kwargs.get("requires_grad"))

    # the starting values of layers

    @classmethod
    def scaled_uniform(cls, *shape: Any, **kwargs: Any) -> Self:
        """Uniform in +- 1 / sqrt(number of elements).

        >>> Tensor.scaled_uniform(2, 3).shape
        (2, 3)
        """
        bound = prod(upper_shape(extents(shape, "scaled_uniform"))) ** -0.5
        return cls.uniform(*shape, **{"low": -bound, "high": bound, **kwargs})

    @classmethod
    def glorot_uniform(cls, *shape: Any, **kwargs: Any) -> Self:
        """Uniform in +- sqrt(6 / (inputs + outputs)).

        Source: Glorot and Bengio 2010, equation 16.

        >>> Tensor.glorot_uniform(2, 3).shape
        (2, 3)
        """
        first, *rest = upper_shape(extents(shape, "glorot_uniform"))
        bound = math.sqrt(6 / (first + prod(rest)))
        return cls.uniform(*shape, **{"low": -bound, "high": bound, **kwargs})

    @classmethod
    def kaiming_uniform(
        cls,
        *shape: Any,
        a: float = 0.01,
        **kwargs: Any,
    ) -> Self:
        """Uniform with the variance that keeps that of a leaky_relu of slope `a`.

        Source: He et al. 2015, arXiv:1502.01852, equations 10 and 14.

        >>> Tensor.kaiming_uniform(2, 3).shape
        (2, 3)
        """
        bound = math.sqrt(3) * _kaiming_std(extents(shape, "kaiming_uniform"), a)
        return cls.uniform(*shape, **{"low": -bound, "high": bound, **kwargs})

    @classmethod
    def kaiming_normal(
        cls,
        *shape: Any,
        a: float = 0.01,
        **kwargs: Any,
    ) -> Self:
        """Normal with the variance that keeps that of a leaky_relu of slope `a`.

        Source: He et al. 2015, arXiv:1502.01852, equations 10 and 14.

        >>> Tensor.kaiming_normal(2, 3).shape
        (2, 3)
        """
        return cls.normal(*shape, std=_kaiming_std(extents(shape, "kaiming_normal"), a), **kwargs)

    # like another tensor

    def rand_like(self, **kwargs: Any) -> Self:
        """rand of this tensor's shape, type and device.

        >>> Tensor.zeros(2, 3).rand_like().shape
        (2, 3)
        """
        return self.rand(self.shape, **self._like(kwargs))

    def randn_like(self, dtype: DTypeLike | None = None, **kwargs: Any) -> Self:
        """randn of this tensor's shape, type and device.

        >>> Tensor.zeros(2, 3).randn_like().shape
        (2, 3)
        """
        given = kwargs if dtype is None else {"dtype": dtype, **kwargs}
        return self.randn(self.shape, **self._like(given))

    @spelled
    def dropout(self, p: float = 0.5) -> Self:
        """While training, elements are zero with probability p, the others scaled by 1 / (1 - p).

        Raises: ArgumentError if p is not in 0 .. 1.
        Source: Srivastava et al. 2014.

        >>> Tensor([1.0]).dropout(0.5).tolist()
        [1.0]
        """
        if not 0 <= p <= 1:
            raise ArgumentError(f"dropout: p is {p}; expected 0 to 1. Pass a probability")
        if not TRAINING.value or p == 0:
            return self
        words, _ = self._words(self.shape, self.device)
        kept = (words >= min(int(p * 2**32), 2**32 - 1))._kept(True, None)
        return kept.where(self * (1 / (1 - p) if p < 1 else 0.0), 0)


def _float_dtype(operation: str, dtype: DTypeLike | None) -> DType:
    kind = default_float() if dtype is None else to_dtype(dtype)
    if not kind.is_float:
        raise DTypeError(
            f"{operation}: {kind!r} is no floating-point type; expected one. Use randint"
        )
    return kind


def _kaiming_std(shape: Shape, slope: float) -> float:
    inputs = prod(upper_shape(shape)[1:])
    return math.sqrt(2 / (1 + slope * slope)) / math.sqrt(inputs)
