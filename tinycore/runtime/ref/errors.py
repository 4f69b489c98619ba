"""The one error of the interpreter.

In: what a kernel did, and the statement that did it. Out: `RefError`.
"""

from tinycore.errors import SpecError


class RefError(SpecError):
    """A kernel did what no device may do: a race, a stale slot, a place outside its buffer."""
