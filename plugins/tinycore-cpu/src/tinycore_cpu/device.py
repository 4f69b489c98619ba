"""The CPU as a device: it loads programs, has memory, and ends each launch before it returns.

In: the target, the pool. Out: programs and buffers for the core. backend.py opens it.
"""

from __future__ import annotations

from tinycore.backend import Device, Program, Target
from tinycore_cpu.graph import CPUGraph
from tinycore_cpu.loader import load_object
from tinycore_cpu.memory import HostAllocator
from tinycore_cpu.program import CPUProgram
from tinycore_cpu.shared import SharedPool


class CPUDevice(Device):
    """The cores of this machine as one device."""

    def __init__(self, target: Target, pool: SharedPool) -> None:
        self.target = target
        self.allocator = HostAllocator()
        self.graph = CPUGraph(pool)
        self._pool = pool

    def load(self, binary: bytes, name: str) -> Program:
        """A kernel of an object file, ready to run. Raises: LaunchError."""
        image = load_object(binary, (name,))
        return CPUProgram(image, name, self._pool)

    def synchronize(self) -> None:
        """Nothing is ever left to wait for: a launch returns when it is done."""

    def close(self) -> None:
        """Nothing to give back: the pool belongs to the process, memory to its buffers."""
