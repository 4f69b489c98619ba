"""Layers: plain classes that hold tensors and are called with one.

Comes in: sizes. Goes out: objects whose tensors state.py finds by PyTorch's names. Next: optim.py.
"""

from collections.abc import Sequence
from math import sqrt

from tinycore.dtype import dtypes
from tinycore.errors import ShapeError
from tinycore.tensor import Tensor
from tinycore.tensor.spelling import extents, spread
from tinycore.uop.index import size

Numbers = int | Sequence[int]


def _weights(layer: object, shape: Sequence[int], bias: bool) -> tuple[Tensor, Tensor | None]:
    """A weight of a shape (outputs, inputs, ..) and a bias, uniform in +- 1 / sqrt(inputs)."""
    sizes = extents(shape, type(layer).__name__)
    inputs = size(sizes[1:])
    bound = 1 / sqrt(max(inputs, 1))
    weight = Tensor.uniform(*shape, low=-bound, high=bound)
    if not bias:
        return weight, None
    offset = Tensor.uniform(shape[0], low=-bound, high=bound)
    return weight, offset


class Linear:
    """x @ weight.T + bias.

    Shapes: x (.., in), weight (out, in), bias (out,) give (.., out).

    >>> Linear(3, 2)(Tensor.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        shape = (out_features, in_features)
        self.weight, self.bias = _weights(self, shape, bias)

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.weight.transpose()
        return x.linear(weight, self.bias)


class Conv2d:
    """Tensor.conv2d with a weight and a bias of its own.

    Shapes: x (n, in, h, w), weight (out, in / groups, kh, kw), bias (out,).

    >>> Conv2d(3, 8, 3)(Tensor.zeros(1, 3, 5, 5)).shape
    (1, 8, 3, 3)
    """

    dims = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Numbers,
        stride: Numbers = 1,
        padding: Numbers = 0,
        dilation: Numbers = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if isinstance(kernel_size, int):
            kernel_size = (kernel_size,) * self.dims
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        shape = (out_channels, in_channels // groups, *kernel_size)
        self.weight, self.bias = _weights(self, shape, bias)

    def __call__(self, x: Tensor) -> Tensor:
        where = (self.groups, self.stride, self.dilation, self.padding)
        return x.conv2d(self.weight, self.bias, *where)


class Conv1d(Conv2d):
    """Conv2d over one axis of space.

    >>> Conv1d(3, 8, 3)(Tensor.zeros(1, 3, 5)).shape
    (1, 8, 3)
    """

    dims = 1


class Conv3d(Conv2d):
    """Conv2d over three axes of space.

    >>> Conv3d(3, 8, 1)(Tensor.zeros(1, 3, 2, 2, 2)).shape
    (1, 8, 2, 2, 2)
    """

    dims = 3


class Embedding:
    """A row of `weight` for each whole number.

    Shapes: x (..) of integers gives (.., embed_size).

    >>> Embedding(10, 4)(Tensor([1, 2])).shape
    (2, 4)
    """

    def __init__(self, vocab_size: int, embed_size: int) -> None:
        self.weight = Tensor.normal(vocab_size, embed_size)

    def __call__(self, x: Tensor) -> Tensor:
        return self.weight[x]


class BatchNorm:
    """Normalises each channel (axis 1) over all other axes.

    Training uses the batch's statistics and moves the running ones toward them by `momentum`; else
    the running ones are used.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    >>> BatchNorm(3)(Tensor.zeros(2, 3)).shape
    (2, 3)
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
        self.weight, self.bias = _affine(affine, sz)
        self.running_mean = Tensor.zeros(sz, requires_grad=False)
        self.running_var = Tensor.ones(sz, requires_grad=False)
        self.num_batches_tracked = Tensor.zeros(1, dtype=dtypes.int64, requires_grad=False)

    def __call__(self, x: Tensor) -> Tensor:
        mean = self.running_mean
        variance = self.running_var
        if Tensor.training or not self.track_running_stats:
            mean, variance = self._measured(x)
        invstd = (variance + self.eps).rsqrt()
        return x.batchnorm(self.weight, self.bias, mean, invstd)

    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        others = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = x.var_mean(others, True, 0)
        if self.track_running_stats:
            count = x.numel() // mean.numel()
            growth = count / max(count - 1, 1)
            unbiased = variance * growth
            moved = ((self.running_mean, mean), (self.running_var, unbiased))
            for running, new in moved:
                kept = running * (1 - self.momentum)
                change = new.detach().flatten()
                running.assign(kept + change * self.momentum)
            self.num_batches_tracked += 1
        return mean, variance


BatchNorm2d = BatchNorm3d = BatchNorm


class LayerNorm:
    """Normalises over the last axes, those of `normalized_shape`.

    Raises: ShapeError if the input ends in others.
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
        self.shape = spread((normalized_shape,))
        self.eps = eps
        self.weight, self.bias = _affine(elementwise_affine, *self.shape)

    def __call__(self, x: Tensor) -> Tensor:
        _check_end(x, self.shape, "LayerNorm")
        axes = range(-len(self.shape), 0)
        result = x.layernorm(axes, self.eps)
        if self.weight is None or self.bias is None:
            return result
        return result * self.weight + self.bias


class RMSNorm:
    """Divides by the root of the mean square over the last axis.

    Raises: ShapeError if that is not `dim`.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> RMSNorm(4)(Tensor.ones(2, 4)).shape
    (2, 4)
    """

    def __init__(self, dim: int, eps: float = 1e-6, elementwise_affine: bool = True) -> None:
        self.eps = eps
        self.dim = dim
        self.weight = Tensor.ones(dim) if elementwise_affine else None

    def __call__(self, x: Tensor) -> Tensor:
        _check_end(x, (self.dim,), "RMSNorm")
        wide = x.float()
        squares = wide * wide
        square = squares.mean(-1, True)
        scale = (square + self.eps).rsqrt()
        result = (wide * scale).cast(x.dtype)
        if self.weight is None:
            return result
        return result * self.weight


class GroupNorm:
    """Normalises groups of channels (axis 1), each sample by itself.

    Raises: ShapeError if channels do not form them.
    Source: Wu and He 2018, arXiv:1803.08494.

    >>> GroupNorm(2, 4)(Tensor.zeros(1, 4)).shape
    (1, 4)
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
        self.weight, self.bias = _affine(affine, num_channels)

    def __call__(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        grouped = x.reshape(count, self.num_groups, -1)
        even = grouped.layernorm(-1, self.eps)
        result = even.reshape(x.shape)
        if self.weight is None or self.bias is None:
            return result
        ones = [1] * (x.ndim - 2)
        shape = (1, -1, *ones)
        scaled = result * self.weight.reshape(shape)
        return scaled + self.bias.reshape(shape)


def _affine(is_wanted: bool, *shape: int) -> tuple[Tensor | None, Tensor | None]:
    if not is_wanted:
        return None, None
    return Tensor.ones(*shape), Tensor.zeros(*shape)


def _check_end(x: Tensor, shape: tuple[int, ...], operation: str) -> None:
    if x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{operation}: input {x.shape} does not end in {shape}; expected the last axes it was "
            "made for. Transpose the input"
        )
