"""Makes compiled object code executable in this process.

In: an object file. Out: an `Image` with the addresses of its functions. ELF is placed by
image.py without LLVM (20 us, no import); other formats go through orc.py.
Next: program.py calls the functions.
"""

from __future__ import annotations

import platform

from tinycore.backend import LaunchError
from tinycore_cpu.elf import MACHINE_AARCH64, MACHINE_X86_64, is_elf, machine_of
from tinycore_cpu.image import Image, load_elf
from tinycore_cpu.orc import load_by_llvm

_MACHINES = {"x86_64": MACHINE_X86_64, "aarch64": MACHINE_AARCH64}


def load_object(data: bytes, names: tuple[str, ...]) -> Image:
    """An object file in memory, ready to run.

    Raises: LaunchError naming what is missing: a function, an external symbol, a relocation.
    """
    try:
        image = _load(data, names)
    except ValueError as error:
        raise LaunchError(f"load: {error}") from error
    missing = [name for name in names if name not in image.functions]
    if missing:
        known = ", ".join(image.functions) or "none"
        raise LaunchError(f"load: the object has no function {missing[0]!r}; it has {known}")
    return image


def _load(data: bytes, names: tuple[str, ...]) -> Image:
    if not is_elf(data):
        return load_by_llvm(data, names)
    expected = _MACHINES.get(platform.machine())
    if machine_of(data) != expected:
        raise ValueError(f"the object is for ELF machine {machine_of(data)}; expected {expected}")
    return load_elf(data)
