"""The thresholds of the scheduler, and what it gives: kernels in order.

Comes in: nothing. Goes out: the tuples that engine/ reads. A buffer is named by a graph node: a
BUFFER, or the node whose value is stored; `places` and `temporaries` use the same names. The
thresholds were chosen on the kernels of docs/decisions/0003 and are not measured.
"""

from __future__ import annotations

from typing import NamedTuple

from tinycore.uop.ops import UOp
from tinycore.uop.tree import Kernel


class Limits(NamedTuple):
    """Thresholds; every setting gives the same values. Units: elements, unless a name says steps
    or ops."""

    units: int = 1
    row: int = 1024
    # Buffers of one kernel: what it reads and what it stores.
    buffers: int = 64 * 1024
    # A reduction inside its reader, and what the reader carries as state for it.
    recomputed_steps: int = 256
    # Group axes given up for a row of inner loops: a row that a nearest cache holds.
    row_axes: int = 1024
    # The same where a contraction is: its tiles need those axes.
    contraction_axes: int = 16
    # An operand of a contraction of more ops is stored before it.
    operand_ops: int = 8
    # What several stages read is stored if each would evaluate more ops for it: work stays linear.
    repeated_ops: int = 48
    # A row of fewer elements is read again from a cache rather than reduced with a rebase a step.
    cached: int = 0
    # Below this a launch costs more than the work: equal spaces share one without sharing data.
    tiny: int = 64 * 1024


class ScheduledKernel(NamedTuple):
    """A kernel, the buffers behind its parameters in order, and the positions it writes."""

    kernel: Kernel
    buffers: tuple[UOp, ...]
    outputs: tuple[int, ...]


class Schedule(NamedTuple):
    """Kernels in an order that respects reads and writes.

    `places[k]` is where the value of sink k lies: its old BUFFER, or a node that needs a new
    buffer. `temporaries` need one for the time of the run. Shapes and types are the nodes'.
    """

    kernels: tuple[ScheduledKernel, ...]
    places: tuple[UOp, ...]
    temporaries: tuple[UOp, ...]
