"""Temporaries that are alive at one step never share memory; others do."""

import random

from tinycore.engine.plan import plan_memory


def test_temporaries_of_separate_times_share_a_region() -> None:
    plan = plan_memory([(1000, 0, 1), (500, 2, 3), (100, 1, 2)])
    assert plan == ((0, 0, 1), (1024, 256))


def test_a_larger_later_temporary_grows_a_free_region() -> None:
    assert plan_memory([(100, 0, 0), (5000, 1, 1)]) == ((0, 0), (5120,))


def test_no_two_live_temporaries_meet() -> None:
    rng = random.Random(0)
    for _ in range(200):
        needs = []
        for _ in range(rng.randint(1, 12)):
            first = rng.randint(0, 9)
            needs.append((rng.randint(1, 5000), first, first + rng.randint(0, 4)))
        region_of, region_bytes = plan_memory(needs)
        for a, (size_bytes, first, last) in enumerate(needs):
            assert region_bytes[region_of[a]] >= size_bytes
            for b, (_, begin, end) in enumerate(needs[:a]):
                together = begin <= last and first <= end
                assert not (together and region_of[a] == region_of[b])
