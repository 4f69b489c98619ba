"""What a CPU can do, as the core's `Caps`.

In: an `Arch`, the number of threads. Out: `Caps`. Facts about this machine enter only for the
processor this process runs on: for a named architecture the answer is the same everywhere.
Next: backend.py, which puts them into a `Target`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycore.backend import LLVM_OPS, Caps, Space
from tinycore_cpu import host
from tinycore_cpu.arch import Arch
from tinycore_cpu.memory import ALIGNMENT, SPACE

_DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
)
# Stored in few bits, and converted by integer arithmetic on every machine.
_EMULATED = ("bfloat16", "fp8e4m3", "fp8e5m2")
_VIRTUAL = 16
_MOST_ARGUMENTS = 1024
_MOST_TASKS = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class _Machine:
    """What differs between machines of one architecture. Units: bytes, from the nearest cache."""

    memory_bytes: int
    cache_bytes: tuple[int, ...]


# A machine nobody has seen yet: common sizes, so that cross compilation is reproducible.
_UNSEEN = _Machine(1 << 40, (32 << 10, 1 << 20, 32 << 20))


def capabilities(arch: Arch, threads: int) -> Caps:
    """The capabilities of an architecture whose pool has so many threads."""
    machine = _this_machine() if arch.is_native else _UNSEEN
    memory = Space(SPACE, machine.memory_bytes, ALIGNMENT, host_visible=True, coherent=True)
    return Caps(
        dtypes=_DTYPES,
        spaces=(memory,),
        emulated=_EMULATED if arch.half else ("float16", *_EMULATED),
        storage=("float16",) if arch.half else (),
        ops=LLVM_OPS,
        tile_spaces=("reg", "packed"),
        max_allocation_bytes=machine.memory_bytes,
        offset_alignment=ALIGNMENT,
        max_buffers=_MOST_ARGUMENTS,
        max_grid=(_MOST_TASKS, _MOST_TASKS, _MOST_TASKS),
        denormals="preserve",
        deterministic=True,
        thread_safety=3,
        virtual=_VIRTUAL,
        units=threads,
        vector_bytes=arch.vector_bytes,
        registers=arch.registers,
        cache_bytes=machine.cache_bytes,
        graph=True,
    )


def _this_machine() -> _Machine:
    memory_bytes = host.memory_bytes() or _UNSEEN.memory_bytes
    return _Machine(memory_bytes, host.cache_sizes() or _UNSEEN.cache_bytes)
