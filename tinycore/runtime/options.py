"""What a device package may give besides: rules, tunables, queues, graphs, tensor cores, checks.

In: plain values from a device package. Out: frozen descriptions for scheduler, search and CLI.
None is required; each unlocks what its docstring says. Next: contract.py, the required part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tinycore.runtime.program import Call, Handle, Launch, Program

if TYPE_CHECKING:
    from tinycore.uop.ops import UOp
    from tinycore.uop.upat import UPat


class Queue(Protocol):
    """Work that runs in order, side by side with other queues; unlocks overlap of copies."""

    def submit(self, call: Call) -> None:
        """Queue a launch; the core keeps its arguments alive until a later event has passed."""

    def copy(self, target: Handle, source: Handle, size_bytes: int) -> None:
        """Queue a copy between two memories this queue can reach."""

    def record(self) -> object:
        """An event that passes when all work queued so far is done."""

    def wait(self, event: object, timeout_s: float) -> None:
        """Hold later work until the event has passed. Raises: DeviceLost at the deadline."""

    def query(self, event: object) -> bool:
        """True if the event has passed; never waits."""


class Graph(Protocol):
    """Replays a recorded run with less work than one launch after another; unlocks fast JIT."""

    def replay(self, calls: Sequence[Call]) -> None:
        """Run the calls in order; programs and launches are those of the first replay."""


class Collective(Protocol):
    """Sums and exchanges over a group of devices, ordered on a queue; unlocks sharding."""

    def all_reduce(self, buffers: Sequence[Handle], size_bytes: int, combine: str) -> None:
        """Combine equal-sized buffers elementwise and leave the result in each."""

    def all_gather(self, targets: Sequence[Handle], sources: Sequence[Handle]) -> None:
        """Leave all sources, one after another, in each target."""


@dataclass(frozen=True)
class TensorCore:
    """One matrix instruction: C[m, n] += A[m, k] * B[k, n], done together by one `scope`.

    `places` says where A, B and C live (reg, group); `layouts` gives, for each, the relation
    between lanes and elements as text of IR.md 3.15. Source: the vendor's manual, in the row.
    """

    name: str
    m: int
    n: int
    k: int
    scope: str
    dtype_in: str
    dtype_out: str
    places: tuple[str, str, str] = ("reg", "reg", "reg")
    layouts: tuple[str, str, str] = ("", "", "")


@dataclass(frozen=True)
class PatternRule:
    """A vendor's library call for a part of the graph; it enters search and must win on time.

    `check` answers True, or the reason why not; `lower` returns the program and its launch;
    `samples` makes argument lists for tests; `error_bound` is relative to the exact result.
    """

    name: str
    pattern: UPat
    check: Callable[[UOp], bool | str]
    lower: Callable[[UOp], tuple[Program, Launch]]
    samples: Callable[[], Sequence[Sequence[object]]]
    error_bound: float = 0.0
    gradient: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Tunable:
    """One more action for search: `legal` answers True or the reason why not."""

    name: str
    choices: tuple[int, ...]
    legal: Callable[[UOp, int], bool | str]
    apply: Callable[[UOp, int], UOp]


@dataclass(frozen=True)
class Check:
    """One step of a self-test: what was tried, whether it worked, what was seen, what to do."""

    name: str
    passed: bool
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Declaration:
    """What a device package says to the conformance suite: waivers, and tighter tolerances.

    A waiver maps a case id to its issue link and expiry date; a tolerance to units in the last
    place, never looser than the suite's own.
    """

    waivers: Mapping[str, tuple[str, str]]
    tolerances_ulp: Mapping[str, float]
