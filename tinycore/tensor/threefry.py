"""The random words behind random.py: Threefry-2x32 of a key and a counter.

Comes in: a device and a count. Goes out: nodes of two words for each element. Source: Salmon et
al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.2, with its 20 rounds and
constants.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tinycore.dtype import dtypes
from tinycore.engine.cell import STATES, Cell, fresh_number
from tinycore.engine.realize import realize
from tinycore.tensor.creation import stored
from tinycore.uop import graph
from tinycore.uop.ops import UOp
from tinycore.util import np

Pair = tuple[UOp, UOp]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_MASK = (1 << 32) - 1


class _State:
    """The key and the counter of one device."""

    def __init__(self, device: str, seed: int) -> None:
        self.key = _words_cell(_key(device, seed), device)
        self.counter = _words_cell([0], device)
        STATES.add(self.counter)

    def restart(self, seed: int) -> None:
        """A new key and the counter at 0, in the same memory: captured calls read it there."""
        fresh = _State(self.key.device, seed)
        _write(self.key, fresh.key)
        _write(self.counter, fresh.counter)
        realize([self.key, self.counter])

    def words(self, count: int) -> Pair:
        """Two words for each of `count` elements; the counter moves on by one."""
        call = self.counter.uop
        self.counter.write(call + 1)
        number = graph.iota(count, dtypes.uint32)
        key = (self._key_word(0, count), self._key_word(1, count))
        calls = graph.broadcast(call, (count,))
        return threefry(key, (number, calls))

    def _key_word(self, k: int, count: int) -> UOp:
        word = graph.shrink(self.key.uop, [(k, k + 1)])
        return graph.broadcast(word, (count,))


class _Seeds:
    """The states of all devices, and the seed of those not met yet."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.states: dict[str, _State] = {}

    def restart(self, seed: int) -> None:
        """Start every device anew."""
        self.seed = seed
        for state in self.states.values():
            state.restart(seed)

    def words(self, device: str, count: int) -> Pair:
        """Two random words for each of `count` elements."""
        if self.seed is None:
            self.seed = int.from_bytes(os.urandom(8), "little")
        if device not in self.states:
            self.states[device] = _State(device, self.seed)
        return self.states[device].words(count)


SEEDS = _Seeds()


def _key(device: str, seed: int) -> list[int]:
    """Two words that differ by seed and by the index of the device, not by its kind."""
    _, _, index = device.partition(":")
    low = seed & _MASK
    high = (seed >> 32) + int(index or 0)
    return [low, high & _MASK]


def _write(target: Cell, source: Cell) -> None:
    value = graph.contiguous(source.uop, fresh_number())
    target.write(value)


def _words_cell(words: Sequence[int], device: str) -> Cell:
    array = np().array(words, "uint32")
    return stored(array, device, dtypes.uint32)


def threefry(key: Pair, counter: Pair) -> Pair:
    """The two words that a key makes of two words of a counter, element by element."""
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    x = counter[0] + keys[0]
    y = counter[1] + keys[1]
    for block in range(5):
        for shift in _ROTATIONS[block % 2]:
            x = x + y
            high = y << shift
            low = y >> (32 - shift)
            y = (high | low) ^ x
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + (block + 1)
    return x, y
