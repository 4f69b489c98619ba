"""Long suites by seed: any part of the seeds, in shards, resumed after a stop.

    python -m tests.SUITE 500 0 --shard 0/2 --state FILE --seconds 600

`--shard k/n` takes every n-th seed; `--state` remembers the seeds done and what they counted;
`0 --merge FILE FILE` runs none and adds up what shards remember.
"""

import argparse
import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

Try = Callable[[int], Counter[str]]


def run_seeds(
    attempt: Try, count: int = 200, names: Iterable[str] = ()
) -> tuple[Counter[str], list[int], bool]:
    """What the seeds of the command line counted, those that failed, and if none is left.

    `attempt` raises for a seed that fails; `count` is how many seeds there are by default, and
    `names` are told even if they were never counted.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=count)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--merge", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    part, parts = map(int, options.shard.split("/"))
    seeds = [k for k in range(options.seed, options.seed + options.count) if k % parts == part]
    known = {"next": options.seed, "counts": {}, "failed": []}
    if options.state and options.state.is_file():
        known = json.loads(options.state.read_text())
    counts, failed = Counter(known["counts"]), list(known["failed"])
    end = time.monotonic() + options.seconds
    left = [seed for seed in seeds if seed >= known["next"]]
    while left and time.monotonic() < end:
        seed = left.pop(0)
        try:
            counts.update(attempt(seed))
        except Exception:
            failed.append(seed)
            print(f"seed {seed} failed\n{traceback.format_exc(limit=-3)}", flush=True)
        if options.state:
            state = {"next": seed + 1, "counts": counts, "failed": failed}
            options.state.write_text(json.dumps(state))
    for path in options.merge:
        other = json.loads(path.read_text())
        counts.update(other["counts"])
        failed += other["failed"]
    for name in sorted({*counts, *names}):
        print(f"{name:32}{counts[name]:8}")
    print(f"{len(seeds) - len(left)} of {len(seeds)} seeds: {len(failed)} failed {failed[:40]}")
    return counts, failed, not left
