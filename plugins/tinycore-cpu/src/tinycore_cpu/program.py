"""A loaded kernel.

In: addresses and integers. Out: a run.

A kernel is `void k(ptr args, i64 task, i64 tasks)`. `args` are 8-byte slots: the addresses of the
buffers, the values as integers, and the address of scratch memory if the launch asks for some, of
which task t has the part that starts at t * scratch_bytes. The kernel does the share `task` of its
grid, right for any `tasks` from 1 on, in any order and at once: one a thread, or a grid cell.
Next: graph.py runs many of them in one call.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Sequence
from time import perf_counter

from tinycore.backend import Handle, Launch, Unsupported
from tinycore_cpu.image import Image
from tinycore_cpu.memory import Block, view_memory
from tinycore_cpu.shared import SharedPool

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_SLOT_BYTES = 8


class Arguments:
    """Memory for the arguments of one kernel, filled in one step."""

    __slots__ = ("_block", "address", "fill")

    def __init__(self, count: int) -> None:
        self._block = Block(max(count, 1) * _SLOT_BYTES)
        self.address = self._block.address
        view = view_memory(self.address, self._block.size_bytes)
        packer = struct.Struct(f"@{count}q")

        def fill(*arguments: Handle) -> None:
            """Write all arguments; their number is fixed."""
            packer.pack_into(view, 0, *arguments)

        self.fill = fill


class CPUProgram:
    """A loaded kernel; safe to run from several threads, each launch with its own arguments."""

    def __init__(self, image: Image, name: str, pool: SharedPool) -> None:
        self.name = name
        self.address = image.functions[name]
        self._image = image
        self._pool = pool
        self._call = _KERNEL(self.address)
        self._spare: list[Arguments] = []
        self._scratch: Block | None = None

    def __call__(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        wait: bool = False,
        descs: Sequence[bytes] = (),
    ) -> float | None:
        """Run once and return when it is done; with `wait`, the seconds it took."""
        slots = self.slots(buffers, values, launch, descs)
        try:
            arguments = self._spare.pop()
        except IndexError:  # the first launch, or several threads at once
            arguments = Arguments(len(slots))
        arguments.fill(*slots)
        tasks = task_count(launch, self._pool.threads)
        start = perf_counter() if wait else 0.0
        # Scratch memory is one for all launches, which the pool runs one after another.
        if tasks == 1 and not launch.scratch_bytes:
            self._call(arguments.address, 0, 1)
        else:
            self._pool.get().launch(self.address, arguments.address, tasks)
        time_s = perf_counter() - start if wait else None
        self._spare.append(arguments)
        return time_s

    def slots(
        self,
        buffers: Sequence[Handle],
        values: Sequence[int],
        launch: Launch,
        descs: Sequence[bytes],
    ) -> tuple[Handle, ...]:
        """The arguments as the kernel takes them, one a slot.

        Raises: Unsupported if there are descriptors: kernels here read memory by address.
        """
        if descs:
            raise Unsupported(f"{self.name}: {len(descs)} descriptors given; expected none")
        if launch.scratch_bytes:
            return (*buffers, *values, self._scratch_address(launch))
        return (*buffers, *values)

    def _scratch_address(self, launch: Launch) -> int:
        size_bytes = launch.scratch_bytes * self._pool.threads
        if self._scratch is None or self._scratch.size_bytes < size_bytes:
            self._scratch = self._pool.scratch(size_bytes)
        return self._scratch.address


def task_count(launch: Launch, threads: int) -> int:
    """How many tasks share the grid of a launch."""
    return min(math.prod(launch.grid), threads)
