"""States are found by name, saved and loaded bit by bit; broken files are refused."""

import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tinycore import nn
from tinycore.dtype import dtypes
from tinycore.errors import ArgumentError, ShapeError
from tinycore.nn.state import get_parameters, get_state_dict, load_state_dict, safe_load, safe_save
from tinycore.tensor import Tensor


class Model:
    def __init__(self) -> None:
        self.layers = [nn.Linear(2, 3), lambda x: x.relu(), nn.Linear(3, 1, bias=False)]
        self.scale = Tensor([1.0])
        self.count = 3


def test_names_are_paths() -> None:
    assert list(get_state_dict(Model())) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.2.weight",
        "scale",
    ]
    Pair = namedtuple("Pair", ["a", "b"])
    assert list(get_state_dict({"x": Pair(Tensor([1]), (Tensor([2]),))})) == ["x.a", "x.b.0"]
    assert list(get_state_dict([Tensor([1])], "net.")) == ["net.0"]


def test_an_object_that_holds_itself_is_walked_once() -> None:
    model = Model()
    model.me = model  # type: ignore[attr-defined]
    assert len(get_parameters(model)) == 4


def test_a_state_goes_from_one_model_to_another() -> None:
    a, b = Model(), Model()
    names = load_state_dict(b, get_state_dict(a))
    assert names == list(get_state_dict(a))
    for name, tensor in get_state_dict(a).items():
        assert get_state_dict(b)[name].tolist() == tensor.tolist()
    a.scale.assign(5.0)
    same(b.scale, [1.0])


def test_values_are_cast_to_the_models_type() -> None:
    model = {"a": Tensor([0.0])}
    load_state_dict(model, {"a": Tensor([1.5], dtype="float64")})
    assert (model["a"].dtype, model["a"].item()) == (dtypes.float32, 1.5)


def test_every_type_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    tensors = {row.name: Tensor([[0, 1, 1]], dtype=row) for row in dtypes.all}
    tensors["scalar"] = Tensor(2.5)
    tensors["empty"] = Tensor(np.zeros((0, 3), np.float32))
    tensors["view"] = Tensor([[1, 2], [3, 4]]).T
    safe_save(tensors, path, metadata={"made": "here"})
    loaded = safe_load(path)
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert loaded[name].tolist() == tensor.tolist()
    header = path.read_bytes()[8:]
    assert json.loads(header[: header.index(b"}}") + 2])["__metadata__"] == {"made": "here"}


def test_the_bytes_are_the_formats() -> None:
    text = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    raw = len(text).to_bytes(8, "little") + text + np.array([1, 2], np.float32).tobytes()
    same(safe_load(raw)["x"], [1, 2])


def file(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"abc", "bytes of length 3 hold no header"),
        (b"\xff" * 16, "bytes of length 16 hold no header"),
        (file(b"{", b""), "bytes has a header that cannot be read: JSONDecodeError"),
        (file([1]), "bytes has a header that cannot be read: AttributeError"),
        (file({"x": {"dtype": "F32"}}), "bytes has a header that cannot be read: KeyError"),
        (file({"x": {**ROW, "dtype": "F1"}}, bytes(8)), "cannot be read: KeyError('F1')"),
        (file({"x": ROW}, bytes(4)), "bytes has no 8 bytes for x at 0 to 8"),
        (
            file({"x": {**ROW, "data_offsets": [0, 4]}}, bytes(8)),
            "bytes has no 8 bytes for x at 0 to 4",
        ),
        (
            file({"x": {**ROW, "data_offsets": [-8, 0]}}, bytes(8)),
            "bytes has no 8 bytes for x at -8 to 0",
        ),
    ],
)
def test_a_broken_file_is_refused(raw: bytes, what: str) -> None:
    text = message(ArgumentError, lambda: safe_load(raw))
    assert text.startswith("safe_load: ")
    assert what in text
    assert text.endswith("; expected a safetensors file. Write it again, or fetch it again")


def test_names_that_differ_are_refused() -> None:
    model = {"a": Tensor([1.0]), "b": Tensor([1.0])}
    given = {"a": Tensor([2.0]), "c": Tensor([2.0])}
    assert message(ArgumentError, lambda: load_state_dict(model, given)) == (
        "load_state_dict: missing b, unknown c; expected the names of the model. "
        "Pass strict=False to load what fits"
    )
    assert load_state_dict(model, given, strict=False) == ["a"]
    same(model["a"], [2.0])


def test_shapes_that_differ_are_refused() -> None:
    assert message(
        ShapeError, lambda: load_state_dict({"a": Tensor([1.0])}, {"a": Tensor([1.0, 2.0])})
    ) == (
        "load_state_dict: a has shape (2,); the model has (1,). Load into a model of the same sizes"
    )
