"""The OpenCL devices of tinycore: CL is any of them, QCOM is Qualcomm's Adreno GPUs.

In: the hooks the core calls when the name QCOM is used; opencl.py has those of CL. Out: a
`Backend`. Nothing is imported before that. Next: backend.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tinycore.backend import Backend
    from tinycore_qcom.doctor import Check

__version__ = "0.1.0"


def tinycore_backend(core_api: tuple[int, int]) -> Backend:
    """Describe Adreno GPUs to a core that speaks `core_api`; opens nothing."""
    backend = importlib.import_module("tinycore_qcom.backend")
    return cast("Backend", backend.AdrenoBackend())


def tinycore_doctor(backend: Backend) -> Sequence[Check]:
    """What was looked at to find a device, and what is wrong with it; opens nothing."""
    doctor = importlib.import_module("tinycore_qcom.doctor")
    return cast("Sequence[Check]", doctor.checks(backend))
