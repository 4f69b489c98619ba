"""Rows told to a reader, as text while they come, and as JSON with the facts of the machine.

Comes in: rows. Goes out: lines, a summary, a document. Next file: plot.py.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.row import CEILINGS, OURS, Row


def title(row: Row) -> str:
    """The case and its sizes."""
    return f"{row.case.name} {'x'.join(map(str, row.case.sizes))}"


def told(row: Row) -> str:
    """A row in a few lines: our figure beside goal and ceiling, then every other contender's."""
    lines = [f"{title(row):34} {_ours(row)}"]
    others = [name for name in row.seconds if name not in (OURS, *CEILINGS)]
    if others:
        lines.append("    " + "  ".join(_figure(row, name) for name in others))
    if row.is_noisy:
        lines.append(
            f"    NOISY: by the fastest turns {row.fastest_ratio:.2f} of {row.fastest_peer}"
        )
    lines += [f"    ABOVE THE CEILING: {name} at {_rate(row, name)}" for name in row.above_ceiling]
    lines += [f"    FAILED: {name}: {why}" for name, why in row.failures.items()]
    return "\n".join(lines)


def _ours(row: Row) -> str:
    if OURS not in row.seconds:
        return "not timed"
    parts = [f"{_figure(row, OURS, is_named=False)} {_rate(row, OURS)}", *_judged(row)]
    counts = row.counts.get(OURS)
    if counts:
        parts.append(f"{counts['launches']} launches, {counts['bytes'] / 1e6:.1f} MB")
    return "  ".join(parts)


def _judged(row: Row) -> list[str]:
    parts = []
    if row.ratio is not None:
        parts.append(f"{row.ratio:.2f} of {row.best_peer} ({_goal(row.ratio, row.case.goal)})")
    if row.share is not None and row.ceiling is not None:
        goal = f" ({_goal(row.share, row.case.share)})" if row.case.share else ""
        parts.append(f"{row.share:.2f} of the ceiling {_rate(row, row.ceiling)}{goal}")
    return parts


def _goal(found: float, goal: float) -> str:
    return f"goal {goal:g}, {'met' if found >= goal else 'NOT met'}"


def _figure(row: Row, name: str, is_named: bool = True) -> str:
    turns = len(row.times[name])
    few = f", {turns} turns" if turns < max(map(len, row.times.values())) else ""
    figure = f"{1e3 * row.seconds[name]:.3f} ms (spread {100 * row.spread[name]:.0f} %{few})"
    return f"{name} {figure}" if is_named else figure


def _rate(row: Row, name: str) -> str:
    return f"{row.rate(name):.1f} {row.case.facts.unit}"


def summary(rows: Sequence[Row]) -> str:
    """How many rows reach their goals, and which do not by more than noise."""
    judged = [row for row in rows if row.is_met is not None]
    met = [row for row in judged if row.is_met]
    behind = sorted((row for row in judged if row.is_behind), key=lambda row: row.ratio or 0)
    lines = [f"{len(met)} of {len(judged)} rows at their goals, of {len(rows)} measured"]
    lines.append(f"{len(behind)} rows where a peer is more than 10 % ahead")
    for row in behind:
        lines.append(f"    {title(row):34} {row.ratio:.2f} of {row.best_peer}")
    noisy = [title(row) for row in rows if row.is_noisy]
    if noisy:
        lines.append(f"{len(noisy)} rows to measure again, too noisy: {', '.join(noisy)}")
    above = [f"{title(row)}: {', '.join(row.above_ceiling)}" for row in rows if row.above_ceiling]
    lines += [f"above the ceiling, an error to find: {one}" for one in above]
    failed = [f"{title(row)}: {', '.join(row.failures)}" for row in rows if row.failures]
    lines += [f"failed in {one}" for one in failed]
    return "\n".join(lines)


def document(rows: Sequence[Row], options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found, for a file."""
    return {"machine": machine(), "options": options, "rows": [record(row) for row in rows]}


def record(row: Row) -> dict[str, Any]:
    """One row with what follows from it."""
    case = {"name": row.case.name, "sizes": row.case.sizes, "dtype": row.case.dtype}
    found = {key: value for key, value in asdict(row).items() if key != "case"}
    return {
        **case,
        **found,
        "unit": row.case.facts.unit,
        "seconds": row.seconds,
        "spread": row.spread,
        "rates": {name: row.rate(name) for name in row.seconds},
        "goal": row.case.goal,
        "goal_of_ceiling": row.case.share,
        "best_peer": row.best_peer,
        "ratio": row.ratio,
        "fastest_peer": row.fastest_peer,
        "fastest_ratio": row.fastest_ratio,
        "is_noisy": row.is_noisy,
        "of_ceiling": row.share,
        "is_met": row.is_met,
        "above_ceiling": row.above_ceiling,
    }


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }
