"""Rows as a picture: a bar each of our speed over the best peer's, with a mark at its goal.

Comes in: rows. Goes out: the text of an SVG file. The axis is logarithmic: half as fast and twice
as fast lie equally far from 1. Next file: __main__.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from xml.sax.saxutils import escape

from benchmarks.report import title
from benchmarks.row import Row

LEFT, WIDTH, RIGHT = 260, 520, 180  # pixels: names, bars, figures
TOP, STEP, BAR = 70, 22, 14
TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
MET, MISSED, BEHIND = "#2e8540", "#e0a030", "#c0392b"
LEGEND = (
    "speed over the best peer's; black: its goal; green: all goals met; "
    "red: a peer is over 10 % ahead"
)
STYLE = """text { font: 12px Verdana, DejaVu Sans, sans-serif } .grid { stroke: #ddd }
.goal { stroke: #000; stroke-width: 2 }"""


def svg(rows: Sequence[Row], heading: str) -> str:
    """The picture of those rows that have a ratio."""
    shown = [row for row in rows if row.ratio is not None]
    reach = [value for row in shown for value in (row.ratio or 1.0, row.case.goal)]
    ticks = [tick for tick in TICKS if min(reach, default=1) / 2 < tick < max(reach, default=1) * 2]
    axis = _Axis(min([0.5, *ticks]), max([2.0, *ticks]))
    height = TOP + STEP * len(shown) + 30
    size = LEFT + WIDTH + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{height}" '
        f'viewBox="0 0 {size} {height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{size}" height="{height}" fill="white"/>',
        _text(16, 24, heading),
        _text(16, 44, LEGEND),
        *(_tick(axis, tick, height) for tick in ticks),
        *(_bar(axis, row, TOP + STEP * number) for number, row in enumerate(shown)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Axis:
    """Places of ratios, in pixels."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def at(self, ratio: float) -> float:
        """Where a ratio lies; what is beyond the ends lies on them."""
        held = min(max(ratio, self.low), self.high)
        return LEFT + WIDTH * log2(held / self.low) / log2(self.high / self.low)


def _tick(axis: _Axis, ratio: float, height: int) -> str:
    x = axis.at(ratio)
    line = f'<line class="grid" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 24}"/>'
    return line + _text(x, height - 8, f"{ratio:g}", "middle")


def _bar(axis: _Axis, row: Row, y: float) -> str:
    assert row.ratio is not None, "only rows with a ratio are shown"
    fill = BEHIND if row.is_behind else MET if row.is_met else MISSED
    begin, end = sorted((axis.at(1.0), axis.at(row.ratio)))
    goal = axis.at(row.case.goal)
    return "\n".join(
        [
            _text(LEFT - 8, y + 12, title(row), "end"),
            f'<rect x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" height="{BAR}" '
            f'fill="{fill}"/>',
            f'<line class="goal" x1="{goal:.1f}" y1="{y - 2}" x2="{goal:.1f}" y2="{y + BAR + 2}"/>',
            _text(LEFT + WIDTH + 8, y + 12, f"{row.ratio:.2f} of {row.best_peer}"),
        ]
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
