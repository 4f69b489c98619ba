"""The OpenCL devices of this machine: found in tens of milliseconds, without a context.

In: the loader. Out: `Found` records, which name a device by the driver's own pointer.
Next: backend.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tinycore_qcom import api
from tinycore_qcom.api import Library

GPU, ACCELERATOR, CPU = "gpu", "accelerator", "cpu"

# Bits of the device types, the best first; custom devices compile nothing.
_KINDS = {GPU: 1 << 2, ACCELERATOR: 1 << 3, CPU: 1 << 1}
_EVERY = 0xFFFFFFFF
_PLATFORM = {"platform": 0x0902, "platform_version": 0x0901}
_DEVICE = {"name": 0x102B, "vendor": 0x102C, "driver": 0x102D, "version": 0x102F}
_TYPE, _AVAILABLE, _HAS_COMPILER = 0x1000, 0x1027, 0x1028


@dataclass(frozen=True, slots=True)
class Found:
    """One device of one platform; `pointer` and `platform_pointer` are the driver's."""

    kind: str
    pointer: int
    platform_pointer: int
    platform: str
    platform_version: str
    name: str
    vendor: str
    driver: str
    version: str

    @property
    def arch(self) -> str:
        """What stays the same when the driver changes: the platform's name and the device's."""
        return f"{_plain(self.platform)}/{_plain(self.name)}"

    @property
    def is_adreno(self) -> bool:
        """True for a GPU of Qualcomm's."""
        words = f"{self.vendor} {self.name}".casefold()
        return self.kind == GPU and ("qualcomm" in words or "adreno" in words)


@functools.cache
def devices() -> tuple[Found, ...]:
    """Every device that compiles: GPUs first, then accelerators, CPUs last.

    Those of one platform stay in its order. Raises: Unavailable without a loader.
    """
    library = api.library()
    found = [row for one in library.listed("clGetPlatformIDs") for row in _devices(library, one)]
    # One driver may be listed twice.
    found = list({row.pointer: row for row in found}.values())
    order = list(_KINDS)
    return tuple(sorted(found, key=lambda row: (order.index(row.kind), row.platform)))


def _devices(library: Library, platform: int) -> Iterator[Found]:
    asked = {name: ("clGetPlatformInfo", platform, key) for name, key in _PLATFORM.items()}
    for device in library.listed("clGetDeviceIDs", platform, _EVERY):
        for name, key in _DEVICE.items():
            asked[name] = "clGetDeviceInfo", device, key
        kind = _kind(library, device)
        if kind:
            texts = {name: library.text_of(*question) for name, question in asked.items()}
            yield Found(kind, device, platform, **texts)


def _kind(library: Library, device: int) -> str:
    numbers = [
        library.number_of("clGetDeviceInfo", device, key)
        for key in (_TYPE, _AVAILABLE, _HAS_COMPILER)
    ]
    kinds = [kind for kind, bit in _KINDS.items() if numbers[0] & bit]
    return kinds[0] if all(numbers) and kinds else ""


def _plain(text: str) -> str:
    """Lower case, words joined by `-`, trademarks left out."""
    text = re.sub(r"\((r|tm|c)\)", "", text.lower())
    return "-".join(re.findall(r"[a-z0-9.]+", text)) or "unknown"
