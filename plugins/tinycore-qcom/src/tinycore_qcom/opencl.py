"""The device CL: the hooks the core calls when that name is used. Next: backend.py."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from tinycore_qcom import tinycore_doctor as tinycore_doctor

if TYPE_CHECKING:
    from tinycore.backend import Backend


def tinycore_backend(core_api: tuple[int, int]) -> Backend:
    """Describe the OpenCL devices to a core that speaks `core_api`; opens nothing."""
    backend = importlib.import_module("tinycore_qcom.backend")
    return cast("Backend", backend.OpenCLBackend())
