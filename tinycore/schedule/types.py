"""What create_schedule gives: kernels in order, and where every value lies afterwards.

Comes in: nothing. Goes out: the tuples that engine/ reads. A buffer is named by a graph node: a
BUFFER, or the node whose value is stored; `places` and `temporaries` use the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tinycore.uop.ops import UOp
from tinycore.uop.tree import Kernel


class ScheduledKernel(NamedTuple):
    """A kernel, the buffers behind its parameters in order, and the positions it writes."""

    kernel: Kernel
    buffers: tuple[UOp, ...]
    outputs: tuple[int, ...]


class Schedule(NamedTuple):
    """Kernels in an order that respects reads and writes.

    `places[k]` is where the value of sink k lies: its old BUFFER, or a node that needs a new
    buffer. `temporaries` need one for the time of the run. Shapes and types are the nodes'.
    `decisions` counts what was fused and why, for tests and reports.
    """

    kernels: tuple[ScheduledKernel, ...]
    places: tuple[UOp, ...]
    temporaries: tuple[UOp, ...]
    decisions: Mapping[str, int]
