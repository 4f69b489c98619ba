"""The CPU as the core sees it: one device, its targets by name, its description.

In: an index or the name of an architecture. Out: a `Device` or a `Target`.
Next: device.py and compiler.py.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping

from tinycore.backend import (
    THREADS,
    Backend,
    Device,
    LLVMRenderer,
    Target,
    Unavailable,
    Unsupported,
    compile_cached,
)
from tinycore_cpu import __version__, host, llvm
from tinycore_cpu.arch import Arch, find_arch, named_archs, native_arch
from tinycore_cpu.capabilities import capabilities
from tinycore_cpu.compiler import LLVMCompiler
from tinycore_cpu.device import CPUDevice
from tinycore_cpu.shared import SharedPool

# Threads that code for a named architecture is planned for, unless THREADS says otherwise.
_UNSEEN_THREADS = 4


class CPUBackend(Backend):
    """The cores of this machine, as device CPU; CPU:0, CPU:1, ... share them."""

    name = "CPU"
    api = (1, 0)
    version = __version__
    renderers = ("LLVM",)
    fork_safe = True

    def count(self) -> int:
        """One: every machine has a CPU. Raises: Unavailable if llvmlite is not installed."""
        llvm.build_id()
        return 1

    def open(self, index: int, renderer: str = "") -> Device:
        """The CPU; all indexes share one pool of threads. Raises: Unavailable."""
        if renderer not in ("", *self.renderers):
            raise Unavailable(f"open: renderer {renderer!r} is unknown; expected LLVM")
        return CPUDevice(self.target(""), shared_pool())

    def target(self, arch: str) -> Target:
        """The target of an architecture; "" and "native" are this machine's processor.

        Raises: Unsupported, naming the known ones.
        """
        try:
            found = find_arch(arch)
        except KeyError:
            known = ", ".join(("native", *named_archs()))
            raise Unsupported(f"target: {arch!r} is unknown; expected one of {known}") from None
        caps = capabilities(found, _threads(found))
        return Target(
            arch=found.name, caps=caps, renderer=LLVMRenderer(caps), compiler=LLVMCompiler(found)
        )

    def describe(self, index: int) -> Mapping[str, str]:
        """The processor, its threads and the LLVM that compiles for it."""
        processor = host.processor()
        return {
            "product": processor.label,
            "system": platform.system(),
            "threads": str(_threads(native_arch())),
            "compiler": llvm.build_id(),
        }


def _threads(arch: Arch) -> int:
    return THREADS.value or (host.core_count() if arch.is_native else _UNSEEN_THREADS)


@functools.cache
def shared_pool() -> SharedPool:
    """The pool of this process; THREADS is read when it is first asked for."""
    compiler = LLVMCompiler(native_arch())
    return SharedPool(_threads(native_arch()), functools.partial(compile_cached, compiler))
