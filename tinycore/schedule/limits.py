"""The thresholds of the scheduler, each with its reason.

Comes in: nothing. Goes out: a `Limits` value, with what a device says about itself filled in. The
numbers were chosen on the kernels of docs/decisions/0003 and are not measured; a test may pass
others, since every setting must give the same results.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Capacity(Protocol):
    """What the scheduler asks of a device: its workers side by side, and the elements of a stage
    above which it must not share a kernel that keeps fewer workers busy."""

    @property
    def units(self) -> int:
        """Workers side by side: cores or multiprocessors."""
        ...

    @property
    def row(self) -> int:
        """Elements of a stage above which it needs a kernel that fills the device."""
        ...


class Limits(NamedTuple):
    """Units: elements, unless a name says steps, ops or times."""

    units: int = 1
    row: int = 1024
    # A reduction inside its reader: longer ones cost more than the trip to memory they save.
    recomputed_steps: int = 256
    # What a reader carries as state for each iteration: the registers and nearest cache of a core.
    state: int = 256
    # A small result is computed again only where it saves launches more than work.
    recomputed_result: int = 64 * 1024
    # Group axes given up for a row of inner loops: a row that a nearest cache holds.
    row_axes: int = 1024
    # The same where a contraction is: its tiles need those axes.
    contraction_axes: int = 16
    # Operands of a contraction: one of more ops, used more often, is stored before it.
    operand_ops: int = 8
    operand_times: int = 16
    # What several stages read is stored if each would evaluate more ops for it: work stays linear.
    repeated_ops: int = 48
    # A sum of moved sums is one sum while no element is evaluated more often.
    nested_times: int = 4
    # Below this a launch costs more than the work: equal spaces share one without sharing data.
    tiny: int = 64 * 1024
    # A sibling shares a launch if what both read is at least this part (1 in n) of its result.
    shared_part: int = 4
    # Stages that share a launch for its cost alone; parameters of a kernel are limited.
    tiny_stages: int = 16

    @staticmethod
    def of(caps: Capacity) -> Limits:
        """The limits for a device."""
        return Limits(units=caps.units, row=caps.row)
