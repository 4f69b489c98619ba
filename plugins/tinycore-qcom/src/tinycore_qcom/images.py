"""Buffers reached through the units for textures: an image is a second view of their own memory.

In: memory. Out: an image of texels of four float32, IMAGE_TEXELS in a row. Next: program.py.
Source: the Khronos headers, CL/cl.h; extension cl_khr_image2d_from_buffer.
"""

from __future__ import annotations

import ctypes
import functools
import re
from typing import Any, ClassVar

from tinycore_qcom import api
from tinycore_qcom.dialect import IMAGE_TEXELS
from tinycore_qcom.platforms import Found
from tinycore_qcom.queue import Queue

EXTENSION = "cl_khr_image2d_from_buffer"
TEXEL_BYTES = 16
ROW_BYTES = IMAGE_TEXELS * TEXEL_BYTES

_PITCH_ALIGNMENT = 0x104A
_READ_WRITE, _IMAGE_2D = 1 << 0, 0x10F1
_RGBA, _FLOAT = 0x10B5, 0x10DE
_SIGNATURE = re.compile(r"^__kernel .*\nvoid \w+\((.*)\) \{$", re.MULTILINE)
_HEAD = re.compile(rb"images((?: \d+)*)\n")


class _Format(ctypes.Structure):
    _fields_: ClassVar[Any] = [("order", ctypes.c_uint32), ("type", ctypes.c_uint32)]


_SIZES = ("width", "height", "depth", "count", "row", "slice")


class _Description(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("kind", ctypes.c_uint32),
        *[(name, ctypes.c_size_t) for name in _SIZES],
        ("levels", ctypes.c_uint32),
        ("samples", ctypes.c_uint32),
        ("memory", ctypes.c_void_p),
    ]


@functools.cache
def pitch_alignment(found: Found) -> int:
    """What the row of a buffer's image must be a multiple of. Units: texels."""
    question = "clGetDeviceInfo", found.pointer, _PITCH_ALIGNMENT
    return max(api.library().number_of(*question), 1)


def padded(size_bytes: int, alignment: int) -> int:
    """The size of a buffer that whole rows of an image fill, or one aligned row of less texels."""
    step = ROW_BYTES if size_bytes > ROW_BYTES else alignment * TEXEL_BYTES
    return -(-size_bytes // step) * step


def description(buffer: int, size_bytes: int, alignment: int) -> _Description:
    """What the image of a buffer of so many bytes is like."""
    texels = padded(size_bytes, alignment) // TEXEL_BYTES
    width = min(texels, IMAGE_TEXELS)
    sizes = width, texels // width, 1, 1, width * TEXEL_BYTES
    return _Description(_IMAGE_2D, *sizes, memory=buffer)


def make_image(queue: Queue, buffer: int, size_bytes: int) -> int:
    """An image of a buffer, to be released by clReleaseMemObject.

    Raises: OpenCLError, also for a part of a buffer in which the last row is not whole.
    """
    whole = description(buffer, size_bytes, pitch_alignment(queue.found))
    made = ctypes.byref(_Format(_RGBA, _FLOAT)), ctypes.byref(whole)
    return queue.library.create("clCreateImage", queue.context, _READ_WRITE, *made, None)


def image_places(source: str) -> list[int]:
    """The places of images among the parameters of a kernel's text."""
    found = _SIGNATURE.search(source)
    parameters = found[1].split(", ") if found else []
    return [place for place, text in enumerate(parameters) if "image2d_t" in text]


def with_places(binary: bytes, places: list[int]) -> bytes:
    """A binary after a line that says which of its arguments are images."""
    return "".join(["images", *[f" {place}" for place in places], "\n"]).encode() + binary


def parted(binary: bytes) -> tuple[bytes, frozenset[int]]:
    """A driver's binary, and which of its arguments are images; one without the line has none."""
    found = _HEAD.match(binary)
    if not found:
        return binary, frozenset()
    return binary[found.end() :], frozenset(map(int, found[1].split()))
