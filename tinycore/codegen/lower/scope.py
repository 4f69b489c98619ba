"""What holds at one point of a kernel while it is expanded: numbers of axes, buffers, moments.

Comes in: the facts of a kernel and the storage of its buffers. Goes out: the state that
indices.py, elements.py, values.py and expand.py share; it alone changes while they work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tinycore.codegen.lower.address import Addresses
from tinycore.codegen.lower.blocks import Blocks
from tinycore.codegen.lower.facts import Study
from tinycore.codegen.lower.registers import Storage
from tinycore.uop.index import Atom
from tinycore.uop.ops import UOp

LANE = -1
"""The number of an axis that runs along lanes: every number at once."""


class Scope:
    """The state of an expansion.

    `env` holds the numbers of expanded axes, `lane` the axis of the vector loop around, `buffers`
    what stands for a buffer of the tree, `moments` when each buffer or LET last changed.
    """

    def __init__(self, study: Study, storage: Mapping[UOp, Storage]) -> None:
        self.study = study
        self.storage = dict(storage)
        self.blocks = Blocks()
        self.addresses = Addresses(self.blocks)
        self.env: dict[Atom, int] = {}
        self.lane: Atom | None = None
        self.buffers: dict[UOp, UOp] = {}
        self.moments: dict[UOp, int] = {}

    @property
    def lanes(self) -> int:
        """How many lanes values have here; 1 outside vector loops and inside a single lane."""
        lane = self.lane
        return 1 if lane is None or self.env[lane] != LANE else lane.hi + 1

    def changed(self, state: UOp) -> None:
        """Note that a buffer or LET holds something new from here on."""
        self.moments[state] = self.blocks.number()

    @contextmanager
    def at(self, axis: Atom, number: int) -> Iterator[None]:
        """Inside, an expanded axis has this number."""
        before = self.env.get(axis)
        self.env[axis] = number
        try:
            yield
        finally:
            if before is None:
                del self.env[axis]
            else:
                self.env[axis] = before

    @contextmanager
    def along(self, lane: Atom) -> Iterator[None]:
        """Inside, values run along the lanes of an axis."""
        self.lane = lane
        with self.at(lane, LANE):
            yield
        self.lane = None
