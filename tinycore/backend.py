"""The one module a device package imports from tinycore.

In: names of the runtime and of code generation. Out: those names, stable under PLUGIN_API.
Nothing in the core imports this module. A package starts from `tinycore_backend(core_api)`,
returns a `Backend`, and is found through the entry point group `tinycore.backends`.
"""

from tinycore.codegen.render.llvm import OPS as _OPS
from tinycore.codegen.render.llvm import LLVMRenderer as LLVMRenderer
from tinycore.config import DEBUG as DEBUG
from tinycore.config import THREADS as THREADS
from tinycore.config import Setting as Setting
from tinycore.config import getenv as getenv
from tinycore.dtype import DType as DType
from tinycore.dtype import dtypes as dtypes
from tinycore.runtime.caps import Caps as Caps
from tinycore.runtime.caps import Space as Space
from tinycore.runtime.compiled import compile_cached as compile_cached
from tinycore.runtime.contract import PLUGIN_API as PLUGIN_API
from tinycore.runtime.contract import Allocator as Allocator
from tinycore.runtime.contract import Backend as Backend
from tinycore.runtime.contract import Compiler as Compiler
from tinycore.runtime.contract import Device as Device
from tinycore.runtime.contract import Renderer as Renderer
from tinycore.runtime.contract import Target as Target
from tinycore.runtime.errors import ApiMismatch as ApiMismatch
from tinycore.runtime.errors import BackendError as BackendError
from tinycore.runtime.errors import CompileError as CompileError
from tinycore.runtime.errors import DeviceLost as DeviceLost
from tinycore.runtime.errors import LaunchError as LaunchError
from tinycore.runtime.errors import OutOfMemory as OutOfMemory
from tinycore.runtime.errors import Unavailable as Unavailable
from tinycore.runtime.errors import Unsupported as Unsupported
from tinycore.runtime.hooks import hookimpl as hookimpl
from tinycore.runtime.program import Call as Call
from tinycore.runtime.program import Graph as Graph
from tinycore.runtime.program import Handle as Handle
from tinycore.runtime.program import Launch as Launch
from tinycore.runtime.program import Program as Program
from tinycore.uop.lowered import Lowered as Lowered
from tinycore.uop.ops import Ops as Ops
from tinycore.uop.ops import UOp as UOp
from tinycore.uop.tree import Kernel as Kernel

LLVM_OPS = _OPS
"""The ops that `LLVMRenderer` spells, for `Caps.ops`."""
