"""Finds names of devices and vendors in the core's code, where only capabilities may stand.

In: the path of a tree. Out: lines that name file, line and word. Next file: floors.py.

Docstrings and comments may name a device. REF, the reference interpreter, may be named anywhere.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.budget import code_tokens, python_files

# fmt: off
NAMES = frozenset((
    "adreno", "amd", "cpu", "cuda", "directml", "gaudi", "gpu", "hexagon", "hip", "metal", "mps",
    "musa", "npu", "nv", "nvidia", "opencl", "qcom", "rocm", "sycl", "tenstorrent", "tpu", "vulkan",
    "webgpu", "xpu",
))
# fmt: on
"""Devices, their drivers and vendors, as single words in lower case."""

ALLOWED: Mapping[str, str] = {
    "NUM_CPU_THREADS": "an environment variable of the public surface",
    "cpu_count": "the standard library's name",
    "__cuda_array_interface__": "the protocol's name",
}
"""Words of code that hold a device's name by someone else's choice, with the reason."""

WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def check(tree: Path) -> list[str]:
    """Every word of the core's code that names a device."""
    defects = []
    for path in python_files(tree, ("tinycore",)):
        name = path.relative_to(tree).as_posix()
        for row, word in _words(path.read_text()):
            if word not in ALLOWED and _device_in(word):
                defects.append(f"{name}:{row}: {word} names a device; ask for a capability")
    return defects


def _words(text: str) -> Iterator[tuple[int, str]]:
    for token in code_tokens(text):
        for match in WORD.finditer(token.string):
            yield token.start[0], match.group()


def _device_in(word: str) -> bool:
    return any(piece.lower() in NAMES for piece in PIECE.findall(word))
