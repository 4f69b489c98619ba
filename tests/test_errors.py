"""Errors can be caught the way users of numpy and PyTorch already do."""

import pickle

import pytest

from tinycore import errors
from tinycore.errors import TinycoreWarning, warn
from tinycore.runtime import contract
from tinycore.runtime.contract import BackendError, CompileError, OutOfMemory, Unsupported


@pytest.mark.parametrize(
    ("name", "builtins"),
    [
        ("ShapeError", (ValueError, RuntimeError)),
        ("IndexingError", (IndexError,)),
        ("DTypeError", (TypeError, RuntimeError)),
        ("DeviceError", (ValueError, RuntimeError)),
        ("ConfigError", (ValueError,)),
        ("GradientError", (RuntimeError,)),
    ],
)
def test_a_users_mistake_is_caught_by_the_builtin_they_expect(
    name: str, builtins: tuple[type[Exception], ...]
) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.TinycoreError)
    for builtin in builtins:
        assert issubclass(kind, builtin)


def test_device_errors_are_caught_by_the_builtin_they_expect() -> None:
    assert issubclass(OutOfMemory, MemoryError)
    assert issubclass(Unsupported, NotImplementedError)
    assert issubclass(BackendError, RuntimeError)


def test_a_device_error_names_device_and_remedy() -> None:
    error = BackendError("driver 525 found; 535 needed", "FOO", "update the driver")
    assert str(error) == "FOO: driver 525 found; 535 needed. update the driver"
    assert str(BackendError("it broke")) == "it broke"


def test_every_device_error_survives_the_way_home_from_a_worker() -> None:
    for name in ("Unavailable", "OutOfMemory", "LaunchError", "DeviceLost", "ApiMismatch"):
        kind = getattr(contract, name)
        copy = pickle.loads(pickle.dumps(kind("what", "FOO", "hint")))
        assert (type(copy), str(copy)) == (kind, "FOO: what. hint")
    sent = CompileError("bad", "FOO", source="x = ;", line=1, log="expected expression")
    copy = pickle.loads(pickle.dumps(sent))
    assert (copy.source, copy.line, copy.log) == ("x = ;", 1, "expected expression")


def test_a_warning_can_be_filtered_like_any_other() -> None:
    with pytest.warns(TinycoreWarning, match="^left out$") as caught:
        warn("left out")
    assert len(caught) == 1
