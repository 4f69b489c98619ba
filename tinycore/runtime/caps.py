"""What a device can do: facts a device package states once and the whole compiler reads.

In: keyword values from a device package. Out: frozen `Caps`, which reports hold as JSON.
A false *contract* field fails conformance; a false *hint* only costs speed.
Next: contract.py, whose `Target` carries them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tinycore.dtype import DType, to_dtype
from tinycore.errors import ArgumentError

_CHOICES: dict[str, tuple[object, ...]] = {
    "denormals": ("preserve", "flush", "either"),
    "rounding": ("nearest", "zero", "either"),
    "matmul_f32": ("ieee", "tf32"),
    "thread_safety": (0, 1, 2, 3),
}


@dataclass(frozen=True)
class Space:
    """One memory a buffer can live in. Units: bytes."""

    name: str
    size_bytes: int
    alignment: int = 64
    host_visible: bool = False
    coherent: bool = False
    opaque: bool = False


def _hint(default: Any) -> Any:
    return field(default=default, metadata={"part": "hint"})


@dataclass(frozen=True)
class Caps:
    """The capabilities of one architecture; a field left at its default claims the least.

    `dtypes` are computed natively, `emulated` by longer code, `storage` only loaded and stored;
    all three hold names of tinycore.dtype. `ops` names lowered ops; none means every one.
    `spaces` starts with the default space, `tile_spaces` are the places STAGE may use.
    `max_group` and `max_grid` are x, y, z. `virtual` is how many indexes may share one device.
    `thread_safety`: 0 one thread, 1 one at a time, 2 distinct objects, 3 any.
    Hints: `units` are workers side by side (cores, multiprocessors), `lanes` the threads that run
    as one, `registers` vector registers of `vector_bytes` each, `cache_bytes` from the nearest
    level, `row` the elements of a stage above which it must not share a narrow kernel.
    """

    dtypes: tuple[str, ...]
    spaces: tuple[Space, ...]
    emulated: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    atomics: tuple[str, ...] = ()
    tile_spaces: tuple[str, ...] = ("reg",)
    max_allocation_bytes: int = 1 << 31
    offset_alignment: int = 64
    max_buffers: int = 8
    max_group: tuple[int, int, int] = (1, 1, 1)
    max_group_threads: int = 1
    max_grid: tuple[int, int, int] = (65535, 65535, 65535)
    group_bytes: int = 0
    denormals: str = "either"
    contraction: bool = True
    rounding: str = "nearest"
    matmul_f32: str = "ieee"
    images: bool = False
    deterministic: bool = False
    thread_safety: int = 1
    codegen: bool = True
    virtual: int = 1
    version: int = 1
    units: int = _hint(1)
    lanes: int = _hint(1)
    vector_bytes: int = _hint(16)
    registers: int = _hint(16)
    cache_bytes: tuple[int, ...] = _hint(())
    row: int = _hint(1024)
    graph: bool = _hint(False)

    def __post_init__(self) -> None:
        if not self.dtypes or not self.spaces:
            raise ArgumentError("Caps: dtypes or spaces is empty; expected at least one of each")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ArgumentError(f"Caps: {name} is {value!r}; expected one of {choices}")
        for name in (*self.dtypes, *self.emulated, *self.storage):
            to_dtype(name)

    def supported_dtypes(self) -> tuple[DType, ...]:
        """Every dtype a buffer of this device may have: native, emulated and storage only."""
        names = (*self.dtypes, *self.emulated, *self.storage)
        return tuple(dict.fromkeys(to_dtype(name) for name in names))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, contract and hints apart, for reports."""
        values = asdict(self)
        version = values.pop("version")
        hints = {row.name: values.pop(row.name) for row in fields(self) if row.metadata}
        return {"version": version, "contract": values, "hints": hints}
