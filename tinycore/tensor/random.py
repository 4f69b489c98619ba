"""Random numbers: Threefry of a counter; equal seeds give equal numbers on every device.

Comes in: shapes. Goes out: lazy tensors. Each device stores its counter: two equal steps of
training are one graph. Next: contraction.py.
Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.2:
Threefry-2x32 with its 20 rounds and constants.
"""

import os
from collections.abc import Sequence
from math import pi, sqrt
from typing import Any, Self

from tinycore.config import TRAINING
from tinycore.dtype import NARROW, DType, dtypes, promote
from tinycore.engine.cell import STATES, Cell, fresh_number
from tinycore.engine.realize import realize
from tinycore.errors import ArgumentError, DTypeError
from tinycore.runtime.registry import Device
from tinycore.tensor.base import DeviceLike, DTypeLike, RequiresGrad, default_float, dtype_or
from tinycore.tensor.creation import Creation, stored
from tinycore.tensor.reduction import Reduction
from tinycore.tensor.spelling import extents, number, spelled
from tinycore.uop import UOp, graph
from tinycore.uop.index import Shape, size, upper_shape
from tinycore.util import np, prod

Pair = tuple[UOp, UOp]

_ROTATIONS = (
    (17, 29, 16, 24),  # of even blocks, which are numbered from 1
    (13, 15, 26, 6),
)
_PARITY = 0x1BD11BDA
_MASK = (1 << 32) - 1


class _State:
    def __init__(self, device: str, seed: int) -> None:
        self.key = _words_cell(_key(device, seed), device)
        self.counter = _words_cell([0], device)
        STATES[self.counter] = None

    def restart(self, seed: int) -> None:
        """The memory stays: captured calls read it there."""
        fresh = _State(self.key.device, seed)
        _write(self.key, fresh.key)
        _write(self.counter, fresh.counter)
        realize([self.key, self.counter])

    def words(self, count: int) -> Pair:
        call = self.counter.uop
        self.counter.write(call + 1)
        key = self.key.uop
        first = graph.shrink(key, [(0, 1)])
        second = graph.shrink(key, [(1, 2)])
        words = (first, second, call)
        shape = (count,)
        low, high, calls = [graph.broadcast(word, shape) for word in words]
        number = graph.iota(count, dtypes.uint32)
        return threefry((low, high), (number, calls))


class _Seeds:
    def __init__(self) -> None:
        self.seed: int | None = None
        self.states: dict[str, _State] = {}

    def restart(self, seed: int) -> None:
        self.seed = seed
        for state in self.states.values():
            state.restart(seed)

    def words(self, device: str, count: int) -> Pair:
        if self.seed is None:
            self.seed = int.from_bytes(os.urandom(8), "little")
        if device not in self.states:
            self.states[device] = _State(device, self.seed)
        return self.states[device].words(count)


SEEDS = _Seeds()


class Random(Reduction, Creation):
    """Tensor methods that draw random numbers."""

    __slots__ = ()

    @staticmethod
    def manual_seed(seed: int = 0) -> None:
        """Start the random numbers of all devices anew.

        Raises: ArgumentError for no whole number.

        >>> Tensor.manual_seed(7)
        """
        SEEDS.restart(number(seed, "manual_seed", "seed"))

    @classmethod
    def _words(cls, shape: Shape, device: DeviceLike) -> list[Self]:
        home = Device.canonicalize(device)
        sizes = upper_shape(shape)
        words = SEEDS.words(home, prod(sizes))
        return [cls.of_node(word, home).reshape(sizes) for word in words]

    @classmethod
    def _units(cls, shape: Shape, device: DeviceLike, dtype: DType) -> tuple[Self, Self]:
        """Two tensors of independent numbers 0 <= u < 1, as fine as their type resolves."""
        a, b = cls._words(shape, device)
        if dtype is dtypes.float64:
            high = (a >> 5).cast(dtype)
            low = (b >> 6).cast(dtype)
            fine = (high * 2.0**26 + low) * 2.0**-53
            coarse = (b.cast(dtype) + 0.5) * 2.0**-32
            return fine, coarse
        return a._unit(dtype), b._unit(dtype)

    def _unit(self, dtype: DType) -> Self:
        bits = 24
        if dtype in NARROW:
            bits = NARROW[dtype].mantissa + 1  # more would round up to 1
        # as a signed integer, which every processor converts
        whole = (self >> (32 - bits)).int()
        units = whole.float() * 2.0**-bits
        return units.cast(dtype)

    def _kept(self, is_kept: bool, requires_grad: RequiresGrad) -> Self:
        numbers = self
        if is_kept:
            node = graph.contiguous(self.uop, fresh_number())
            numbers = self.of_cell(Cell(node, self.device))
        return numbers.requires_grad_(requires_grad)

    @classmethod
    def rand(
        cls,
        *shape: Any,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        contiguous: bool = True,
        requires_grad: RequiresGrad = None,
    ) -> Self:
        """Numbers equally likely in 0 <= x < 1; stored when drawn, unless contiguous is False.

        Raises: DTypeError if `dtype` is not floating-point.

        >>> Tensor.rand(2).shape
        (2,)
        """
        kind = _float_dtype("rand", dtype)
        sizes = extents(shape, "rand")
        units, _ = cls._units(sizes, device, kind)
        return units._kept(contiguous, requires_grad)

    @classmethod
    def randn(
        cls,
        *shape: Any,
        dtype: DTypeLike = None,
        device: DeviceLike = None,
        contiguous: bool = True,
        requires_grad: RequiresGrad = None,
    ) -> Self:
        """Numbers of the standard normal distribution.

        Raises: as rand.
        Source: Box and Muller 1958.

        >>> Tensor.randn(2).shape
        (2,)
        """
        kind = _float_dtype("randn", dtype)
        wide = promote(kind, dtypes.float32)
        sizes = extents(shape, "randn")
        u, v = cls._units(sizes, device, wide)
        square = (1.0 - u).log() * -2.0
        radius = square.sqrt()
        angle = v * (2 * pi)
        numbers = radius * angle.sin()
        return numbers.cast(kind)._kept(contiguous, requires_grad)

    @classmethod
    def randint(
        cls,
        *shape: Any,
        low: int = 0,
        high: int = 10,
        dtype: DType | str = dtypes.int32,
        device: DeviceLike = None,
        requires_grad: RequiresGrad = None,
    ) -> Self:
        """Whole numbers equally likely in low <= x < high.

        Raises: ArgumentError for none, or more than 2^32.

        >>> Tensor.randint(2, low=5, high=6).tolist()
        [5, 5]
        """
        count = high - low
        if not 0 < count <= 1 << 32:
            raise ArgumentError(
                f"randint: {low} to {high} holds {max(count, 0)} numbers; expected 1 to 2^32. "
                "Pass low < high"
            )
        sizes = extents(shape, "randint")
        words, _ = cls._words(sizes, device)
        above = words.cast(dtypes.uint64) * count >> 32
        numbers = above.cast(dtypes.int64) + low
        return numbers.cast(dtype)._kept(True, requires_grad)

    @classmethod
    def uniform(
        cls,
        *shape: Any,
        low: float = 0.0,
        high: float = 1.0,
        dtype: DTypeLike = None,
        contiguous: bool = True,
        requires_grad: RequiresGrad = None,
        **kwargs: Any,
    ) -> Self:
        """Numbers equally likely in low <= x < high; rounded down for integers.

        >>> Tensor.uniform(2).shape
        (2,)
        """
        kind = dtype_or(dtype)
        wide = kind if kind.is_float else default_float()
        units = cls.rand(*shape, dtype=wide, contiguous=False, **kwargs)
        numbers = units * (high - low) + low
        return numbers.cast(kind)._kept(contiguous, requires_grad)

    @classmethod
    def normal(
        cls,
        *shape: Any,
        mean: float = 0.0,
        std: float = 1.0,
        contiguous: bool = True,
        requires_grad: RequiresGrad = None,
        **kwargs: Any,
    ) -> Self:
        """Normally distributed numbers.

        >>> Tensor.normal(1, mean=3, std=0).item()
        3.0
        """
        drawn = cls.randn(*shape, contiguous=False, **kwargs)
        numbers = drawn * std + mean
        return numbers._kept(contiguous, requires_grad)

    @classmethod
    def randperm(
        cls,
        n: int,
        device: DeviceLike = None,
        dtype: DType | str = dtypes.int32,
        **kwargs: Any,
    ) -> Self:
        """0 .. n - 1 in random order; takes n^2 steps.

        >>> sorted(Tensor.randperm(3).tolist())
        [0, 1, 2]
        """
        words, _ = cls._words((n,), device)
        keys = words._kept(True, None)
        mine = keys.unsqueeze(1)
        place = keys._indices(0)
        is_earlier = place < place.unsqueeze(1)
        is_tie = keys.eq(mine) & is_earlier
        before = (keys < mine) | is_tie
        ranks = before.sum(1, dtype=dtypes.int32)
        requires_grad = kwargs.get("requires_grad")
        return ranks.cast(dtype)._kept(True, requires_grad)

    # the starting values of layers

    @classmethod
    def scaled_uniform(cls, *shape: Any, **kwargs: Any) -> Self:
        """Uniform in +- 1 / sqrt(number of elements).

        >>> Tensor.scaled_uniform(2).shape
        (2,)
        """
        bound = size(extents(shape, "scaled_uniform")) ** -0.5
        return cls._within(bound, *shape, **kwargs)

    @classmethod
    def _within(cls, bound: float, *shape: Any, **kwargs: Any) -> Self:
        return cls.uniform(*shape, low=-bound, high=bound, **kwargs)

    @classmethod
    def glorot_uniform(cls, *shape: Any, **kwargs: Any) -> Self:
        """Uniform in +- sqrt(6 / (inputs + outputs)).

        Source: Glorot and Bengio 2010, equation 16.

        >>> Tensor.glorot_uniform(2).shape
        (2,)
        """
        first, *rest = upper_shape(extents(shape, "glorot_uniform"))
        bound = sqrt(6 / (first + prod(rest)))
        return cls._within(bound, *shape, **kwargs)

    @classmethod
    def kaiming_uniform(cls, *shape: Any, a: float = 0.01, **kwargs: Any) -> Self:
        """Uniform, so that a leaky_relu of slope `a` keeps the variance.

        Source: He et al. 2015, arXiv:1502.01852, equations 10 and 14.

        >>> Tensor.kaiming_uniform(2, 3).shape
        (2, 3)
        """
        std = _kaiming_std(extents(shape, "kaiming_uniform"), a)
        bound = sqrt(3) * std
        return cls._within(bound, *shape, **kwargs)

    @classmethod
    def kaiming_normal(cls, *shape: Any, a: float = 0.01, **kwargs: Any) -> Self:
        """Like kaiming_uniform, normally distributed.

        >>> Tensor.kaiming_normal(2, 3).shape
        (2, 3)
        """
        std = _kaiming_std(extents(shape, "kaiming_normal"), a)
        return cls.normal(*shape, std=std, **kwargs)

    # like another tensor

    def rand_like(self, **kwargs: Any) -> Self:
        """rand of this shape, type and device.

        >>> Tensor(1.0).rand_like().shape
        ()
        """
        wanted = self._kind | kwargs
        return self.rand(self.shape, **wanted)

    def randn_like(self, dtype: DTypeLike = None, **kwargs: Any) -> Self:
        """randn of this shape, type and device.

        >>> Tensor(1.0).randn_like().shape
        ()
        """
        kwargs["dtype"] = dtype or self.dtype
        wanted = self._kind | kwargs
        return self.randn(self.shape, **wanted)

    @spelled
    def dropout(self, p: float = 0.5) -> Self:
        """While training, zeros with probability p, other elements scaled by 1 / (1 - p).

        Raises: ArgumentError if p is not in 0 .. 1.
        Source: Srivastava et al. 2014.

        >>> Tensor(1).dropout().item()
        1
        """
        if not 0 <= p <= 1:
            raise ArgumentError(f"dropout: p is {p}; expected 0 to 1. Pass a probability")
        if not TRAINING.value or p == 0:
            return self
        words, _ = self._words(self.shape, self.device)
        share = int(p * 2**32)
        limit = min(share, 2**32 - 1)
        is_kept = (words >= limit)._kept(True, None)
        scale = 1 / (1 - p) if p < 1 else 0.0
        return is_kept.where(self * scale, 0)


def _float_dtype(operation: str, dtype: DTypeLike) -> DType:
    kind = dtype_or(dtype)
    if not kind.is_float:
        raise DTypeError(
            f"{operation}: {kind!r} is no floating-point type; expected one. Use randint"
        )
    return kind


def _kaiming_std(shape: Shape, slope: float) -> float:
    inputs = size(shape[1:])
    gain = sqrt(2 / (1 + slope * slope))
    return gain / sqrt(inputs)


def _key(device: str, seed: int) -> list[int]:
    _, _, index = device.partition(":")
    low = seed & _MASK
    high = (seed >> 32) + int(index or 0)
    return [low, high & _MASK]


def _write(target: Cell, source: Cell) -> None:
    value = graph.contiguous(source.uop, fresh_number())
    target.write(value)


def _words_cell(words: Sequence[int], device: str) -> Cell:
    array = np().array(words, "uint32")
    return stored(array, device)


def threefry(key: Pair, counter: Pair) -> Pair:
    """Two words of a key and two of a counter, mixed."""
    first, second = key
    keys = (first, second, first ^ second ^ _PARITY)
    x, y = counter
    x = x + first
    y = y + second
    for block in range(1, 6):
        for shift in _ROTATIONS[block % 2]:
            x = x + y
            high = y << shift
            low = y >> (32 - shift)
            y = (high | low) ^ x
        x = x + keys[block % 3]
        y = y + keys[(block + 1) % 3] + block
    return x, y
