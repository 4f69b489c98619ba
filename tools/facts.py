"""Run by places.py in a fresh interpreter: prints the op table of the tinycore in a folder.

In: the folder, as the only argument. Out: a line for each op: its name, then its groups.
"""

import sys


def groups(tree: str) -> dict[str, list[str]]:
    """The groups of each op: the levels that may hold it, and the kinds of op it is."""
    sys.path.insert(0, tree)
    from tinycore.uop.ops import CASTS, COMPARISON, ELEMENTWISE, MOVEMENT, Ops

    kinds = {"scalar": ELEMENTWISE, "MOVEMENT": MOVEMENT, "COMPARISON": COMPARISON, "CASTS": CASTS}
    return {
        op.name: [*op.row.levels, *(kind for kind, members in kinds.items() if op in members)]
        for op in Ops
    }


if __name__ == "__main__":
    for name, words in groups(sys.argv[1]).items():
        print(name, *words)
