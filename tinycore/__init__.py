"""tinycore: tensors, gradients and a small compiler, each accelerator in a package of its own.

Out: the names of EXPORTS, each loaded at first use, to keep the import fast. Next file: errors.py.

>>> import tinycore
>>> sorted(tinycore.EXPORTS)[:3]
['Context', 'Device', 'GlobalCounters']
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # what typing calls it; importing typing would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from tinycore import nn as nn
    from tinycore.config import Context as Context, getenv as getenv
    from tinycore.dtype import dtypes as dtypes
    from tinycore.runtime.buffer import GlobalCounters as GlobalCounters
    from tinycore.runtime.registry import Device as Device
    from tinycore.tensor import Tensor as Tensor, TinyJit as TinyJit, Variable as Variable

__version__ = "0.1.0"

EXPORTS = {
    "Context": "tinycore.config",
    "Device": "tinycore.runtime.registry",
    "GlobalCounters": "tinycore.runtime.buffer",
    "Tensor": "tinycore.tensor",
    "TinyJit": "tinycore.tensor",
    "Variable": "tinycore.tensor",
    "dtypes": "tinycore.dtype",
    "getenv": "tinycore.config",
    "nn": "tinycore.nn",
}
"""The module where each public name lives, or that it is."""


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"tinycore has no name {name!r}; it has {', '.join(EXPORTS)}")
    module = importlib.import_module(EXPORTS[name])
    globals()[name] = value = getattr(module, name, module)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
