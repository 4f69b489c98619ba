"""Layers that set their input to mean 0 and variance 1, each over other axes.

Comes in: sizes. Goes out: objects to call with a tensor. Next: optim.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.dtype import dtypes
from tinycore.errors import ShapeError
from tinycore.tensor import Tensor


class BatchNorm:
    """Normalises each channel (axis 1) over all other axes.

    While training it uses the statistics of the batch and moves the running ones toward them by
    `momentum`; else it uses the running ones.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    >>> BatchNorm(3)(Tensor.zeros(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        sz: int,
        eps: float = 1e-5,
        affine: bool = True,
        track_running_stats: bool = True,
        momentum: float = 0.1,
    ) -> None:
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        self.weight = Tensor.ones(sz) if affine else None
        self.bias = Tensor.zeros(sz) if affine else None
        self.running_mean = Tensor.zeros(sz, requires_grad=False)
        self.running_var = Tensor.ones(sz, requires_grad=False)
        self.num_batches_tracked = Tensor.zeros(1, dtype=dtypes.int64, requires_grad=False)

    def __call__(self, x: Tensor) -> Tensor:
        uses_batch = Tensor.training or not self.track_running_stats
        if not uses_batch:
            invstd = (self.running_var + self.eps).rsqrt()
            return x.batchnorm(self.weight, self.bias, self.running_mean, invstd)
        others = [axis for axis in range(x.ndim) if axis != 1]
        mean = x.mean(others)
        centred = x - mean.reshape(1, -1, *[1] * (x.ndim - 2))
        variance = (centred * centred).mean(others)
        if self.track_running_stats:
            count = x.numel() // mean.numel()
            self._learn(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        return x.batchnorm(self.weight, self.bias, mean, (variance + self.eps).rsqrt())

    def _learn(self, mean: Tensor, variance: Tensor) -> None:
        keep = 1 - self.momentum
        self.running_mean.assign(self.running_mean * keep + mean * self.momentum)
        self.running_var.assign(self.running_var * keep + variance * self.momentum)
        self.num_batches_tracked += 1


BatchNorm2d = BatchNorm3d = BatchNorm


class LayerNorm:
    """Normalises over the last axes, those of `normalized_shape`.

    Raises: ShapeError if the input does not end in that shape.
    Source: Ba et al. 2016, arXiv:1607.06450.

    >>> LayerNorm(4)(Tensor.zeros(2, 4)).shape
    (2, 4)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
    ) -> None:
        sizes = [normalized_shape] if isinstance(normalized_shape, int) else normalized_shape
        self.shape = tuple(sizes)
        self.eps = eps
        self.weight = Tensor.ones(*self.shape) if elementwise_affine else None
        self.bias = Tensor.zeros(*self.shape) if elementwise_affine else None

    def __call__(self, x: Tensor) -> Tensor:
        _check_end(x, self.shape, "LayerNorm")
        result = x.layernorm(tuple(range(-len(self.shape), 0)), self.eps)
        if self.weight is None or self.bias is None:
            return result
        return result * self.weight + self.bias


class RMSNorm:
    """Divides by the root of the mean square over the last axis.

    Raises: ShapeError if the input does not end in an axis of `dim`.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> RMSNorm(4)(Tensor.ones(2, 4)).shape
    (2, 4)
    """

    def __init__(
        self,
        dim: int,
        eps: float = 1e-6,
        elementwise_affine: bool = True,
    ) -> None:
        self.eps = eps
        self.dim = dim
        self.weight = Tensor.ones(dim) if elementwise_affine else None

    def __call__(self, x: Tensor) -> Tensor:
        _check_end(x, (self.dim,), "RMSNorm")
        wide = x.float()
        scale = ((wide * wide).mean(-1, True) + self.eps).rsqrt()
        result = (wide * scale).cast(x.dtype)
        return result if self.weight is None else result * self.weight


class GroupNorm:
    """Normalises groups of channels (axis 1), each sample by itself.

    Raises: ShapeError if the channels do not form that many groups.
    Source: Wu and He 2018, arXiv:1803.08494.

    >>> GroupNorm(2, 4)(Tensor.zeros(1, 4, 3, 3)).shape
    (1, 4, 3, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
    ) -> None:
        if num_channels % num_groups:
            raise ShapeError(
                f"GroupNorm: {num_channels} channels do not form {num_groups} groups; "
                "expected a multiple. Change one"
            )
        self.num_groups = num_groups
        self.eps = eps
        self.weight = Tensor.ones(num_channels) if affine else None
        self.bias = Tensor.zeros(num_channels) if affine else None

    def __call__(self, x: Tensor) -> Tensor:
        grouped = x.reshape(x.shape[0], self.num_groups, -1)
        result = grouped.layernorm(-1, self.eps).reshape(x.shape)
        if self.weight is None or self.bias is None:
            return result
        shape = (1, -1, *[1] * (x.ndim - 2))
        return result * self.weight.reshape(shape) + self.bias.reshape(shape)


def _check_end(x: Tensor, shape: tuple[int, ...], operation: str) -> None:
    if x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{operation}: input {x.shape} does not end in {shape}; expected the last axes it was "
            "made for. Transpose the input"
        )
