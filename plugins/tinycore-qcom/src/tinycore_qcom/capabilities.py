"""What an OpenCL device can do, as the core's `Caps`.

In: what its driver reports. Out: `Caps`. Next: device.py.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from tinycore.backend import Caps, Ops, Setting, Space, Unavailable
from tinycore_qcom import api
from tinycore_qcom.dialect import IMAGE_TEXELS
from tinycore_qcom.images import EXTENSION, ROW_BYTES
from tinycore_qcom.memory import SPACE
from tinycore_qcom.platforms import ACCELERATOR, CPU, GPU, Found

# Keys of clGetDeviceInfo. Source: the Khronos headers, CL/cl.h and CL/cl_ext.h.
_UNITS = 0x1002
_GROUP_THREADS = 0x1004
_GROUP_SIZES = 0x1005
_LARGEST_BYTES = 0x1010
_IMAGE_WIDTH = 0x1011
_IMAGE_HEIGHT = 0x1012
_IMAGES = 0x1016
_ARGUMENT_BYTES = 0x1017
_ALIGNMENT_BITS = 0x1019
_FLOAT_CONFIG = 0x101B
_CACHE_BYTES = 0x101E
_MEMORY_BYTES = 0x101F
_GROUP_BYTES = 0x1023
_EXTENSIONS = 0x1030
_UNIQUE_ID = 0x106A
# How many threads run as one: OpenCL 3.0's word for it, NVIDIA's, AMD's.
_WIDTHS = (0x1067, 0x4003, 0x4043)
_USUAL_WIDTH = 32
# Subgroups whose size a kernel may choose, and whose threads read each other's registers.
_SUBGROUP_SIZES = 0x4108
_SUBGROUPS = {"cl_intel_required_subgroup_size", "cl_khr_subgroup_shuffle"}
_WARP = 16
# Dot products of vectors of four bytes: one of the kinds that the extension may have.
_DOTS, _DOT_LANGUAGE = "cl_khr_integer_dot_product", "-cl-std=CL3.0"
_DOT_KINDS, _DOT_OF_BYTES = 0x1073, 1 << 1

# Bits of the float configuration.
_DENORMALS, _NEAREST, _FUSED = 1 << 0, 1 << 2, 1 << 5

_DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
)
_OPTIONAL = {"cl_khr_fp64": "float64", "cl_khr_fp16": "float16"}
# Stored in few bits, and converted by integer arithmetic on every device.
_EMULATED = ("bfloat16", "fp8e4m3", "fp8e5m2")
_SLOT_BYTES = 8
# Room for values beside the buffers in a kernel's arguments.
_VALUES = 32
_VIRTUAL = 16
_MOST_GROUPS = (1 << 31) - 1, 65535, 65535
# A processor makes vectors of neighbouring threads itself, and keeps what a thread holds in memory
# from one barrier to the next: it gets neither vectors nor tiles of a group.
_FLOAT_BYTES, _VECTOR_BYTES = 4, 16
# Registers of so many bytes that a thread has before it spills; drivers do not tell.
_REGISTERS, _USUAL_REGISTERS = 32, 48
ADRENO = "adreno"
_PLANS = GPU, ACCELERATOR, CPU, ADRENO

CL_PLAN = Setting("CL_PLAN", "", "plan kernels as for a 'cpu', a 'gpu' or an 'adreno'")


def plan_of(found: Found) -> str:
    """What kind of device kernels are planned for: CL_PLAN, else what the device is.

    Raises: Unavailable if CL_PLAN is none of them.
    """
    plan = CL_PLAN.value or (ADRENO if found.is_adreno else found.kind)
    if plan not in _PLANS:
        raise Unavailable(f"CL_PLAN={plan} is no plan; expected one of {', '.join(_PLANS)}")
    return plan


@functools.cache
def capabilities(found: Found, plan: str) -> Caps:
    """The capabilities of a device, with hints for a plan."""

    def numbers(key: int, size_bytes: int = 0) -> Iterator[int]:
        question = "clGetDeviceInfo", found.pointer, key
        return api.library().numbers_of(*question, size_bytes=size_bytes)

    def number(key: int) -> int:
        return next(numbers(key), 0)

    alignment = max(number(_ALIGNMENT_BITS) // 8, 1)
    dtypes = (*_DTYPES, *_optional(found))
    units, cache_bytes = number(_UNITS), number(_CACHE_BYTES)
    x, y, z = numbers(_GROUP_SIZES, _SLOT_BYTES)
    here, near = found.kind == CPU, plan != CPU
    largest = image_bytes(found)
    memory = Space(SPACE, number(_MEMORY_BYTES), alignment, host_visible=here, coherent=here)
    return Caps(
        dtypes=dtypes,
        spaces=(memory,),
        emulated=_EMULATED,
        storage=() if "float16" in dtypes else ("float16",),
        tile_spaces=("reg", "group") if near else ("reg",),
        max_allocation_bytes=number(_LARGEST_BYTES),
        offset_alignment=alignment,
        max_buffers=number(_ARGUMENT_BYTES) // _SLOT_BYTES - _VALUES,
        max_group=(x, y, z),
        max_group_threads=number(_GROUP_THREADS),
        max_grid=_MOST_GROUPS,
        group_bytes=number(_GROUP_BYTES),
        warp_threads=_warp(extensions(found), {*numbers(_SUBGROUP_SIZES, _SLOT_BYTES)}, near),
        image_bytes=largest,
        deterministic=True,
        thread_safety=3,
        virtual=_VIRTUAL,
        units=units,
        lanes=next(filter(None, map(number, _WIDTHS)), _USUAL_WIDTH),
        vector_bytes=_VECTOR_BYTES if near else _FLOAT_BYTES,
        registers=_USUAL_REGISTERS if near else _REGISTERS,
        cache_bytes=(cache_bytes // max(units, 1), cache_bytes),
        image_reads=largest > 0 and plan == ADRENO,
        graph=True,
        **_numerics(number(_FLOAT_CONFIG)),
    )


def _numerics(config: int) -> dict[str, Any]:
    return {
        "denormals": "preserve" if config & _DENORMALS else "flush",
        "contraction": bool(config & _FUSED),
        "rounding": "nearest" if config & _NEAREST else "zero",
    }


def image_bytes(found: Found) -> int:
    """How large a buffer with an image may be; 0 where buffers have none."""

    def number(key: int) -> int:
        return api.library().number_of("clGetDeviceInfo", found.pointer, key)

    has_images = bool(number(_IMAGES)) and EXTENSION in extensions(found)
    if not has_images or number(_IMAGE_WIDTH) < IMAGE_TEXELS:
        return 0
    return number(_IMAGE_HEIGHT) * ROW_BYTES


def _warp(known: frozenset[str], sizes: set[int], near: bool) -> int:
    """How many threads read each other's registers; a processor is faster by memory."""
    return _WARP if near and _WARP in sizes and known >= _SUBGROUPS else 1


def native_ops(found: Found, plan: str, options: str) -> tuple[Ops, ...]:
    """The ops that are functions of the device; a processor multiplies bytes faster by itself."""
    kinds = api.library().numbers_of("clGetDeviceInfo", found.pointer, _DOT_KINDS)
    is_told = _DOTS in extensions(found) and _DOT_LANGUAGE in options
    has_dots = is_told and plan != CPU and next(kinds, 0) & _DOT_OF_BYTES
    return (Ops.EXP, Ops.LOG, Ops.SIN, *[Ops.DOT] * bool(has_dots))


def extensions(found: Found) -> frozenset[str]:
    """The names of what the driver has beyond its version of OpenCL."""
    told = api.library().text_of("clGetDeviceInfo", found.pointer, _EXTENSIONS)
    return frozenset(told.split())


def unique_id(found: Found) -> str:
    """The device's own number, the same in every process; empty where the driver tells none."""
    question = "clGetDeviceInfo", found.pointer, _UNIQUE_ID
    return "".join(f"{byte:02x}" for byte in api.library().numbers_of(*question, size_bytes=1))


def _optional(found: Found) -> Iterator[str]:
    known = extensions(found)
    return (dtype for name, dtype in _OPTIONAL.items() if name in known)
