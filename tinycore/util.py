"""Small pure helpers that every floor may use, and the one late road to numpy."""

import difflib
import functools
import importlib
from collections.abc import Hashable, Iterable
from math import prod as prod
from typing import TypeVar

H = TypeVar("H", bound=Hashable)


np = functools.cache(lambda: importlib.import_module("numpy"))
"""The numpy module, imported at the first call: `import tinycore` must not pay for it."""


def ceildiv(numerator: int, denominator: int) -> int:
    """The quotient rounded up."""
    return -(-numerator // denominator)


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple that is at least `number`."""
    return ceildiv(number, multiple) * multiple


def dedup(items: Iterable[H]) -> list[H]:
    """The items without repeats, by first appearance."""
    return list(dict.fromkeys(items))


def listed(words: Iterable[str]) -> str:
    """Words in a sentence: "none", "a", "a and b", "a, b and c"."""
    *front, last = list(words) or ["none"]
    return f"{', '.join(front)} and {last}" if front else last


def near(word: str, known: Iterable[str]) -> list[str]:
    """Up to three known words like `word`, the nearest first."""
    by_upper = {item.upper(): item for item in known}
    hits = difflib.get_close_matches(word.upper(), by_upper)
    return [by_upper[hit] for hit in hits]


def format_bytes(size_bytes: int) -> str:
    """A readable size: `format_bytes(1536)` is "1.5 KiB"."""
    power = min((size_bytes.bit_length() - 1) // 10, 4)
    if power < 1:
        return f"{size_bytes} B"
    return f"{size_bytes / 1024**power:.1f} {'KMGT'[power - 1]}iB"


def format_seconds(time_s: float) -> str:
    """A readable duration: `format_seconds(0.0012)` is "1.20 ms"."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if abs(time_s) * scale >= 1:
            return f"{time_s * scale:.2f} {unit}"
    return f"{time_s * 1e9:.0f} ns"
