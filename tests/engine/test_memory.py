"""Temporaries that are alive at one step never share memory; others do."""

import random

from tinycore.engine.plan import Lifetime, plan_memory


def test_temporaries_of_separate_times_share_a_region() -> None:
    plan = plan_memory([Lifetime(1000, 0, 1), Lifetime(500, 2, 3), Lifetime(100, 1, 2)])
    assert plan.region_of == (0, 0, 1)
    assert plan.region_bytes == (1024, 256)


def test_a_larger_later_temporary_grows_a_free_region() -> None:
    plan = plan_memory([Lifetime(100, 0, 0), Lifetime(5000, 1, 1)])
    assert plan.region_of == (0, 0)
    assert plan.region_bytes == (5120,)


def test_no_two_live_temporaries_meet() -> None:
    rng = random.Random(0)
    for _ in range(200):
        needs = []
        for _ in range(rng.randint(1, 12)):
            first = rng.randint(0, 9)
            needs.append(Lifetime(rng.randint(1, 5000), first, first + rng.randint(0, 4)))
        plan = plan_memory(needs)
        for a, need in enumerate(needs):
            assert plan.region_bytes[plan.region_of[a]] >= need.size_bytes
            for b in range(a):
                together = needs[b].first <= need.last and need.first <= needs[b].last
                assert not (together and plan.region_of[a] == plan.region_of[b])
