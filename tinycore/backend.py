"""The one module a device package imports from tinycore; its names are stable under PLUGIN_API.

A package starts from `tinycore_backend(core_api)`, returns a `Backend`, and is found through the
entry point group `tinycore.backends`.
"""

from tinycore.codegen.render.c_family import CRenderer as CRenderer
from tinycore.codegen.render.dialect import Dialect as Dialect, Memory as Memory, Reach as Reach
from tinycore.codegen.render.llvm import OPS as _OPS, LLVMRenderer as LLVMRenderer
from tinycore.config import DEBUG as DEBUG, THREADS as THREADS, Setting as Setting, getenv as getenv
from tinycore.dtype import DType as DType, dtypes as dtypes
from tinycore.runtime.contract import (
    PLUGIN_API as PLUGIN_API,
    Allocator as Allocator,
    ApiMismatch as ApiMismatch,
    Backend as Backend,
    BackendError as BackendError,
    Call as Call,
    Caps as Caps,
    CompileError as CompileError,
    Compiler as Compiler,
    Device as Device,
    DeviceLost as DeviceLost,
    Graph as Graph,
    Handle as Handle,
    Launch as Launch,
    LaunchError as LaunchError,
    OutOfMemory as OutOfMemory,
    Program as Program,
    Renderer as Renderer,
    Space as Space,
    Target as Target,
    Unavailable as Unavailable,
    Unsupported as Unsupported,
)
from tinycore.runtime.device import compile_cached as compile_cached
from tinycore.runtime.hooks import hookimpl as hookimpl
from tinycore.uop.lowered import Lowered as Lowered
from tinycore.uop.ops import Ops as Ops, UOp as UOp
from tinycore.uop.tree import Kernel as Kernel

LLVM_OPS = _OPS
"""The ops that `LLVMRenderer` spells, for `Caps.ops`."""
