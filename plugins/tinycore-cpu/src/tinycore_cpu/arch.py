"""The machines this plugin can compile for, by name.

In: a name such as `native`, `x86-64-v3` or `aarch64 neoverse-v1`. Out: an `Arch`, which
`compiler.py` turns into an LLVM target machine and `backend.py` into capabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinycore_cpu import host

LINUX_X86 = "x86_64-unknown-linux-gnu"
LINUX_ARM = "aarch64-unknown-linux-gnu"
MACOS_ARM = "arm64-apple-macosx14"
WINDOWS_X86 = "x86_64-pc-windows-msvc"


@dataclass(frozen=True, slots=True)
class Arch:
    """One machine to compile for; an empty triple means the machine this process runs on.

    Units: `vector_bytes` is the width of one vector register, `registers` how many there are.
    `half` says that it converts float16 in one instruction.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    half: bool

    @property
    def is_native(self) -> bool:
        """Whether LLVM is asked for this very processor, with all it can do."""
        return not self.triple


# Source: LLVM 22 X86.td and AArch64Processors.td; x86-64 psABI 1.0, section 3.1.1 (levels v2-v4).
_TABLE = (
    Arch("x86-64", LINUX_X86, "x86-64", "", 16, 16, False),
    Arch("x86-64-v2", LINUX_X86, "x86-64-v2", "", 16, 16, False),
    Arch("x86-64-v3", LINUX_X86, "x86-64-v3", "", 32, 16, True),
    Arch("x86-64-v4", LINUX_X86, "x86-64-v4", "", 64, 32, True),
    Arch("x86-64 haswell", LINUX_X86, "haswell", "", 32, 16, True),
    Arch("x86-64 sapphirerapids", LINUX_X86, "sapphirerapids", "", 64, 32, True),
    Arch("x86-64 znver3", LINUX_X86, "znver3", "", 32, 16, True),
    Arch("x86-64 znver4", LINUX_X86, "znver4", "", 64, 32, True),
    Arch("x86-64 znver5", LINUX_X86, "znver5", "", 64, 32, True),
    Arch("x86-64-v3 windows", WINDOWS_X86, "x86-64-v3", "", 32, 16, True),
    Arch("aarch64", LINUX_ARM, "generic", "", 16, 32, True),
    Arch("aarch64 neoverse-n1", LINUX_ARM, "neoverse-n1", "", 16, 32, True),
    Arch("aarch64 neoverse-v1", LINUX_ARM, "neoverse-v1", "", 16, 32, True),
    Arch("aarch64 neoverse-v2", LINUX_ARM, "neoverse-v2", "", 16, 32, True),
    Arch("aarch64 cortex-a76", LINUX_ARM, "cortex-a76", "", 16, 32, True),
    Arch("aarch64 apple-m1", MACOS_ARM, "apple-m1", "", 16, 32, True),
)


def named_archs() -> dict[str, Arch]:
    """Every architecture by its name, and by the bare name of its processor."""
    by_cpu = {arch.cpu: arch for arch in reversed(_TABLE)}
    return by_cpu | {arch.name: arch for arch in _TABLE}


def find_arch(name: str) -> Arch:
    """The architecture of that name; "" and "native" are the processor of this machine.

    Raises: KeyError for a name that is not in the table; `backend.py` tells the user.
    """
    native = native_arch()
    if name in ("", "native", native.name):
        return native
    return named_archs()[name]


def native_arch() -> Arch:
    """The processor this process runs on, described without loading LLVM where that is possible."""
    found = host.processor()
    return Arch(found.label, "", "", "", found.vector_bytes, found.registers, found.half)
