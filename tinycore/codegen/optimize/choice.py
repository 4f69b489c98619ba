"""A kernel on its way through the actions chosen for it.

Comes in: a kernel and the caps of a target. Goes out: the kernel after every action that was
legal, and their texts. heuristic.py and rows.py decide which to try.
"""

from __future__ import annotations

from tinycore.codegen.optimize.actions import Argument, action, apply
from tinycore.codegen.optimize.edit import Illegal
from tinycore.runtime.contract import Caps
from tinycore.uop.tree import Kernel


class Choice:
    """A kernel, the actions taken so far, and what the target offers: lanes and caches."""

    def __init__(self, kernel: Kernel, caps: Caps) -> None:
        widest = [param.dtype.itemsize for param in kernel.params if param.dtype.is_float]
        self.kernel = kernel
        self.caps = caps
        self.taken: list[str] = []
        self.lanes = max(caps.vector_bytes // max(widest, default=4), 1)

    def take(self, name: str, *arguments: Argument) -> bool:
        """Apply an action if it is legal."""
        text = action(name, *arguments)
        try:
            self.kernel = apply(self.kernel, text)
        except Illegal:
            return False
        self.taken.append(text)
        return True
