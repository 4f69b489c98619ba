"""The numbers that variables stand for now: what a launch is told of `Variable("n", 1, 32)`.

Comes in: names and numbers. Goes out: the numbers by name. Graphs and plans hold names and bounds
alone, so that one compiled kernel serves every number; realize.py binds.
"""

from __future__ import annotations

from collections.abc import Mapping

_bound: dict[str, int] = {}


def bound_values() -> Mapping[str, int]:
    """The number every bound variable stands for now."""
    return _bound


def set_bound(name: str, value: int) -> None:
    """Let `name` stand for `value` from now on; realize.bind_variable keeps pending work right."""
    _bound[name] = value
