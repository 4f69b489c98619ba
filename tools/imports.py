"""Measures what `import tinycore` loads and how long it takes, in fresh interpreters.

In: the path of a tree. Out: names of modules, and seconds. Next file: wheel.py.

The interpreters run without site-packages: an import that needs more than Python itself fails.
"""

import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HEAVY = ("numpy", "pluggy", "importlib.metadata")
"""What `import tinycore` must not touch: each loads at the first use of a device or hook."""

TIME_S = 0.060


@dataclass(frozen=True)
class Import:
    """One `import tinycore`: the time it took, and the modules it added."""

    time_s: float
    modules: frozenset[str]


def fresh_import(tree: Path) -> Import:
    """Import the tinycore of a tree in a new interpreter."""
    script = Path(__file__).with_name("fresh.py")
    command = [sys.executable, "-I", "-S", str(script), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    time_s, *modules = done.stdout.splitlines()
    return Import(float(time_s), frozenset(modules))


def times(tree: Path, runs: int) -> list[float]:
    """The time of `import tinycore` in seconds, once for each run, the shortest first."""
    return sorted(fresh_import(tree).time_s for _ in range(runs))


def check(tree: Path) -> list[str]:
    """The modules that must not be loaded, and are."""
    touched = fresh_import(tree).modules
    found = [name for name in HEAVY if name in touched]
    return [f"import tinycore: loads {name}; it must wait for its first use" for name in found]


def main() -> None:
    """Print the shortest and the median time of an import of this tree."""
    measured = times(Path(__file__).resolve().parent.parent, runs=11)
    median = statistics.median(measured)
    best = measured[0]
    print(f"import tinycore: {best * 1e3:.1f} ms at best, {median * 1e3:.1f} ms in the median")


if __name__ == "__main__":
    main()
