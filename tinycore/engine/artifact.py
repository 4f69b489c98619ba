"""What the compiler leaves on disk: the launches one scheduled kernel became.

Comes in: parts with their object code. Goes out: bytes (a JSON header, then the objects), and the
same parts read back. compile.py keeps them under a key that names all they depend on.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tinycore.dtype import DType, to_dtype
from tinycore.runtime.program import Launch


class Part(NamedTuple):
    """One launch: object code, the arguments it takes and its size.

    `args` number the parameters of the scheduled kernel, then the temporaries; `values` are the
    names of the variables it is told.
    """

    name: str
    binary: bytes
    args: tuple[int, ...]
    values: tuple[str, ...]
    launch: Launch


class Artifact(NamedTuple):
    """The launches in order, and the element type and count of each temporary."""

    parts: tuple[Part, ...]
    temps: tuple[tuple[DType, int], ...]


def to_bytes(artifact: Artifact) -> bytes:
    """The artifact as one run of bytes."""
    header = {
        "temps": [[dtype.name, count] for dtype, count in artifact.temps],
        "parts": [
            [part.name, len(part.binary), part.args, part.values, part.launch]
            for part in artifact.parts
        ],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b"\n" + b"".join([part.binary for part in artifact.parts])


def from_bytes(entry: bytes) -> Artifact:
    """What `to_bytes` wrote; the cache has checked that nobody changed it."""
    end = entry.index(b"\n")
    header: dict[str, list[Any]] = json.loads(entry[:end])
    parts, begin = [], end + 1
    for name, length, args, values, launch in header["parts"]:
        binary = entry[begin : begin + length]
        parts.append(Part(name, binary, tuple(args), tuple(values), _launch(launch)))
        begin += length
    temps = tuple([(to_dtype(name), count) for name, count in header["temps"]])
    return Artifact(tuple(parts), temps)


def _launch(fields: list[Any]) -> Launch:
    grid, group, scratch_bytes = fields
    return Launch(tuple(grid), tuple(group), scratch_bytes)
