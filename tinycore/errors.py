"""The errors and the one warning that a user of tinycore can meet.

Each inherits what users of numpy and PyTorch already catch. A message reads
`<operation>: <what is wrong, with values>; <what was expected>. <what to do>`.
"""

import functools
import warnings


class TinycoreError(Exception):
    """Anything tinycore raises on purpose."""


class ShapeError(TinycoreError, ValueError, RuntimeError):
    """Shapes or axes do not fit."""


class IndexingError(TinycoreError, IndexError):
    """An index is out of range or cannot index."""


class DTypeError(TinycoreError, TypeError, RuntimeError):
    """A dtype is unknown or does not fit."""


class DeviceError(TinycoreError, ValueError, RuntimeError):
    """A device is unknown, or operands live on different ones."""


class ArgumentError(TinycoreError, ValueError):
    """An argument has a value that is not accepted."""


class GradientError(TinycoreError, RuntimeError):
    """A gradient is not defined."""


class CaptureError(TinycoreError, RuntimeError):
    """A replay could not repeat what a function does."""


class ConfigError(TinycoreError, ValueError):
    """A setting is unknown, or its value out of range."""


class DatasetError(TinycoreError, OSError):
    """A data set is not in the cache and could not be fetched."""


class ParseError(TinycoreError, ValueError):
    """Text of the compiler's IR cannot be read."""


class SpecError(TinycoreError, RuntimeError):
    """A program breaks a rule of the IR: a defect of tinycore or of a plugin."""


class TinycoreWarning(UserWarning):
    """Something was left out or worked around."""


def warn(text: str) -> None:
    """Show one line of warning, through the standard `warnings`."""
    warnings.warn_explicit(text, TinycoreWarning, filename="tinycore", lineno=1)


warn_once = functools.cache(warn)
"""Show a warning the first time alone."""
