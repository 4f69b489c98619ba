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

    `env` holds the numbers of expanded axes, `copied` are those of copied loops, `lane` is the
    axis of the vector loop around and `lanes` how many values have here: 1 outside and in a single
    lane. `buffers` holds what stands for a buffer of the tree, `moments` when a buffer or LET last
    changed; `visits` counts the statements and nodes looked at.
    """

    def __init__(self, study: Study, storage: Mapping[UOp, Storage]) -> None:
        self.study = study
        self.storage = dict(storage)
        self.blocks = Blocks()
        self.addresses = Addresses(self.blocks)
        self.env: dict[Atom, int] = {}
        self.copied = frozenset[Atom]()
        self.visits = 0
        self.lane: Atom | None = None
        self.lanes = 1
        self.buffers: dict[UOp, UOp] = {}
        self.moments: dict[UOp, int] = {}

    def changed(self, state: UOp) -> int:
        """Note that a buffer or LET holds something new from here on; the moment it does."""
        moment = self.moments[state] = self.blocks.number()
        return moment

    def moment(self, state: UOp) -> int:
        """When a buffer or LET last changed; 0 before."""
        return self.moments.get(state, 0)

    @contextmanager
    def along(self, lane: Atom) -> Iterator[None]:
        """Inside, values run along the lanes of an axis."""
        self.lane, self.lanes = lane, lane.hi + 1
        self.env[lane] = LANE
        yield
        del self.env[lane]
        self.lane, self.lanes = None, 1

    @contextmanager
    def in_lane(self, number: int) -> Iterator[None]:
        """Inside a vector loop: one lane alone, or with LANE all of them again."""
        lane = self.lane
        assert lane is not None, "lower: there are no lanes here"
        before, lanes = self.env[lane], self.lanes
        self.env[lane] = number
        self.lanes = lane.hi + 1 if number == LANE else 1
        yield
        self.env[lane], self.lanes = before, lanes
