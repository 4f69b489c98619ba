"""Which groups must run before which, also through others.

Comes in: edges, one at a time, and merges of two groups. Goes out: answers in constant time. Each
group holds the set of those before it as the bits of one integer.
"""

from __future__ import annotations


class Reach:
    """Transitive order of numbered groups; an edge says that one reads what another stores."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.direct: list[set[int]] = []
        self.read: int = 0

    def add(self) -> int:
        """A new group; its number."""
        self.before.append(0)
        self.direct.append(set())
        return len(self.before) - 1

    def follows(self, later: int, earlier: int) -> bool:
        """True if `later` needs `earlier`, directly or through others."""
        return bool(self.before[later] >> earlier & 1)

    def between(self, later: int, earlier: int) -> bool:
        """True if a third group stands between: `later` needs it and it needs `earlier`."""
        return any(self.follows(third, earlier) for third in self.direct[later])

    def edge(self, later: int, earlier: int) -> None:
        """Let `later` need `earlier`."""
        assert later != earlier, "reach: a group before itself"
        assert not self.follows(earlier, later), "reach: a cycle of groups"
        self.direct[later].add(earlier)
        self.read |= 1 << earlier
        new = (self.before[earlier] | 1 << earlier) & ~self.before[later]
        if not new:
            return
        self.before[later] |= new
        if self.read >> later & 1:
            for other, known in enumerate(self.before):
                if known >> later & 1:
                    self.before[other] |= new

    def merge(self, kept: int, gone: int) -> None:
        """Let `kept` stand for both groups; what one needed or was needed by, it is now."""
        needed = (self.direct[gone] | self.direct[kept]) - {kept, gone}
        for later, known in enumerate(self.before):
            if known >> gone & 1:
                self.before[later] = known & ~(1 << gone) | 1 << kept
            if gone in self.direct[later]:
                self.direct[later] = self.direct[later] - {gone} | {kept}
        self.direct[gone] = set()
        self.direct[kept] = set()
        self.before[kept] &= ~(1 << kept)
        self.read |= 1 << kept
        for number in sorted(needed):
            self.edge(kept, number)
