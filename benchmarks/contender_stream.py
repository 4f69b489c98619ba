"""The machine's ceiling of memory as a contender: a case's bytes, read and written by plain loops.

Comes in: a case, for its traffic alone. Goes out: a call that reads and writes as many bytes on
every core, in the fastest of a few ways, from memory that is rotated as inputs are, to one output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import SETS, Case, LeftOut, Sets
from benchmarks.native import CORES, Everywhere, Work, compiled

Bytes = NDArray[np.uint8]

BLOCK_BYTES = 512  # eight vectors of 64 bytes, as four pairs
ROUND_BLOCKS = 64  # read and written in turn
VECTOR = "<16 x i32>"
VECTORS = range(8)
ARGUMENTS = "src", "reads", "step", "gap", "dst", "writes", "rounds"


class Way(NamedTuple):
    """How the bytes move: from four places at once or one, by stores around the cache or not."""

    is_split: bool
    is_streamed: bool


WAYS = [Way(split, streamed) for split in (False, True) for streamed in (False, True)]


def version() -> str:
    """What ran."""
    return f"plain loads and stores, {len(CORES)} threads"


def prepare(case: Case, sets: Sets) -> Everywhere:
    """As many bytes as the case moves. Raises: LeftOut if it is held to its arithmetic."""
    if case.facts.unit != "GB/s":
        raise LeftOut("not bound by memory")
    reads, writes = (max(int(n) // BLOCK_BYTES // len(CORES), 0) for n in case.traffic())
    sources = [_aligned(reads) for _ in range(SETS)]
    target = _aligned(writes)
    return Everywhere([_work(way, reads, writes, sources, target) for way in WAYS], SETS)


def to_numpy(output: Any) -> NDArray[Any]:
    """Nothing is computed, so nothing is asked for."""
    raise NotImplementedError


def poison(output: Any) -> None:
    """There is no output."""


def _aligned(blocks: int) -> Bytes:
    """Memory for so many blocks a core, and one more, that starts where a vector may."""
    room = np.ones((blocks + 1) * BLOCK_BYTES * len(CORES) + 64, np.uint8)
    begin = -room.ctypes.data % 64
    return room[begin:]


def _work(way: Way, reads: int, writes: int, sources: Sequence[Bytes], target: Bytes) -> Work:
    run = compiled(_text(way.is_streamed), len(ARGUMENTS))
    rounds = max(1, max(reads, writes) // ROUND_BLOCKS)
    quarter = reads * BLOCK_BYTES // 4 // 64 * 64
    step, gap = (BLOCK_BYTES // 4, quarter) if way.is_split else (BLOCK_BYTES, BLOCK_BYTES // 4)

    def work(number: int, k: int) -> None:
        begin = sources[k].ctypes.data + number * reads * BLOCK_BYTES
        end = target.ctypes.data + number * writes * BLOCK_BYTES
        run(begin, reads // rounds, step, gap, end, writes // rounds, rounds)

    return work


def _text(is_streamed: bool) -> str:
    """Rounds of reads, each of eight vectors `gap` apart by pairs, then of writes of those."""
    numbers = ", ".join(f"i64 %{name}" for name in ARGUMENTS)
    lines = [
        f'define i64 @run({numbers}) "prefer-vector-width"="512" {{',
        "in:",
        "  br label %round",
        *_round(),
        *_reads(),
        *_writes(", !nontemporal !0" if is_streamed else ""),
        *_end(),
        "!0 = !{i32 1}",
    ]
    return "\n".join(lines)


def _round() -> list[str]:
    return [
        "round:",
        "  %r = phi i64 [ 0, %in ], [ %r1, %next ]",
        "  %s = phi i64 [ %src, %in ], [ %from2, %next ]",
        "  %d = phi i64 [ %dst, %in ], [ %to2, %next ]",
        *_merged("u", ("zeroinitializer", "in"), ("%w{}", "next")),
        "  %some = icmp sgt i64 %reads, 0",
        "  br i1 %some, label %read, label %written",
    ]


def _reads() -> list[str]:
    loads = []
    for k in VECTORS:
        loads += [
            f"  %o{k} = mul i64 %gap, {k // 2}",
            f"  %a{k} = add i64 %o{k}, {k % 2 * 64}",
            f"  %p{k} = add i64 %from, %a{k}",
            f"  %q{k} = inttoptr i64 %p{k} to ptr",
            f"  %l{k} = load {VECTOR}, ptr %q{k}, align 64",
            f"  %n{k} = xor {VECTOR} %v{k}, %l{k}",
        ]
    return [
        "read:",
        "  %i = phi i64 [ 0, %round ], [ %i1, %read ]",
        "  %from = phi i64 [ %s, %round ], [ %from1, %read ]",
        *_merged("v", ("%u{}", "round"), ("%n{}", "read")),
        *loads,
        "  %from1 = add i64 %from, %step",
        "  %i1 = add i64 %i, 1",
        "  %again = icmp slt i64 %i1, %reads",
        "  br i1 %again, label %read, label %written",
    ]


def _writes(hint: str) -> list[str]:
    stores = []
    for k in VECTORS:
        stores += [
            f"  %b{k} = add i64 %to, {k * 64}",
            f"  %c{k} = inttoptr i64 %b{k} to ptr",
            f"  store {VECTOR} %w{k}, ptr %c{k}, align 64{hint}",
        ]
    return [
        "written:",
        "  %from2 = phi i64 [ %s, %round ], [ %from1, %read ]",
        *_merged("w", ("%u{}", "round"), ("%n{}", "read")),
        "  %any = icmp sgt i64 %writes, 0",
        "  br i1 %any, label %write, label %next",
        "write:",
        "  %j = phi i64 [ 0, %written ], [ %j1, %write ]",
        "  %to = phi i64 [ %d, %written ], [ %to1, %write ]",
        *stores,
        f"  %to1 = add i64 %to, {BLOCK_BYTES}",
        "  %j1 = add i64 %j, 1",
        "  %more = icmp slt i64 %j1, %writes",
        "  br i1 %more, label %write, label %next",
    ]


def _end() -> list[str]:
    sums = [f"  %x{k} = xor {VECTOR} %{'x' if k > 1 else 'w'}{k - 1}, %w{k}" for k in VECTORS[1:]]
    return [
        "next:",
        "  %to2 = phi i64 [ %d, %written ], [ %to1, %write ]",
        "  %r1 = add i64 %r, 1",
        "  %on = icmp slt i64 %r1, %rounds",
        "  br i1 %on, label %round, label %out",
        "out:",
        *sums,
        f"  %e = bitcast {VECTOR} %x7 to <8 x i64>",
        "  %f = extractelement <8 x i64> %e, i32 0",
        "  ret i64 %f",
        "}",
    ]


def _merged(name: str, first: tuple[str, str], second: tuple[str, str]) -> list[str]:
    """Eight vectors that come from one of two places."""
    lines = []
    for k in VECTORS:
        ends = ", ".join(f"[ {value.format(k)}, %{block} ]" for value, block in (first, second))
        lines.append(f"  %{name}{k} = phi {VECTOR} {ends}")
    return lines
