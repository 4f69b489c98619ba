"""One open device as the core sees it: the vendor's device behind a guard.

In: a plugin and an index. Out: an `OpenDevice`, whose methods raise our errors alone, under the
device's name. Next: registry.py, which keeps one for each name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from tinycore.errors import TinycoreError
from tinycore.runtime.allocator import CachingAllocator
from tinycore.runtime.contract import Compiler, Renderer
from tinycore.runtime.errors import DeviceLost, Unsupported, as_backend_error
from tinycore.runtime.plugins import Plugin
from tinycore.runtime.program import Program


class OpenDevice:
    """A device that can be used now; `Device["NAME"]` gives it."""

    def __init__(self, name: str, plugin: Plugin, index: int, renderer: str = "") -> None:
        self.name = name
        self.index = index
        self.plugin = plugin
        self.chosen = renderer
        self.process = os.getpid()
        self.closed = False
        backend = plugin.ready()
        with self.guard("open"):
            self.device = backend.open(index, renderer) if renderer else backend.open(index)
        self.target = self.device.target
        self.caps = self.target.caps
        self.allocator = CachingAllocator(self.device)

    @property
    def renderer(self) -> Renderer[Any]:
        """What writes kernels as text for this device. Raises: Unsupported if nothing does."""
        return self.target.renderer or self._generates_nothing("renderer")

    @property
    def compiler(self) -> Compiler:
        """What compiles that text. Raises: Unsupported if nothing does."""
        return self.target.compiler or self._generates_nothing("compiler")

    @property
    def usable_here(self) -> bool:
        """False if the device was lost, closed, or opened before this process was forked."""
        here = self.process == os.getpid() or self.plugin.fact("fork_safe")
        return bool(here) and not self.closed and self.plugin.state != "lost"

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

    def memory(self, operation: str, *arguments: Any) -> Any:
        """What an operation of the vendor's allocator answers; None if it has none such."""
        method = getattr(self.device.allocator, operation, None)
        with self.guard(operation):
            return method(*arguments) if method else None

    def describe(self) -> Mapping[str, str]:
        """Vendor, product and versions, as far as the plugin says."""
        method = getattr(self.plugin.load(), "describe", None)
        with self.guard("describe"):
            return dict(method(self.index)) if method else {}

    def close(self) -> None:
        """Give the device back; nothing of it can be used after."""
        if not self.usable_here:
            return
        self.closed = True
        with self.guard("close"):
            self.allocator.give_back()
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
            # One that already says all: ours, and under a name if it is a device's.
            if isinstance(error, TinycoreError) and getattr(error, "device", True):
                raise
            ours = as_backend_error(error, self.name, operation)
            try:
                raise ours from error
            finally:
                del ours  # else its traceback, this frame and the caller's buffers are a cycle

    def _generates_nothing(self, name: str) -> NoReturn:
        raise Unsupported(f"{name}: this device runs no generated code", self.name)

    def __repr__(self) -> str:
        return f"<device {self.name}, {self.plugin.source}>"
