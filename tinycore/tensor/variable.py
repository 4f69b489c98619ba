"""Variable: a number that is bound at launch, so that one compiled kernel serves every value.

Comes in: a name with bounds. Goes out: an index value for shapes and slices, and by `bind` the
number it stands for (engine/run.py).
"""

from __future__ import annotations

from tinycore.engine.realize import bind_variable
from tinycore.errors import ArgumentError
from tinycore.uop.index import Index, variable


class Variable:
    """A whole number between `lo` and `hi` inclusive, known by its name.

    >>> from tinycore import Variable
    >>> n = Variable("n", 1, 4)
    >>> x = Tensor([1, 2, 3, 4])
    >>> [x[: n.bind(k)].sum().item() for k in (1, 2, 4)]
    [1, 3, 10]
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

        Raises: ArgumentError if the value is out of bounds.

        >>> from tinycore import Variable
        >>> Variable("n", 1, 4).bind(2).hi
        4
        """
        bind_variable(self.name, self.lo, self.hi, value)
        return variable(self.name, self.lo, self.hi)
