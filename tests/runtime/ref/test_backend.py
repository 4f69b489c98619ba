"""The interpreter is a device like any other: found, opened, given memory, launched."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.runtime.ref import kernel_of
from tinycore.config import CHECK_OOB, Context
from tinycore.dtype import dtypes
from tinycore.runtime.contract import Backend, Handle, Launch, Unsupported
from tinycore.runtime.ref import RefError
from tinycore.runtime.ref.backend import BACKEND, HostAllocator, KernelProgram
from tinycore.runtime.registry import Device
from tinycore.uop.index import TABLES, Tables

TEXT = """
kernel scaled(X f32[4], ids i32[2], Y f32[2], n in 1..9)
  par i:2: Y[i] = f32(n) * X[ids[i] in 4]
"""


def filled(allocator: HostAllocator, array: np.ndarray) -> Handle:
    """Device memory that holds an array."""
    handle = allocator.alloc(array.nbytes, "host", 64)
    allocator.copyin(handle, array.view(np.uint8).data)
    return handle


def test_it_is_built_in_and_open_by_name() -> None:
    device = Device["REF"]
    assert isinstance(BACKEND, Backend) and BACKEND.count() == 1
    assert device.target.arch == "numpy"
    assert set(device.caps.supported_dtypes()) == set(dtypes.all)
    assert device.renderer.takes == "kernel"


def test_a_kernel_is_its_own_object_code() -> None:
    target = BACKEND.target("")
    assert target.renderer is not None and target.compiler is not None
    source = target.renderer.render(kernel_of(TEXT))
    assert source.startswith("kernel k(n in 1..9, b0 f32[4], b1 i32[2], b2 f32[2])\n")
    binary = target.compiler.compile(source)
    device = BACKEND.open(0)
    allocator = HostAllocator()
    x = filled(allocator, np.arange(4, dtype=np.float32))
    ids = filled(allocator, np.array([3, -2], np.int32))
    y = allocator.alloc(8, "host", 64)
    assert device.load(binary, "scaled")([x, ids, y], [5], Launch(), True) is None
    device.synchronize()
    found = np.zeros(2, np.float32)
    allocator.copyout(found.view(np.uint8).data, y)
    assert found.tolist() == [15, 10]
    device.close()


def test_check_oob_refuses_what_is_gathered_outside() -> None:
    target = BACKEND.target("numpy")
    assert target.renderer is not None and target.compiler is not None
    binary = target.compiler.compile(target.renderer.render(kernel_of(TEXT)))
    program = BACKEND.open(0).load(binary, "scaled")
    allocator = HostAllocator()
    x = filled(allocator, np.ones(4, np.float32))
    ids = filled(allocator, np.array([4, 0], np.int32))
    y = allocator.alloc(8, "host", 64)
    program([x, ids, y], [1], Launch())
    with Context(CHECK_OOB=1), pytest.raises(RefError, match="index 4 is gathered"):
        program([x, ids, y], [1], Launch())
    assert CHECK_OOB.value == 0


def test_memory_is_aligned_and_shared() -> None:
    allocator = HostAllocator()
    first = filled(allocator, np.arange(10, dtype=np.uint8))
    assert isinstance(first, np.ndarray) and first.ctypes.data % 64 == 0
    view = allocator.view(first, 3)
    assert view is not None and view.tolist() == [0, 1, 2]
    view[0] = 99
    assert first[0] == 99
    allocator.free(first)


def test_another_architecture_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="'sm_90' is unknown; expected numpy"):
        BACKEND.target("sm_90")


@pytest.fixture
def tables() -> Iterator[Tables]:
    """The tables of index values, at the end as they were: trees of other tests hold values."""
    tables = [table for table in vars(TABLES).values() if isinstance(table, dict)]
    before = [dict(table) for table in tables]
    yield TABLES
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def test_a_program_outlives_the_tables_of_index_values(tables: Tables) -> None:
    body = "par i:2: par j:6: Y[i, j] = X[(6*i + j)//4, (6*i + j)%4]"
    program = KernelProgram(f"kernel k(X f32[3, 4], Y f32[2, 6])\n  {body}\n")
    x, y = np.arange(12, dtype=np.float32), np.zeros(12, np.float32)
    for _ in range(2):
        tables.clear()
        y[:] = 0
        program([x.view(np.uint8), y.view(np.uint8)], [])
        assert y.tolist() == list(range(12))
