"""What one case came to: times, ratios, and whether its goals are met.

Comes in: the seconds of every turn. Goes out: medians and what follows from them. Next file:
interleave.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from benchmarks.cases import UNITS, Case

OURS = "tinycore"
CEILINGS = "fma", "stream"

WIDE = 0.25  # a spread with which a row is to be measured again
APART = 0.1  # a difference of ratios with which it is, too


@dataclass
class Row:
    """One case at one size, with a figure of each contender that took part.

    Units: `times` are the seconds of one call in each turn, `seconds` their median; `spread` is
    the width of their middle half over the median.
    """

    case: Case
    times: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    load: float = 0.0  # of the machine in the last minute, ours with it

    @property
    def seconds(self) -> dict[str, float]:
        """The median of each contender."""
        return {name: median(found) for name, found in self.times.items()}

    @property
    def spread(self) -> dict[str, float]:
        """How far apart the turns of each contender are."""
        return {name: _width(found) / median(found) for name, found in self.times.items()}

    @property
    def fastest(self) -> dict[str, float]:
        """The least of each contender, which neighbours on the machine stretch less."""
        return {name: min(found) for name, found in self.times.items()}

    @property
    def best_peer(self) -> str | None:
        """The fastest contender that is neither ours nor a ceiling."""
        return _best_peer(self.seconds)

    @property
    def ratio(self) -> float | None:
        """Our speed over the best peer's, if both were timed."""
        best = self.best_peer
        if best is None or OURS not in self.seconds:
            return None
        return self.seconds[best] / self.seconds[OURS]

    @property
    def fastest_peer(self) -> str | None:
        """The same by its fastest turn."""
        return _best_peer(self.fastest)

    @property
    def fastest_ratio(self) -> float | None:
        """Our fastest turn against the fastest of any peer; far from `ratio` if there was noise."""
        best = self.fastest_peer
        if best is None or OURS not in self.times:
            return None
        return self.fastest[best] / self.fastest[OURS]

    @property
    def is_noisy(self) -> bool:
        """Whether who decides the ratio is far from steady, or the fastest turns tell another."""
        if self.ratio is None or self.fastest_ratio is None:
            return False
        deciding = {OURS, self.best_peer, self.fastest_peer}
        widest = max(width for name, width in self.spread.items() if name in deciding)
        apart = max(self.ratio / self.fastest_ratio, self.fastest_ratio / self.ratio)
        return widest > WIDE or apart > 1 + APART

    @property
    def ceiling(self) -> str | None:
        """The ceiling that was measured beside this row, if any."""
        return next((name for name in CEILINGS if name in self.seconds), None)

    @property
    def share(self) -> float | None:
        """Our speed over the ceiling's."""
        ceiling = self.ceiling
        if ceiling is None or OURS not in self.seconds:
            return None
        return self.seconds[ceiling] / self.seconds[OURS]

    @property
    def is_met(self) -> bool | None:
        """Whether every goal that could be judged is reached."""
        pairs = [(self.ratio, self.case.goal), (self.share, self.case.share)]
        judged = [(found, goal) for found, goal in pairs if found is not None and goal is not None]
        return all(found >= goal for found, goal in judged) if judged else None

    @property
    def is_behind(self) -> bool:
        """Whether a peer is more than a tenth faster."""
        return self.ratio is not None and self.ratio < 1 / 1.1

    @property
    def above_ceiling(self) -> list[str]:
        """Contenders whose median beats the ceiling's fastest turn: an error to find."""
        ceiling = self.ceiling
        if ceiling is None:
            return []
        least = self.fastest[ceiling]
        return [name for name, found in self.seconds.items() if found < least and name != ceiling]

    def rate(self, name: str) -> float:
        """The work in a second, in the unit of the case."""
        return self.case.work() / self.seconds[name] / UNITS[self.case.facts.unit]


def _best_peer(seconds: Mapping[str, float]) -> str | None:
    peers = [name for name in seconds if name not in (OURS, *CEILINGS)]
    return min(peers, key=seconds.__getitem__, default=None)


def _width(times: Sequence[float]) -> float:
    if len(times) < 2:
        return 0.0
    low, _, high = quantiles(times, n=4, method="inclusive")
    return high - low
