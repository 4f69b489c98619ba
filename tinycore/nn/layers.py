"""Layers: plain classes that hold tensors and are called with one.

Comes in: sizes. Goes out: objects whose tensors state.py finds by their names, which are PyTorch's.
Next: optim.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinycore.tensor import Tensor
from tinycore.tensor.spelling import extents
from tinycore.uop.shape import upper_shape
from tinycore.util import prod

Numbers = int | Sequence[int]


def _bound(layer: str, shape: Sequence[int]) -> float:
    """How far from 0 a weight of a shape (outputs, inputs, ..) may begin.

    Raises: ShapeError if it is no shape.
    """
    inputs = prod(upper_shape(extents(shape, layer)[1:]))
    return 1 / math.sqrt(max(inputs, 1))


class Linear:
    """x @ weight.T + bias. As in all layers, `requires_grad` of the parameters is None until an
    optimizer takes them, or `requires_grad_()` is called on them.

    Shapes: x (.., in), weight (out, in), bias (out,) give (.., out).

    >>> Linear(3, 2)(Tensor.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        bound = _bound(type(self).__name__, (out_features, in_features))
        self.weight = Tensor.uniform(out_features, in_features, low=-bound, high=bound)
        self.bias = Tensor.uniform(out_features, low=-bound, high=bound) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return x.linear(self.weight.transpose(), self.bias)


class Conv2d:
    """Tensor.conv2d with a weight and a bias of its own.

    Shapes: x (n, in, h, w), weight (out, in / groups, kh, kw), bias (out,).

    >>> Conv2d(3, 8, 3, padding=1)(Tensor.zeros(1, 3, 5, 5)).shape
    (1, 8, 5, 5)
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
        bound = _bound(type(self).__name__, shape)
        self.weight = Tensor.uniform(*shape, low=-bound, high=bound)
        self.bias = Tensor.uniform(out_channels, low=-bound, high=bound) if bias else None

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
