"""`Tensor`: all topics in one class.

Comes in: the topics, each a file. Goes out: the class that users know. Next: jit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from tinycore.config import TRAINING
from tinycore.tensor.attention import Attention
from tinycore.tensor.autograd import Autograd
from tinycore.tensor.convolution import Convolution
from tinycore.tensor.losses import Losses


class _Modes(type):
    """Makes `Tensor.training` an attribute of the class that can be read and set."""

    @property
    def training(cls) -> bool:
        """True while dropout drops and batchnorm learns."""
        return bool(TRAINING.value)

    @training.setter
    def training(cls, value: bool) -> None:
        TRAINING.set(int(value))


class Tensor(Attention, Convolution, Losses, Autograd, metaclass=_Modes):
    """A block of numbers on a device, computed when its values are asked for.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> (x @ x).tolist()
    [[7.0, 10.0], [15.0, 22.0]]
    """

    __slots__ = ()

    def sequential(self, ll: Iterable[Callable[[Self], Self]]) -> Self:
        """The result of functions applied one after the other.

        >>> Tensor([-1.0]).sequential([Tensor.abs, Tensor.sqrt]).tolist()
        [1.0]
        """
        x = self
        for function in ll:
            x = function(x)
        return x
