"""The OpenCL devices of tinycore: CL is any of them, QCOM is Qualcomm's Adreno GPUs.

In: the hooks the core calls when the name QCOM is used; opencl.py has those of CL. Out: a
`Backend`. Nothing is imported before that. Next: backend.py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tinycore.backend import Backend

__version__ = "0.1.0"


def tinycore_backend(core_api: tuple[int, int]) -> Backend:
    """Describe Adreno GPUs to a core that speaks `core_api`; opens nothing."""
    backend = importlib.import_module("tinycore_qcom.backend")
    return cast("Backend", backend.AdrenoBackend())
