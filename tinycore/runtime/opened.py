"""One open device as the core sees it: the vendor's device behind a guard.

In: a plugin and an index. Out: an `OpenDevice`, whose methods raise our errors alone, under the
device's name. Next: registry.py, which keeps one for each name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tinycore.errors import TinycoreError
from tinycore.runtime.allocator import CachingAllocator
from tinycore.runtime.contract import Compiler, Device, Renderer
from tinycore.runtime.errors import BackendError, DeviceLost, Unsupported, as_backend_error
from tinycore.runtime.plugins import Plugin
from tinycore.runtime.program import Program


class OpenDevice:
    """A device that can be used now; `Device["NAME"]` gives it."""

    def __init__(self, name: str, plugin: Plugin, index: int, renderer: str = "") -> None:
        self.name = name
        self.index = index
        self.plugin = plugin
        self.process = os.getpid()
        self.device = self._open(renderer)
        self.target = self.device.target
        self.caps = self.target.caps
        self.allocator = CachingAllocator(self.device.allocator, self)

    @property
    def renderer(self) -> Renderer[Any]:
        """What writes kernels as text for this device. Raises: Unsupported if nothing does."""
        if self.target.renderer is None:
            raise self._without("renderer")
        return self.target.renderer

    @property
    def compiler(self) -> Compiler:
        """What compiles that text. Raises: Unsupported if nothing does."""
        if self.target.compiler is None:
            raise self._without("compiler")
        return self.target.compiler

    @property
    def usable_here(self) -> bool:
        """False if the device was lost, or opened before this process was forked."""
        if self.plugin.state == "lost":
            return False
        return self.process == os.getpid() or bool(self.plugin.fact("fork_safe"))

    def count(self) -> int:
        """How many devices of this kind there are."""
        return self.plugin.devices

    def load(self, binary: bytes, name: str) -> Program:
        """A compiled kernel, ready to run."""
        with self.guard(f"load of kernel {name}"):
            return self.device.load(binary, name)

    def synchronize(self) -> None:
        """Return when all work queued on the device is done."""
        with self.guard("synchronize"):
            self.device.synchronize()

    def describe(self) -> Mapping[str, str]:
        """Vendor, product and versions, as far as the plugin says."""
        method = getattr(self.plugin.load(), "describe", None)
        if method is None:
            return {}
        with self.guard("describe"):
            return dict(method(self.index))

    def close(self) -> None:
        """Give the device back; nothing of it can be used after."""
        if self.allocator.closed or not self.usable_here:
            return
        with self.guard("close"):
            self.allocator.close()
            self.device.close()

    @contextmanager
    def guard(self, operation: str) -> Iterator[None]:
        """Run vendor code: what it raises becomes a BackendError under this name.

        Our own errors of other kinds (an index out of bounds) pass. DeviceLost takes the device
        out of use for the rest of the process.
        """
        try:
            yield
        except (Exception, SystemExit) as error:
            if isinstance(error, DeviceLost):
                self.plugin.fail(error, operation)
            if _is_told(error):
                raise
            ours = as_backend_error(error, self.name, operation)
            try:
                raise ours from error
            finally:
                del ours  # else its traceback, this frame and the caller's buffers are a cycle

    def _open(self, renderer: str) -> Device:
        backend = self.plugin.ready()
        with self.guard("open"):
            return backend.open(self.index, renderer) if renderer else backend.open(self.index)

    def _without(self, part: str) -> BackendError:
        return Unsupported(f"{part}: this device runs no generated code", self.name)

    def __repr__(self) -> str:
        return f"<device {self.name}, {self.plugin.source}>"


def _is_told(error: BaseException) -> bool:
    """True if the error already says all: one of ours, and under a name if it is a device's."""
    if isinstance(error, BackendError):
        return bool(error.device)
    return isinstance(error, TinycoreError)
