"""What an OpenCL device can do, as the core's `Caps`.

In: what its driver reports. Out: `Caps`. Next: device.py.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from tinycore.backend import Caps, Space
from tinycore_qcom import api
from tinycore_qcom.memory import SPACE
from tinycore_qcom.platforms import CPU, Found

# Keys of clGetDeviceInfo. Source: the Khronos headers, CL/cl.h and CL/cl_ext.h.
_UNITS = 0x1002
_GROUP_THREADS = 0x1004
_GROUP_SIZES = 0x1005
_LARGEST_BYTES = 0x1010
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
# Registers of four floats that a thread has before it spills; drivers do not tell.
_REGISTERS = {CPU: 16}
_USUAL_REGISTERS = 48


@functools.cache
def capabilities(found: Found) -> Caps:
    """The capabilities of a device."""

    def numbers(key: int, size_bytes: int = 0) -> Iterator[int]:
        question = "clGetDeviceInfo", found.pointer, key
        return api.library().numbers_of(*question, size_bytes=size_bytes)

    def number(key: int) -> int:
        return next(numbers(key), 0)

    alignment = max(number(_ALIGNMENT_BITS) // 8, 1)
    config = number(_FLOAT_CONFIG)
    dtypes = (*_DTYPES, *_optional(found))
    x, y, z = numbers(_GROUP_SIZES, _SLOT_BYTES)
    here = found.kind == CPU
    memory = Space(SPACE, number(_MEMORY_BYTES), alignment, host_visible=here, coherent=here)
    return Caps(
        dtypes=dtypes,
        spaces=(memory,),
        emulated=_EMULATED if "float16" in dtypes else ("float16", *_EMULATED),
        tile_spaces=("reg", "group"),
        max_allocation_bytes=number(_LARGEST_BYTES),
        offset_alignment=alignment,
        max_buffers=number(_ARGUMENT_BYTES) // _SLOT_BYTES - _VALUES,
        max_group=(x, y, z),
        max_group_threads=number(_GROUP_THREADS),
        max_grid=_MOST_GROUPS,
        group_bytes=number(_GROUP_BYTES),
        denormals="preserve" if config & _DENORMALS else "flush",
        contraction=bool(config & _FUSED),
        rounding="nearest" if config & _NEAREST else "zero",
        images=bool(number(_IMAGES)),
        deterministic=True,
        thread_safety=3,
        codegen=False,
        virtual=_VIRTUAL,
        units=number(_UNITS),
        lanes=next(filter(None, map(number, _WIDTHS)), _USUAL_WIDTH),
        registers=_REGISTERS.get(found.kind, _USUAL_REGISTERS),
        cache_bytes=(number(_CACHE_BYTES),),
        graph=True,
    )


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
