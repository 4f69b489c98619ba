"""Finds what machine code needs from outside: libc, libm and the compiler's run-time library.

In: a symbol's name. Out: its address in this process. image.py asks.
"""

from __future__ import annotations

import ctypes
import functools

# After the process itself; the last holds conversions of half floats that old processors lack.
_LIBRARIES = ("libm.so.6", "libgcc_s.so.1")


@functools.cache
def process() -> ctypes.CDLL:
    """The libraries already in this process, libc among them."""
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def find_address(name: str) -> int:
    """The address of a C function or variable.

    Raises: KeyError if no library has it.
    """
    libraries = (process(), *_others())
    for library in libraries:
        if hasattr(library, name):
            pointer = ctypes.cast(getattr(library, name), ctypes.c_void_p)
            return pointer.value or 0
    raise KeyError(name)


@functools.cache
def _others() -> tuple[ctypes.CDLL, ...]:
    opened = [_open(name) for name in _LIBRARIES]
    return tuple(library for library in opened if library is not None)


def _open(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def has_symbols(*names: str) -> bool:
    """Whether the process itself has all these C functions."""
    return all(hasattr(process(), name) for name in names)
