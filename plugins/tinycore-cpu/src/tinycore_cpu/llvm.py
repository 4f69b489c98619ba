"""The one accessor of llvmlite: the first call imports it (25 ms), a warm process never does.

In: a request to compile, or to load an object file that is not ELF. Out: `llvmlite.binding`,
initialised for this machine or for every machine. `compiler.py` and `orc.py` use it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import threading
from typing import Any

from tinycore.backend import Unavailable

IN_USE = threading.Lock()
"""Held while LLVM works: a fork waits for it, since a child can never free LLVM's own locks."""


@functools.cache
def binding() -> Any:
    """llvmlite's binding layer, with the machine this process runs on initialised."""
    if hasattr(os, "register_at_fork"):
        release = IN_USE.release
        os.register_at_fork(before=IN_USE.acquire, after_in_parent=release, after_in_child=release)
    module = importlib.import_module("llvmlite.binding")
    module.initialize_native_target()
    module.initialize_native_asmprinter()
    module.initialize_native_asmparser()
    return module


@functools.cache
def binding_for_every_target() -> Any:
    """llvmlite's binding layer, able to emit objects for machines other than this one."""
    module = binding()
    module.initialize_all_targets()
    module.initialize_all_asmprinters()
    return module


@functools.cache
def build_id() -> str:
    """Names the LLVM that would compile, without importing it: it is a part of cache keys.

    The version of llvmlite fixes its LLVM in one distribution channel only, so the size of its
    library, which holds LLVM, is added.

    Raises: Unavailable if llvmlite is not installed.
    """
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        raise Unavailable(
            "llvmlite is not installed; expected it beside tinycore-cpu",
            hint="Run `pip install llvmlite`",
        )
    version = importlib.metadata.version("llvmlite")
    return f"llvmlite-{version}-{_library_size(spec.origin)}"


def _library_size(origin: str) -> int:
    folder = os.path.join(os.path.dirname(origin), "binding")
    entries = [entry for entry in os.scandir(folder) if "llvmlite." in entry.name]
    return sum(entry.stat().st_size for entry in entries)
