"""Small helpers: each one thing, exactly."""

import subprocess
import sys

import pytest

from tinycore import util


def test_products_and_roundings_are_exact_integers() -> None:
    assert util.prod([]) == 1
    assert util.prod([2, 3, 1 << 70]) == 6 << 70
    assert [util.ceildiv(n, 4) for n in (0, 1, 4, 5, -1)] == [0, 1, 1, 2, 0]
    assert [util.round_up(n, 64) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]


def test_sequences_keep_their_order() -> None:
    assert util.dedup([3, 1, 3, 2, 1]) == [3, 1, 2]


def test_lists_read_as_prose() -> None:
    assert util.listed([]) == "none"
    assert util.listed(["a"]) == "a"
    assert util.listed(["a", "b", "c"]) == "a, b and c"


def test_near_ignores_case_and_says_nothing_when_nothing_is_near() -> None:
    assert util.near("debg", ["DEBUG", "BEAM", "JIT"]) == ["DEBUG"]
    assert util.near("zzz", ["DEBUG", "BEAM"]) == []


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 30, "3.0 GiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_sizes_get_a_readable_unit(size_bytes: int, text: str) -> None:
    assert util.format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("time_s", "text"), [(2.5, "2.50 s"), (0.0012, "1.20 ms"), (3e-6, "3.00 us"), (5e-9, "5 ns")]
)
def test_durations_get_a_readable_unit(time_s: float, text: str) -> None:
    assert util.format_seconds(time_s) == text


def test_numpy_is_imported_at_the_first_call_only() -> None:
    code = (
        "import sys; from tinycore.util import np; print('numpy' in sys.modules, "
        "int(np().arange(3).sum()), 'numpy' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False 3 True\n"
