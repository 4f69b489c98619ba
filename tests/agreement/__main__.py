"""Random programs in every way, and the table of what fired.

    python -m tests.agreement 500 0 --shard 0/2 --state FILE --seconds 600
    python -m tests.agreement 0 --merge FILE FILE

Ends with status 1 if a result differs, or if something of 500 seeds fired less than 20 times.
"""

import sys

from tests.agreement.fired import ALL
from tests.agreement.graphs import LEAST, missing, try_seed
from tests.shards import run_seeds

ENOUGH = 500


def main() -> int:
    """Run, and judge what fired."""
    counts, failed, is_done = run_seeds(try_seed, ENOUGH, ALL)
    rare = missing(counts) if is_done and counts["graphs"] >= ENOUGH else {}
    if rare:
        print(f"fired less than {LEAST} times in {counts['graphs']} graphs: {rare}")
    return int(bool(failed or rare))


if __name__ == "__main__":
    sys.exit(main())
