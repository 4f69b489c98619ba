"""Kernels as text, and how tests read them."""

from pathlib import Path

from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel, Plan

FOLDER = Path(__file__).parent / "kernels"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ir"))


def text_of(name: str) -> str:
    """The text of a file of kernels."""
    return (FOLDER / f"{name}.ir").read_text()


def sizes_of(text: str) -> dict[str, int]:
    """What the comment `# sizes: M=29 N=75` of a text says."""
    line = next((line for line in text.splitlines() if line.startswith("# sizes:")), "")
    pairs = [pair.split("=") for pair in line.split()[2:]]
    return {name: int(size) for name, size in pairs}


def read_units(name: str, **sizes: int) -> dict[str, Kernel | Plan]:
    """The kernels and plans of a file, at the sizes it names or at others."""
    text = text_of(name)
    return parse(text, **{**sizes_of(text), **sizes})


def read_kernel(name: str, **sizes: int) -> Kernel:
    """The first kernel of a file."""
    found = next(iter(read_units(name, **sizes).values()))
    assert isinstance(found, Kernel), f"{name}.ir starts with a plan"
    return found


def kernels_of(unit: Kernel | Plan) -> list[Kernel]:
    """A kernel, or those that a plan launches."""
    if isinstance(unit, Kernel):
        return [unit]
    return [launch.kernel for launch in unit.launches if launch.kernel is not None]
