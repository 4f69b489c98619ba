"""A loaded kernel and what a launch of it needs.

In: handles of device memory, integers, a launch size. Out: a run of the kernel, maybe its time.
Next: contract.py, which speaks of programs.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

Handle: TypeAlias = object
"""A vendor's own name for a piece of device memory; the core only hands it back."""


class Launch(NamedTuple):
    """How many groups a kernel runs in and how many threads each has, as x, y, z.

    Units: `scratch_bytes` of near memory for each group.
    """

    grid: tuple[int, int, int] = (1, 1, 1)
    group: tuple[int, int, int] = (1, 1, 1)
    scratch_bytes: int = 0


class Program(Protocol):
    """A loaded kernel, ready to run."""

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Run once, in order after earlier work of this device.

        `buffers` and `values` follow the order of the kernel's parameters; `descs` are
        host-computed descriptions of views. With `wait`, return after the kernel is done.
        Units: the seconds the kernel itself took, or None if the device cannot tell.
        Raises: LaunchError, DeviceLost.
        """


class Call(NamedTuple):
    """One program with its arguments, as graphs take it."""

    program: Program
    buffers: tuple[Handle, ...]
    values: tuple[int, ...]
    launch: Launch
    descs: tuple[bytes, ...] = ()


class Graph(Protocol):
    """Replays a recorded run with less work than one launch after another; unlocks fast JIT."""

    def replay(self, calls: Sequence[Call]) -> None:
        """Run the calls in order; programs and launches are those of the first replay."""
