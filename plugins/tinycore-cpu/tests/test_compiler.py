"""LLVM IR text becomes object code for any named machine, and what LLVM refuses is shown."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tinycore.backend import CompileError, Unsupported
from tinycore_cpu.arch import Arch, find_arch, named_archs
from tinycore_cpu.compiler import LLVMCompiler

FMA = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @k(ptr %args, i64 %task, i64 %tasks) nounwind
    "prefer-vector-width"="512" "min-legal-vector-width"="512" {
  %x = load <16 x float>, ptr %args, align 4
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  store <16 x float> %y, ptr %args, align 4
  ret void
}
"""
MAGIC = {
    "x86_64-unknown-linux-gnu": b"\x7fELF",
    "aarch64-unknown-linux-gnu": b"\x7fELF",
    "arm64-apple-macosx14": b"\xcf\xfa\xed\xfe",
    "x86_64-pc-windows-msvc": b"\x64\x86",
}
ARCHS = sorted(set(named_archs().values()), key=lambda arch: arch.name)


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_a_kernel_compiles_for_every_named_architecture(arch: Arch) -> None:
    binary = LLVMCompiler(arch).compile(FMA)
    assert binary.startswith(MAGIC[arch.triple])


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("x86-64-v4", "vfmadd213ps\t%zmm"),
        ("x86-64-v3", "vfmadd213ps\t%ymm"),
        ("aarch64 neoverse-v1", "fmla\tv"),
        ("apple-m1", "fmla.4s"),
    ],
)
def test_vectors_use_the_registers_of_the_named_machine(name: str, instruction: str) -> None:
    assert instruction in LLVMCompiler(find_arch(name)).assembly(FMA)


def test_the_same_source_gives_the_same_object(compiler: LLVMCompiler) -> None:
    assert compiler.compile(FMA) == compiler.compile(FMA)


def test_refused_text_is_shown_with_its_line(compiler: LLVMCompiler) -> None:
    source = "define void @k() {\n  %x = fadd float %y, 1.0\n  ret void\n}\n"
    with pytest.raises(CompileError) as caught:
        compiler.compile(source)
    error = caught.value
    assert (error.line, error.source) == (2, source)
    assert str(error) == (
        "compile: LLVM refuses line 2, '%x = fadd float %y, 1.0': use of undefined value '%y'"
    )
    assert "<string>:2:19" in error.log


def test_a_module_that_reads_well_but_makes_no_sense_is_refused(compiler: LLVMCompiler) -> None:
    source = """
define void @k(ptr %p) {
  %a = load float, ptr %p
  br label %one
one:
  %b = fadd float %c, 1.0
  br label %two
two:
  %c = fadd float %a, 1.0
  ret void
}
"""
    with pytest.raises(CompileError, match="Instruction does not dominate all uses"):
        compiler.compile(source)


def test_keys_differ_when_the_machine_differs() -> None:
    keys = [LLVMCompiler(arch).key for arch in (*ARCHS, find_arch("native"))]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("llvmlite-") for key in keys)


def test_an_object_compiled_here_can_be_read_as_assembly(compiler: LLVMCompiler) -> None:
    binary = compiler.compile(FMA)
    assert "k:" in compiler.disassemble(binary)


def test_an_object_from_elsewhere_cannot_be_read_as_assembly(compiler: LLVMCompiler) -> None:
    with pytest.raises(Unsupported, match=r"was not compiled in this process.*CCACHE=0"):
        compiler.disassemble(b"\x7fELF")


def test_the_key_of_this_machine_is_known_without_importing_llvmlite() -> None:
    script = (
        "import sys; from tinycore_cpu.arch import find_arch;"
        "from tinycore_cpu.compiler import LLVMCompiler;"
        "LLVMCompiler(find_arch('native')).key;"
        "print([name for name in sys.modules if 'llvmlite' in name or 'numpy' in name])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_a_thread_compiles_can_compile(compiler: LLVMCompiler) -> None:
    stop = threading.Event()

    def keep_compiling() -> None:
        while not stop.is_set():
            compiler.compile(FMA)

    busy = threading.Thread(target=keep_compiling)
    busy.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(20)
                compiler.compile(FMA)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        busy.join()
