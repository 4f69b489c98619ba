"""The one module a device package imports from tinycore.

In: names of the runtime and of code generation. Out: those names, stable under PLUGIN_API.
Nothing in the core imports this module. A package starts from `tinycore_backend(core_api)`,
returns a `Backend`, and is found through the entry point group `tinycore.backends`.
"""

from tinycore.codegen.render.llvm import OPS as LLVM_OPS
from tinycore.codegen.render.llvm import LLVMRenderer
from tinycore.config import DEBUG, THREADS, Setting, getenv
from tinycore.dtype import DType, dtypes, to_dtype
from tinycore.runtime.caps import CAPS_VERSION, Caps, Space
from tinycore.runtime.compiled import compile_cached
from tinycore.runtime.contract import (
    PLUGIN_API,
    Allocator,
    Backend,
    Compiler,
    Device,
    Renderer,
    Target,
)
from tinycore.runtime.errors import (
    ApiMismatch,
    BackendError,
    CompileError,
    DeviceLost,
    LaunchError,
    OutOfMemory,
    Unavailable,
    Unsupported,
)
from tinycore.runtime.hookspecs import hookimpl
from tinycore.runtime.options import (
    Check,
    Collective,
    Declaration,
    Graph,
    PatternRule,
    Queue,
    TensorCore,
    Tunable,
)
from tinycore.runtime.program import Call, Handle, Launch, Program
from tinycore.uop.lowered import Lowered
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel

__all__ = [
    "CAPS_VERSION",
    "DEBUG",
    "LLVM_OPS",
    "PLUGIN_API",
    "THREADS",
    "Allocator",
    "ApiMismatch",
    "Backend",
    "BackendError",
    "Call",
    "Caps",
    "Check",
    "Collective",
    "CompileError",
    "Compiler",
    "DType",
    "Declaration",
    "Device",
    "DeviceLost",
    "Graph",
    "Handle",
    "Kernel",
    "LLVMRenderer",
    "Launch",
    "LaunchError",
    "Lowered",
    "Ops",
    "OutOfMemory",
    "PatternRule",
    "Program",
    "Queue",
    "Renderer",
    "Setting",
    "Space",
    "Target",
    "TensorCore",
    "Tunable",
    "UOp",
    "Unavailable",
    "Unsupported",
    "compile_cached",
    "dtypes",
    "getenv",
    "hookimpl",
    "to_dtype",
]
