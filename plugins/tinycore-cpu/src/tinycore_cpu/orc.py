"""Links object files with LLVM's own linker, where they are not ELF: macOS and Windows.

In: the bytes of an object file and the functions it must have. Out: an `Image`. It imports
llvmlite, also in a process that compiles nothing. loader.py chooses it.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

from tinycore_cpu import llvm
from tinycore_cpu.image import Image

_numbers = itertools.count()


@functools.cache
def _engine() -> Any:
    binding = llvm.binding()
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(opt=3, reloc="pic", codemodel="default", jit=True)
    return binding.create_lljit_compiler(machine)


def load_by_llvm(data: bytes, names: tuple[str, ...]) -> Image:
    """An object of this system's own format in memory, its functions by name.

    Raises: ValueError if LLVM cannot link it.
    """
    builder = llvm.binding().JITLibraryBuilder()
    builder = builder.add_object_img(data).add_current_process()
    for name in names:
        builder = builder.export_symbol(name)
    try:
        with llvm.IN_USE:
            library = builder.link(_engine(), f"tinycore{next(_numbers)}")
    except RuntimeError as error:
        raise ValueError(f"LLVM cannot link the object: {error}") from error
    return Image({name: library[name] for name in names}, library)
