"""Optimizers: they change parameters by their gradients, in place.

Comes in: parameters with `grad`. Goes out: the same, changed. Rates and counts are tensors, so that
all steps are one graph. Next: state.py.
"""

from collections.abc import Iterable
from typing import Any

from tinycore.config import Context
from tinycore.errors import ArgumentError
from tinycore.tensor import Tensor
from tinycore.util import dedup

Tensors = list[Tensor]


class Optimizer:
    """A subclass says in `_change` what one parameter becomes.

    Tensors with requires_grad=False, such as running statistics, are realized with every step.
    Raises: ArgumentError for nothing to change, or what is no tensor.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        given = _tensors(params)
        self.params = [tensor for tensor in given if _is_parameter(tensor)]
        self.buffers = [tensor for tensor in given if not _is_parameter(tensor)]
        if not self.params:
            raise ArgumentError(
                "optimizer: there is no parameter among the tensors given; expected at least one "
                "of floating point. Pass get_parameters(model)"
            )
        for tensor in self.params:
            tensor.requires_grad_(True)
        self.device = self.params[0].device
        self.lr = Tensor([lr], device=self.device, requires_grad=False)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for tensor in self.params:
            tensor.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient, store all, and drop the gradients."""
        first, *others = self.schedule_step()
        first.realize(*others)

    def schedule_step(self) -> Tensors:
        """Change every parameter that has a gradient, lazily; returns what to realize."""
        with Context(NO_GRAD=1):
            self._begin()
            for number, tensor in enumerate(self.params):
                if tensor.grad is None:
                    continue
                old = tensor.detach()
                new = self._change(number, old, tensor.grad)
                tensor.assign(new.reshape(old.shape))  # rates have an axis, a scalar has none
        self.zero_grad()
        return self._all()

    def _begin(self) -> None:
        """Once a step, before any parameter."""

    def _change(self, number: int, value: Tensor, grad: Tensor) -> Tensor:
        raise NotImplementedError

    def _state(self) -> Tensors:
        return []

    def _zeros(self) -> Tensors:
        return [tensor.zeros_like(requires_grad=False) for tensor in self.params]

    def _store(self) -> None:
        """Store all tensors now, so that the first step is the same graph as the others."""
        self.lr.realize(*self._all())

    def _all(self) -> Tensors:
        return [*self.params, *self.buffers, *self._state()]


def _tensors(params: Any) -> Tensors:
    given = list(params) if isinstance(params, Iterable) else [params]
    for item in given:
        if not isinstance(item, Tensor):
            raise ArgumentError(
                f"optimizer: type {type(item).__name__} among the parameters; expected tensors. "
                "Pass get_parameters(model)"
            )
    return dedup(given)


def _is_parameter(tensor: Tensor) -> bool:
    return tensor.dtype.is_float and tensor.requires_grad is not False


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's momentum and weight decay.

    Source: PyTorch's formula; Sutskever et al. 2013 for the momenta.
    Raises: ArgumentError for Nesterov's momentum without momentum.

    >>> x = Tensor([1.0])
    >>> x.grad = Tensor([2.0])
    >>> SGD([x], lr=0.5).step()
    >>> x.item()
    0.0
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.001,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        if nesterov and not momentum:
            raise ArgumentError(
                "SGD: nesterov needs a momentum, which is 0; expected more. Pass momentum=0.9"
            )
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.velocity = self._zeros() if momentum else []
        self._store()

    def _state(self) -> Tensors:
        return self.velocity

    def _change(self, number: int, value: Tensor, grad: Tensor) -> Tensor:
        if self.weight_decay:
            grad = grad + value * self.weight_decay
        if self.momentum:
            velocity = self.velocity[number]
            velocity.assign(velocity * self.momentum + grad)
            grad = grad + velocity * self.momentum if self.nesterov else velocity
        rate = self.lr.cast(value.dtype)
        return value - grad * rate


class Adam(Optimizer):
    """Steps of even size, by running averages of gradients and of their squares.

    `weight_decay` is added to the gradient; AdamW subtracts it from the value instead.
    Source: Kingma and Ba 2014, arXiv:1412.6980, algorithm 1.

    >>> x = Tensor([1.0])
    >>> x.grad = Tensor([2.0])
    >>> Adam([x], lr=0.5).step()
    >>> round(x.item(), 4)
    0.5
    """

    is_decoupled = False

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        betas: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(params, lr)
        self.betas = betas or (b1, b2)
        self.eps = eps
        self.weight_decay = weight_decay
        # 1 - b^t for both b after t steps: what the averages that began at 0 have grown to
        self.grown = [self.lr.zeros_like(requires_grad=False) for _ in range(2)]
        self.m = self._zeros()
        self.v = self._zeros()
        self._store()

    def _state(self) -> Tensors:
        return [*self.grown, *self.m, *self.v]

    def _begin(self) -> None:
        for grown, beta in zip(self.grown, self.betas, strict=True):
            rest = (1 - grown) * (1 - beta)
            grown.assign(grown + rest)

    def _change(self, number: int, value: Tensor, grad: Tensor) -> Tensor:
        rate = self.lr.cast(value.dtype)
        if self.weight_decay and self.is_decoupled:
            value = value - value * rate * self.weight_decay
        elif self.weight_decay:
            grad = grad + value * self.weight_decay
        m = self.m[number]
        v = self.v[number]
        b1, b2 = self.betas
        first = grad * (1 - b1)
        second = grad * grad * (1 - b2)
        m.assign(m * b1 + first)
        v.assign(v * b2 + second)
        grown_m, grown_v = self.grown
        mean = m / grown_m.cast(value.dtype)
        square = v / grown_v.cast(value.dtype)
        size = square.sqrt() + self.eps
        return value - rate * mean / size


class AdamW(Adam):
    """Adam with weight decay apart from the gradient.

    Source: Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2.

    >>> x = Tensor([1.0])
    >>> x.grad = Tensor([0.0])
    >>> AdamW([x], lr=0.5, weight_decay=0.5).step()
    >>> x.item()
    0.75
    """

    is_decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        betas: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(params, lr, b1, b2, eps, weight_decay, betas)
