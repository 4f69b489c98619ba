"""The OpenCL devices as the core sees them: CL counts all of them, QCOM Adreno GPUs alone.

In: an index or the name of an architecture. Out: a `Device` or a `Target`. Next: device.py,
imported at the first open.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from tinycore.backend import Backend, Device, Setting, Target, Unavailable, Unsupported
from tinycore_qcom import __version__, platforms, runtimes
from tinycore_qcom.capabilities import extensions, unique_id
from tinycore_qcom.platforms import GPU, Found

CL_PLATFORM = Setting("CL_PLATFORM", "", "part of the name of the only OpenCL platform to use")

INSTALL = """Install the GPU vendor's driver, or for the CPU `pip install "tinycore-qcom[cpu]"`"""
_FEATURES = {
    "cl_khr_fp16": "float16",
    "cl_khr_fp64": "float64",
    "cl_khr_integer_dot_product": "int8 dot products",
    "cl_khr_image2d_from_buffer": "images of buffers",
    "cl_khr_subgroups": "subgroups",
    "cl_intel_subgroups": "subgroups of Intel",
    "cl_khr_command_buffer": "command buffers",
    "cl_qcom_recordable_queues": "recordable queues",
}
_ADRENO = "Adreno GPUs need Qualcomm's OpenCL driver; other OpenCL devices are CL"


class OpenCLBackend(Backend):
    """Any OpenCL device, GPUs first; CL_PLATFORM leaves one platform of several."""

    name = "CL"
    api = (1, 0)
    version = __version__
    renderers = ("OPENCL",)
    # The default where its devices are GPUs, and no device of the vendor's own is installed.
    gpu_priority = 5
    cpu_priority = -5

    def count(self) -> int:
        """How many devices there are. Raises: Unavailable, saying what is missing."""
        found = self.found()
        self.priority = self.gpu_priority if found[0].kind == GPU else self.cpu_priority
        return len(found)

    def open(self, index: int, renderer: str = "") -> Device:
        """Open device `index`; those from `count()` on share the devices. Raises: Unavailable."""
        if renderer not in ("", *self.renderers):
            raise Unavailable(f"open: renderer {renderer!r} is unknown; expected OPENCL")
        device: Device = _device_module().open_device(self._at(index))
        return device

    def target(self, arch: str) -> Target:
        """The target of a device of this machine, since OpenCL's compiler is its driver.

        "" is the first. Raises: Unsupported, naming those that are here.
        """
        known = {row.arch: row for row in reversed(self._present())}
        names = list(reversed(known))
        if not names or arch not in ("", *names):
            here = ", ".join(names) or "none"
            raise Unsupported(f"target: {arch!r} has no driver here; expected one of: {here}")
        target: Target = _device_module().make_target(known[arch or names[0]])
        return target

    def describe(self, index: int) -> Mapping[str, str]:
        """Vendor, product, its own number, platform, the driver's version, and what it can."""
        row = self._at(index)
        known = extensions(row)
        return {
            "vendor": row.vendor,
            "product": row.name,
            "kind": row.kind,
            "platform": f"{row.platform}, {row.platform_version}",
            "driver": row.driver,
            "opencl": row.version,
            "id": unique_id(row),
            "features": ", ".join(word for name, word in _FEATURES.items() if name in known),
        }

    def found(self) -> list[Found]:
        """This backend's devices, at least one. Raises: Unavailable, saying what is missing."""
        every = platforms.devices()
        found = [row for row in every if self.takes(row)]
        if not every:
            raise Unavailable(no_runtime(), hint=remedy())
        if not found:
            raise self.none_fits(every)
        return found

    def takes(self, row: Found) -> bool:
        """True for a device that this backend offers."""
        return CL_PLATFORM.value.casefold() in row.platform.casefold()

    def none_fits(self, every: tuple[Found, ...]) -> Unavailable:
        """The reason why none of the devices is this backend's."""
        names = ", ".join(sorted({row.platform for row in every}))
        wanted = f"CL_PLATFORM={CL_PLATFORM.value}"
        wrong = f"{wanted} is in the name of no platform; expected part of: {names}"
        return Unavailable(wrong, hint="Set CL_PLATFORM to part of a name, or leave it out")

    def _at(self, index: int) -> Found:
        found = self.found()
        return found[index % len(found)]

    def _present(self) -> list[Found]:
        try:
            return self.found()
        except Unavailable:
            return []


class AdrenoBackend(OpenCLBackend):
    """Qualcomm's GPUs alone."""

    name = "QCOM"
    gpu_priority = 10

    def takes(self, row: Found) -> bool:
        """True for an Adreno GPU."""
        return row.is_adreno

    def none_fits(self, every: tuple[Found, ...]) -> Unavailable:
        """None of the devices is an Adreno."""
        names = ", ".join(f"{row.name} of {row.platform}" for row in every)
        return Unavailable(f"no Adreno GPU is here; OpenCL finds {names}", hint=_ADRENO)


def no_runtime() -> str:
    """That the loader found nothing, and what it was told to look at."""
    said = "OpenCL finds no runtime"
    chosen = [f"{name}={value}" for name, value in runtimes.chosen().items()]
    causes = [*chosen, *filter(None, (row.trouble for row in runtimes.candidates()))]
    return f"{said}: {'; '.join(causes)}" if causes else said


def remedy() -> str:
    """What to do where there is no runtime: what the user chose comes before what is missing."""
    names = " and ".join(runtimes.chosen())
    return f"Leave {names} out, or name a runtime that is here" if names else INSTALL


def _device_module() -> ModuleType:
    return importlib.import_module("tinycore_qcom.device")
