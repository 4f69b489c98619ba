"""Compiles LLVM IR text to object code, for this machine or for a named one.

In: IR text from the renderer, an `Arch`. Out: an object file. No IR pass runs: the renderer's
text is in the form passes would give it, and they cost two to three times the code generation.
Next: loader.py makes the object executable.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import OrderedDict
from typing import Any

from tinycore.backend import CompileError, Compiler, Unsupported
from tinycore_cpu import host, llvm
from tinycore_cpu.arch import Arch

_FLAGS = "O3 pic small"
_REMEMBERED = 64
_PLACE = re.compile(r"<string>:(\d+):\d+: error: (.*)")


class LLVMCompiler(Compiler):
    """Compiles LLVM IR text for one architecture; needs no device, no driver and no C compiler."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.key = f"{llvm.build_id()} {_machine_id(arch)} {_FLAGS}"
        self._sources: OrderedDict[bytes, str] = OrderedDict()

    def compile(self, source: str) -> bytes:
        """The object file of an IR module.

        Raises: CompileError, with LLVM's message and the line of the source it points at.
        """
        with llvm.IN_USE:
            binary: bytes = _machine(self.arch).emit_object(self._module(source))
        self._remember(binary, source)
        return binary

    def assembly(self, source: str) -> str:
        """The assembly text of an IR module. Raises: CompileError."""
        with llvm.IN_USE:
            text: str = _machine(self.arch).emit_assembly(self._module(source))
        return text

    def disassemble(self, binary: bytes) -> str:
        """The assembly text of an object that this compiler made in this process.

        Raises: Unsupported for an object from a cache or from another process.
        """
        source = self._sources.get(_digest(binary))
        if source is None:
            raise Unsupported(
                "disassemble: the object was not compiled in this process; expected one that was",
                hint="Set CCACHE=0 to compile it here",
            )
        return self.assembly(source)

    def _remember(self, binary: bytes, source: str) -> None:
        self._sources[_digest(binary)] = source
        while len(self._sources) > _REMEMBERED:
            self._sources.popitem(last=False)

    def _module(self, source: str) -> Any:
        binding = llvm.binding()
        machine = _machine(self.arch)
        try:
            # A context of its own: types and constants of a shared one are never given back.
            module = binding.parse_assembly(source, context=binding.create_context())
            module.triple = machine.triple
            module.data_layout = str(machine.target_data)
            module.verify()
        except RuntimeError as error:
            raise _refused(str(error), source) from error
        return module


def _machine_id(arch: Arch) -> str:
    if arch.is_native:
        return host.processor().fingerprint
    return f"{arch.triple} {arch.cpu} {arch.features}"


@functools.cache
def _machine(arch: Arch) -> Any:
    """LLVM's target machine; made once, since it serves any number of modules."""
    if arch.is_native:
        binding = llvm.binding()
        features = binding.get_host_cpu_features().flatten()
        return _create(binding, binding.get_process_triple(), binding.get_host_cpu_name(), features)
    return _create(llvm.binding_for_every_target(), arch.triple, arch.cpu, arch.features)


def _create(binding: Any, triple: str, cpu: str, features: str) -> Any:
    target = binding.Target.from_triple(triple)
    return target.create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default"
    )


def _refused(log: str, source: str) -> CompileError:
    """LLVM's complaint as an error that shows the offending line."""
    found = _PLACE.search(log)
    if found is None:
        return CompileError(
            f"compile: LLVM refuses the module: {log.strip()}", source=source, log=log
        )
    line = int(found[1])
    text = source.splitlines()[line - 1].strip() if line <= source.count("\n") + 1 else ""
    message = f"compile: LLVM refuses line {line}, {text!r}: {found[2]}"
    return CompileError(message, source=source, line=line, log=log)


def _digest(binary: bytes) -> bytes:
    return hashlib.sha256(binary).digest()
