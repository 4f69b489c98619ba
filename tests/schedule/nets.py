"""Graphs that people write, straight from nodes: rows, attention, perceptrons, convolutions.

In: nodes. Out: nodes. They stand in for tensor/, which is built on the same constructors.
"""

from collections.abc import Sequence
from itertools import count, pairwise

from tinycore.dtype import DType, dtypes
from tinycore.gradient import gradient
from tinycore.uop import graph
from tinycore.uop.graph import elementwise
from tinycore.uop.index import Shape
from tinycore.uop.ops import Ops, UOp, const

_numbers = count(1)


def leaf(*shape: int, dtype: DType = dtypes.float32) -> UOp:
    """A new buffer."""
    return graph.graph_buffer(next(_numbers), shape, dtype, "REF")


def number(x: UOp, value: float) -> UOp:
    """A constant in the type of `x`."""
    return const(value, x.dtype)


def _joint(x: UOp, y: UOp) -> tuple[UOp, UOp]:
    a, b = x.shape, y.shape
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    shape = tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))
    return graph.broadcast(x, shape), graph.broadcast(y, shape)


def apply(op: Ops, x: UOp, y: UOp | float) -> UOp:
    """A scalar op, broadcast."""
    pair = _joint(x, y) if isinstance(y, UOp) else (x, number(x, y))
    return elementwise(op, *pair)


def add(x: UOp, y: UOp | float) -> UOp:
    return apply(Ops.ADD, x, y)


def sub(x: UOp, y: UOp) -> UOp:
    return add(x, elementwise(Ops.NEG, y))


def mul(x: UOp, y: UOp | float) -> UOp:
    return apply(Ops.MUL, x, y)


def div(x: UOp, y: UOp) -> UOp:
    return mul(x, elementwise(Ops.RECIP, y))


def exp(x: UOp) -> UOp:
    return elementwise(Ops.EXP, x)


def log(x: UOp) -> UOp:
    return elementwise(Ops.LOG, x)


def sqrt(x: UOp) -> UOp:
    return elementwise(Ops.SQRT, x)


def relu(x: UOp) -> UOp:
    return apply(Ops.MAX, x, 0.0)


def total(x: UOp, *axes: int) -> UOp:
    """A sum that keeps its axes; over all of them if none is named."""
    rank = len(x.shape)
    return graph.reduce(x, [axis % rank for axis in axes] or range(rank), "sum")


def highest(x: UOp, *axes: int) -> UOp:
    rank = len(x.shape)
    return graph.reduce(x, [axis % rank for axis in axes] or range(rank), "max")


def mean(x: UOp, *axes: int) -> UOp:
    found = total(x, *axes)
    return mul(found, found.size / x.size)


def squeeze(x: UOp) -> UOp:
    """Without axes of extent 1."""
    return graph.reshape(x, tuple(n for n in x.shape if n != 1))


def matmul(x: UOp, y: UOp) -> UOp:
    """x @ y over the last axes, leading ones broadcast."""
    *_, rows, steps = x.shape
    columns = y.shape[-1]
    x = graph.reshape(x, (*x.shape[:-2], rows, 1, steps))
    rank = len(y.shape)
    y = graph.permute(y, (*range(rank - 2), rank - 1, rank - 2))
    y = graph.reshape(y, (*y.shape[:-2], 1, columns, steps))
    found = total(mul(x, y), -1)
    return graph.reshape(found, found.shape[:-1])


def transpose(x: UOp) -> UOp:
    rank = len(x.shape)
    return graph.permute(x, (*range(rank - 2), rank - 1, rank - 2))


def softmax(x: UOp) -> UOp:
    scale = exp(sub(x, graph.detach(highest(x, -1))))
    return div(scale, total(scale, -1))


def layernorm(x: UOp, weight: UOp, bias: UOp) -> UOp:
    centred = sub(x, mean(x, -1))
    deviation = sqrt(add(mean(mul(centred, centred), -1), 1e-5))
    return add(mul(div(centred, deviation), weight), bias)


def below_diagonal(scores: UOp) -> UOp:
    """Scores with -inf where the key comes after the query."""
    shape = scores.shape
    rows, columns = shape[-2:]
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    lead = (1,) * (len(shape) - 2)
    query = graph.expand(graph.reshape(graph.iota(rows), (*lead, rows, 1)), shape)
    key = graph.expand(graph.reshape(graph.iota(columns), (*lead, 1, columns)), shape)
    later = elementwise(Ops.LT, query, key)
    return elementwise(Ops.WHERE, later, number(scores, float("-inf")), scores)


def attention(query: UOp, key: UOp, value: UOp, causal: bool = True) -> UOp:
    scores = mul(matmul(query, transpose(key)), 0.125)
    return matmul(softmax(below_diagonal(scores) if causal else scores), value)


def cross_entropy(logits: UOp, labels: UOp) -> UOp:
    """The mean of -log softmax(logits)[label]."""
    rows, classes = logits.shape
    assert isinstance(classes, int)
    top = graph.detach(highest(logits, 1))
    centred = sub(logits, top)
    logs = sub(centred, log(total(exp(centred), 1)))
    places = graph.expand(graph.reshape(graph.iota(classes), (1, classes)), (rows, classes))
    wanted = graph.expand(graph.reshape(labels, (rows, 1)), (rows, classes))
    hot = graph.cast(elementwise(Ops.EQ, places, wanted), logits.dtype)
    return mul(total(mul(logs, hot)), -1.0 / labels.size)


Sinks = list[tuple[UOp, UOp | None]]


def adam(params: Sequence[UOp], loss: UOp) -> Sinks:
    """New values of parameters and of both moments, each in place of the old one."""
    sinks: Sinks = []
    for param, grad in zip(params, gradient(loss, params), strict=True):
        assert grad is not None
        shape = [n for n in param.shape if isinstance(n, int)]
        first, second = leaf(*shape), leaf(*shape)
        new_first = add(mul(first, 0.9), mul(grad, 0.1))
        new_second = add(mul(second, 0.999), mul(mul(grad, grad), 0.001))
        step = div(mul(new_first, 0.001), add(sqrt(new_second), 1e-8))
        sinks += [(new_first, first), (new_second, second), (sub(param, step), param)]
    return sinks


def perceptron_step(batch: int, widths: Sequence[int]) -> Sinks:
    """The sinks of a training step of a perceptron."""
    x, labels = leaf(batch, widths[0]), leaf(batch, dtype=dtypes.int32)
    params: list[UOp] = []
    for wide, narrow in pairwise(widths):
        if params:
            x = relu(x)
        params += [leaf(wide, narrow), leaf(narrow)]
        x = add(matmul(x, params[-2]), params[-1])
    loss = cross_entropy(x, labels)
    return [(loss, None), *adam(params, loss)]


def pad_image(x: UOp, width: int) -> UOp:
    return graph.pad(x, ((0, 0), (0, 0), (width, width), (width, width)))


def image_windows(x: UOp, size: int, stride: int = 1) -> UOp:
    """[N, C, H, W] to [N, C, y, x, ky, kx]."""
    seen = graph.windows(graph.windows(x, 2, size, stride), 4, size, stride)
    return graph.permute(seen, (0, 1, 2, 4, 3, 5))


def conv2d(x: UOp, weight: UOp, bias: UOp | None = None, padding: int = 0, stride: int = 1) -> UOp:
    out, channels, size, _ = weight.shape
    assert isinstance(size, int)
    seen = image_windows(pad_image(x, padding) if padding else x, size, stride)
    n, c, y, wide, *_ = seen.shape
    seen = graph.reshape(seen, (n, 1, c, y, wide, size, size))
    kernel = graph.reshape(weight, (1, out, channels, 1, 1, size, size))
    found = graph.reshape(total(mul(seen, kernel), 2, 5, 6), (n, out, y, wide))
    return found if bias is None else add(found, graph.reshape(bias, (1, out, 1, 1)))


def max_pool(x: UOp, size: int = 2) -> UOp:
    found = highest(image_windows(x, size, size), 4, 5)
    return graph.reshape(found, found.shape[:-2])


class Norm:
    """Batch normalisation with running statistics, updated in place."""

    def __init__(self, channels: int) -> None:
        self.params = [leaf(channels), leaf(channels)]
        self.running = [leaf(channels), leaf(channels)]
        self.sinks: Sinks = []

    def __call__(self, x: UOp) -> UOp:
        axes = (0, 2, 3)
        centre = mean(x, *axes)
        centred = sub(x, centre)
        variance = mean(mul(centred, centred), *axes)
        for old, new in zip(self.running, (centre, variance), strict=True):
            flat = graph.reshape(graph.detach(new), old.shape)
            self.sinks.append((add(mul(old, 0.9), mul(flat, 0.1)), old))
        weight, bias = [graph.reshape(p, centre.shape) for p in self.params]
        scale = elementwise(Ops.RECIP, sqrt(add(variance, 1e-5)))
        return add(mul(mul(centred, scale), weight), bias)


Layer = tuple[int, int, int, bool]  # channels in and out, size of the window, normalise and pool
DIGITS: tuple[Layer, ...] = (
    (1, 32, 5, False),
    (32, 32, 5, True),
    (32, 64, 3, False),
    (64, 64, 3, True),
)


def convnet_step(batch: int = 128, image: int = 28, layers: Sequence[Layer] = DIGITS) -> Sinks:
    """The sinks of a training step of a net for pictures, at first that of handwritten digits."""
    x, labels = leaf(batch, 1, image, image), leaf(batch, dtype=dtypes.int32)
    params: list[UOp] = []
    sinks: Sinks = []
    for inside, outside, size, last in layers:
        params += [leaf(outside, inside, size, size), leaf(outside)]
        x = relu(conv2d(x, *params[-2:]))
        if last:
            norm = Norm(outside)
            x = max_pool(norm(x))
            params += norm.params
            sinks += norm.sinks
    shape: Shape = (batch, x.size // batch)
    x = graph.reshape(x, shape)
    params += [leaf(x.size // batch, 10), leaf(10)]
    loss = cross_entropy(add(matmul(x, params[-2]), params[-1]), labels)
    return [(loss, None), *sinks, *adam(params, loss)]
