"""The tensors of a model by name: found, loaded, saved as safetensors.

Comes in: any object that holds tensors. Goes out: a dictionary of them; files. Next: datasets.py.
Source: the safetensors format, a length, a JSON header and the bytes.
"""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from tinycore.dtype import DType, dtypes
from tinycore.errors import ArgumentError, ShapeError
from tinycore.tensor import Tensor
from tinycore.util import listed, prod

Path_ = str | PathLike[str]
Tensors = Mapping[str, Tensor]

_NAMES = {
    "BOOL": dtypes.bool,
    "I8": dtypes.int8,
    "U8": dtypes.uint8,
    "I16": dtypes.int16,
    "U16": dtypes.uint16,
    "I32": dtypes.int32,
    "U32": dtypes.uint32,
    "I64": dtypes.int64,
    "U64": dtypes.uint64,
    "F8_E4M3": dtypes.fp8e4m3,
    "F8_E5M2": dtypes.fp8e5m2,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "F32": dtypes.float32,
    "F64": dtypes.float64,
}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000


def get_state_dict(obj: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor below an object, by the path to it: attributes, keys and numbers, with dots.

    >>> list(get_state_dict({"a": [Tensor(1), Tensor(2)]}))
    ['a.0', 'a.1']
    """
    found = {}
    work = [(prefix.rstrip("."), obj)]
    seen = set()
    while work:
        name, item = work.pop()
        if isinstance(item, Tensor):
            found[name] = item
        elif id(item) not in seen:
            seen.add(id(item))
            for key, part in reversed(_parts(item)):
                path = f"{name}.{key}".lstrip(".")
                work.append((path, part))
    return found


def _parts(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, list | tuple):
        names = getattr(item, "_fields", range(len(item)))
        item = dict(zip(names, item, strict=True))
    if not isinstance(item, dict):
        item = getattr(item, "__dict__", {})
    return [(str(name), part) for name, part in item.items()]


def get_parameters(obj: Any) -> list[Tensor]:
    """Every tensor below an object.

    >>> len(get_parameters([Tensor(1), Tensor(2)]))
    2
    """
    return list(get_state_dict(obj).values())


def load_state_dict(
    model: Any,
    state_dict: Tensors,
    strict: bool = True,
    verbose: bool = False,
) -> list[str]:
    """Put the values of a dictionary into the tensors of a model; returns the names put.

    Raises: ArgumentError if names differ and strict is set; ShapeError if shapes do.

    >>> load_state_dict({"a": Tensor(1)}, {"a": Tensor(2)})
    ['a']
    """
    targets = get_state_dict(model)
    if strict:
        _check_names(targets, state_dict)
    names = [name for name in targets if name in state_dict]
    loaded = [targets[name] for name in names]
    for name, target in zip(names, loaded, strict=True):
        _load(name, target, state_dict[name])
        if verbose:
            print(f"{name}: {target.shape}")
    if loaded:
        first, *others = loaded
        first.realize(*others)
    return names


def _check_names(targets: Tensors, given: Tensors) -> None:
    missing = [name for name in targets if name not in given]
    unknown = [name for name in given if name not in targets]
    if missing or unknown:
        raise ArgumentError(
            f"load_state_dict: missing {listed(missing)}, unknown {listed(unknown)}; "
            "expected the names of the model. Pass strict=False to load what fits"
        )


def _load(name: str, target: Tensor, value: Tensor) -> None:
    if target.shape != value.shape:
        raise ShapeError(
            f"load_state_dict: {name} has shape {value.shape}; the model has {target.shape}. "
            "Load into a model of the same sizes"
        )
    with Tensor.no_grad():
        moved = value.to(target.device)
        target.assign(moved.cast(target.dtype))


class _Entry(NamedTuple):
    dtype: DType
    shape: tuple[int, ...]
    begin: int
    end: int


def safe_save(
    tensors: Tensors,
    fn: Path_,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors to a safetensors file.

    Raises: ArgumentError if a value is no tensor.

    >>> import os
    >>> safe_save({"a": Tensor(1.0)}, os.devnull)
    """
    words = {dtype: word for word, dtype in _NAMES.items()}
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    end = 0
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"safe_save: {name} has type {type(tensor).__name__}; expected a tensor. "
                "Wrap data in Tensor(...)"
            )
        begin = end
        end += tensor.nbytes()
        header[name] = {
            "dtype": words[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    dumped = json.dumps(header, separators=(",", ":"))
    text = dumped.encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    with open(fn, "wb") as file:
        length = len(text).to_bytes(_LENGTH_BYTES, "little")
        file.write(length)
        file.write(text)
        for tensor in tensors.values():
            file.write(tensor.raw())


def safe_load(fn: Path_ | bytes, device: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of its bytes.

    Raises: ArgumentError if it is none, or its header does not fit.

    >>> safe_load(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}")
    {}
    """
    if isinstance(fn, bytes):
        name = "bytes"
        raw = fn
    else:
        name = str(fn)
        raw = Path(fn).read_bytes()
    entries, start = _header(raw, name)
    body = memoryview(raw)[start:]
    found = {}
    for key, entry in entries.items():
        own = body[entry.begin : entry.end]
        found[key] = Tensor.of_bytes(own, entry.shape, entry.dtype, device)
    return found


def _header(raw: bytes, name: str) -> tuple[dict[str, _Entry], int]:
    length = int.from_bytes(raw[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    is_short = len(raw) < _LENGTH_BYTES or start > len(raw)
    if is_short or length > _MAX_HEADER_BYTES:
        raise _broken(f"{name} of length {len(raw)} hold no header")
    try:
        rows = json.loads(raw[_LENGTH_BYTES:start])
        entries = {key: _entry(row) for key, row in rows.items() if key != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(f"{name} has a header that cannot be read: {error!r}") from None
    for key, entry in entries.items():
        size = prod(entry.shape) * entry.dtype.itemsize
        most = len(raw) - start
        is_inside = entry.begin >= 0 and entry.end <= most
        if not is_inside or entry.end - entry.begin != size:
            raise _broken(f"{name} has no {size} bytes for {key} at {entry.begin} to {entry.end}")
    return entries, start


def _entry(row: Mapping[str, Any]) -> _Entry:
    begin, end = map(int, row["data_offsets"])
    shape = tuple(map(int, row["shape"]))
    dtype = _NAMES[row["dtype"]]
    return _Entry(dtype, shape, begin, end)


def _broken(what: str) -> ArgumentError:
    return ArgumentError(
        f"safe_load: {what}; expected a safetensors file. Write it again, or fetch it again"
    )
