"""The errors and the one warning a user of tinycore can meet.

In: nothing. Out: exception classes that inherit what users of numpy and PyTorch already catch.
A message reads `<operation>: <what is wrong, with values>; <what was expected>. <what to do>`.
Errors of devices are in runtime/errors.py.
"""

import functools
import warnings


class TinycoreError(Exception):
    """Anything tinycore raises on purpose: catch this one to catch them all."""


class ShapeError(TinycoreError, ValueError, RuntimeError):
    """Shapes or axes do not fit the operation."""


class IndexingError(TinycoreError, IndexError):
    """An index lies outside its axis, or has a form that cannot index."""


class DTypeError(TinycoreError, TypeError, RuntimeError):
    """A dtype is unknown, or the operation does not take it."""


class DeviceError(TinycoreError, ValueError, RuntimeError):
    """A device name is unknown or malformed, or operands live on different devices."""


class ArgumentError(TinycoreError, ValueError):
    """An argument has a value the operation does not accept."""


class GradientError(TinycoreError, RuntimeError):
    """A gradient was asked for where none is defined."""


class CaptureError(TinycoreError, RuntimeError):
    """A captured function does something that a replay could not do again."""


class ConfigError(TinycoreError, ValueError):
    """A setting is unknown, or its value is outside its range."""


class DatasetError(TinycoreError, OSError):
    """A data set is not in the cache and could not be fetched."""


class ParseError(TinycoreError, ValueError):
    """Text of the compiler's IR cannot be read."""


class SpecError(TinycoreError, RuntimeError):
    """A program breaks a rule of the compiler's IR: a defect of tinycore or of a plugin."""


class TinycoreWarning(UserWarning):
    """Something was left out or worked around; the program goes on."""


def warn(text: str) -> None:
    """Show one line of warning; the standard `warnings` filters apply to it."""
    warnings.warn_explicit(text, TinycoreWarning, filename="tinycore", lineno=1)


@functools.cache
def warn_once(text: str) -> None:
    """Show one line of warning, the first time alone."""
    warn(text)
