"""Run by imports.py in a fresh interpreter: imports the tinycore of a folder, tells what it took.

In: the folder, as the only argument. Out: a line with the seconds, then a line for each new module.
"""

import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    before = set(sys.modules)
    start = time.perf_counter()
    import tinycore

    print(time.perf_counter() - start)
    assert tinycore.__file__ is not None and tinycore.__file__.startswith(sys.argv[1])
    for module in sorted(set(sys.modules) - before):
        print(module)
