"""`Tensor`, all topics in one class, and `Variable`, a number that is bound at launch.

Comes in: the topics, each a file. Goes out: the classes that users know. Next: jit.py.
"""

from collections.abc import Callable, Iterable
from typing import Self

from tinycore.config import TRAINING
from tinycore.engine.realize import bind_variable
from tinycore.errors import ArgumentError
from tinycore.tensor.convolution import Convolution
from tinycore.tensor.gathering import Gathering
from tinycore.uop.index import Index, variable


class _Modes(type):
    @property
    def training(cls) -> bool:
        """True while dropout drops and batchnorm learns."""
        return bool(TRAINING.value)

    @training.setter
    def training(cls, value: bool) -> None:
        TRAINING.set(int(value))


class Tensor(Convolution, Gathering, metaclass=_Modes):
    """A block of numbers on a device, computed when they are asked for.

    >>> x = Tensor([[1, 2], [3, 4]])
    >>> (x @ x).tolist()
    [[7, 10], [15, 22]]
    """

    __slots__ = ()

    def sequential(self, ll: Iterable[Callable[[Self], Self]]) -> Self:
        """Functions applied one after the other.

        >>> Tensor(-4).sequential([Tensor.abs, Tensor.sqrt]).item()
        2.0
        """
        x = self
        for function in ll:
            x = function(x)
        return x


class Variable:
    """A whole number from `lo` to `hi`, known by its name; one compiled kernel serves every value.

    >>> n = Variable("n", 1, 4)
    >>> [Tensor.ones(4)[: n.bind(k)].sum().item() for k in (1, 2)]
    [1.0, 2.0]
    """

    __slots__ = ("hi", "lo", "name")

    def __init__(self, name: str, lo: int, hi: int) -> None:
        if not name.isidentifier() or lo >= hi:
            raise ArgumentError(
                f"Variable: {name!r} in {lo} .. {hi} is no range; "
                "expected a name and lo < hi. Use a plain number for a single value."
            )
        self.name = name
        self.lo = lo
        self.hi = hi

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.lo}, {self.hi})"

    def bind(self, value: int) -> Index:
        """Let the variable stand for `value` from now on; gives what slices and shapes take.

        Raises: ArgumentError if it is out of bounds.

        >>> Variable("n", 1, 4).bind(2).hi
        4
        """
        bind_variable(self.name, self.lo, self.hi, value)
        return variable(self.name, self.lo, self.hi)
