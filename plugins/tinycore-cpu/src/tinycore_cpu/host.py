"""What this machine is: its processor, its cores and its caches.

In: /proc, /sys and the scheduler, where the system has them. Out: plain values, read once and
kept. `arch.py`, `backend.py` and `pool.py` use them.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinycore_cpu.llvm import binding

_CPUINFO = Path("/proc/cpuinfo")
_CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
_CPUS = Path("/sys/devices/system/cpu")
_QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
_QUOTA_V1 = Path("/sys/fs/cgroup/cpu")

# The lines of /proc/cpuinfo that decide what LLVM takes the processor for.
_IDENTITY = (
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "Features",
)
# The features of x86-64-v4, as Linux and LLVM both spell them.
_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor as the plugin needs it; equal fingerprints mean equal machine code.

    Units: `vector_bytes` a register, `registers` vector registers. `half`: converts float16.
    """

    label: str
    fingerprint: str
    vector_bytes: int
    registers: int
    half: bool


@functools.cache
def processor() -> Processor:
    """The processor this process runs on."""
    identity = _identity(_CPUINFO) or _identity_by_llvm()
    features = set(identity.get("flags", identity.get("Features", "")).split())
    vector_bytes, registers = _vectors(features)
    text = repr(sorted(identity.items()))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    half = is_arm() or "f16c" in features
    label = _label(identity, vector_bytes)
    return Processor(label, fingerprint, vector_bytes, registers, half)


def _identity(cpuinfo: Path) -> dict[str, str]:
    if not cpuinfo.exists():
        return {}
    first = cpuinfo.read_text(errors="replace").split("\n\n")[0]
    pairs = [line.partition(":") for line in first.splitlines()]
    known = {key.strip(): value.strip() for key, _, value in pairs}
    return {key: known[key] for key in _IDENTITY if key in known}


def _identity_by_llvm() -> dict[str, str]:
    llvm = binding()
    features = llvm.get_host_cpu_features()
    present = " ".join(sorted(name for name, on in features.items() if on))
    return {"model": llvm.get_host_cpu_name(), "flags": present}


def _vectors(features: set[str]) -> tuple[int, int]:
    if is_arm():
        return 16, 32
    if features >= _AVX512:
        return 64, 32
    if features >= {"avx2", "fma"}:
        return 32, 16
    return 16, 16


def _label(identity: dict[str, str], vector_bytes: int) -> str:
    parts = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    chosen = [identity[part] for part in parts if part in identity]
    words = (platform.machine(), *chosen, f"v{8 * vector_bytes}")
    return "-".join(words).replace(" ", "_")


def is_arm() -> bool:
    """Whether this process runs 64-bit ARM code."""
    return platform.machine().lower() in ("aarch64", "arm64")


def allowed_cpus() -> frozenset[int]:
    """The logical processors the scheduler may give to this process; empty where it cannot say."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    return frozenset(os.sched_getaffinity(0))


def core_count() -> int:
    """How many threads can compute at once: physical cores, within affinity and quota.

    Two hyperthreads of a core share its vector units, so they count as one.
    """
    logical = allowed_cpus()
    if not logical:
        return os.cpu_count() or 1
    physical = len({_siblings(cpu) for cpu in logical})
    return max(1, min(physical, _quota()))


def _siblings(cpu: int) -> str:
    file = _CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    return _first_line(file) or str(cpu)


def _quota() -> int:
    """Whole cores a container may use; a pool that spins beyond them is stopped by the kernel."""
    allowed, _, period = _first_line(_QUOTA_V2).partition(" ")
    if not period:
        allowed = _first_line(_QUOTA_V1 / "cpu.cfs_quota_us")
        period = _first_line(_QUOTA_V1 / "cpu.cfs_period_us")
    if not allowed.isdigit() or not period.isdigit():
        return 1 << 16
    return math.ceil(int(allowed) / int(period))


def _first_line(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


@functools.cache
def cache_sizes() -> tuple[int, ...]:
    """Bytes of the data caches of one core, nearest first; empty where the system is silent."""
    if not _CACHE.exists():
        return ()
    folders = sorted(_CACHE.glob("index*"))
    data = [folder for folder in folders if _first_line(folder / "type") != "Instruction"]
    return tuple(_sizes(data))


def _sizes(folders: Iterable[Path]) -> list[int]:
    texts = [_first_line(folder / "size") for folder in folders]
    return [_bytes(text) for text in texts if text]


def _bytes(text: str) -> int:
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1)
    return int(text.rstrip("KMG")) * scale


def memory_bytes() -> int:
    """Physical memory of this machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
