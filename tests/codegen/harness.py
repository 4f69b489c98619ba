"""Runs lowered kernels on the machine of the test: LLVM IR by llvmlite, called through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from tinycore.codegen.lower import lower
from tinycore.codegen.render.llvm import OPS, LLVMRenderer
from tinycore.config import Context
from tinycore.dtype import DType, dtypes
from tinycore.runtime.contract import Caps, CompileError, Compiler, Space, Target
from tinycore.uop.lowered import Lowered
from tinycore.uop.ops import arena
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel

Array = NDArray[Any]
NATIVE = tuple([row.name for row in dtypes.all if row.name[0] in "biu" and row.kind != "f"])
NATIVE += ("float32", "float64")


class NoCompiler(Compiler):
    """The target's compiler is not asked: the harness compiles."""

    key = "none"

    def compile(self, source: str) -> bytes:
        raise CompileError("compile: the harness compiles")


def caps(vector_bytes: int = 64, **more: Any) -> Caps:
    """Capabilities of a processor whose vectors have this size."""
    fields: dict[str, Any] = {
        "dtypes": NATIVE,
        "storage": ("float16",),
        "emulated": ("bfloat16", "fp8e4m3", "fp8e5m2"),
        "spaces": (Space("host", 1 << 40),),
        "ops": OPS,
        "vector_bytes": vector_bytes,
        "registers": 32,
    }
    return Caps(**{**fields, **more})


def target(**more: Any) -> Target:
    """A target that renders LLVM IR."""
    row = caps(**more)
    return Target("test", row, LLVMRenderer(row), NoCompiler())


TARGET = target()


def kernel_of(text: str, **sizes: int) -> Kernel:
    """The last kernel of a text."""
    unit = list(parse(text, **sizes).values())[-1]
    assert isinstance(unit, Kernel)
    return unit


def render(kernel: Kernel, on: Target = TARGET) -> tuple[Lowered, str]:
    """The checked program and its text."""
    with Context(SPEC=1), arena():
        program = lower(kernel, on)
        assert on.renderer is not None
        return program, on.renderer.render(program)


@cache
def _processor() -> tuple[Any, str]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    found = llvm.Target.from_triple(llvm.get_process_triple())
    return found, llvm.get_host_cpu_features().flatten()


def machine() -> Any:
    """The machine this process runs on, as LLVM knows it; an engine takes it over."""
    found, features = _processor()
    return found.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, codemodel="jitdefault", jit=True
    )


class Built:
    """A kernel ready to run on numpy arrays."""

    def __init__(self, kernel: Kernel, on: Target = TARGET) -> None:
        self.kernel = kernel
        self.program, self.text = render(kernel, on)
        module = llvm.parse_assembly(self.text)
        module.verify()
        self.engine = llvm.create_mcjit_compiler(module, machine())
        self.engine.finalize_object()
        address = self.engine.get_function_address(kernel.name)
        shape = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self.call = shape(address)

    def __call__(self, *arrays: Array, workers: int = 1, **values: int) -> None:
        slots, kept = self.arguments(arrays, values, workers)
        for worker in range(workers):
            self.call(slots.ctypes.data, worker, workers)
        del kept

    def arguments(
        self, arrays: Sequence[Array], values: Mapping[str, int], workers: int = 1
    ) -> tuple[Array, object]:
        """The slots of a call, and what must be kept alive for it."""
        scratch = np.full(self.program.scratch_bytes * workers + 64, 255, np.uint8)
        base = scratch.ctypes.data + -scratch.ctypes.data % 64
        places = [array.ctypes.data for array in arrays]
        places += [values[variable.arg[0]] for variable in self.kernel.variables]
        return np.array([*places, base], np.int64), (arrays, scratch)

    def grid(self, **values: int) -> list[int]:
        """The launch size at these values."""
        return [extent.evaluate(lambda atom: values[atom.name]) for extent in self.program.grid]


def run(text: str, arrays: Sequence[Array], workers: int = 1, **sizes: int) -> None:
    """Lower, render, compile and run the last kernel of a text; `sizes` name variables too."""
    with arena():
        kernel = kernel_of(text, **sizes)
        names = {variable.arg[0] for variable in kernel.variables}
        values = {name: size for name, size in sizes.items() if name in names}
        Built(kernel)(*arrays, workers=workers, **values)


def random(*shape: int, seed: int = 0, dtype: DType = dtypes.float32) -> Array:
    """Standard normal numbers."""
    found = np.random.default_rng(seed).standard_normal(shape)
    return found.astype(dtype.name)
