"""A second process reads what the first one compiled: it lowers and compiles nothing."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from tinycore.engine import plan as planning
made = []
build = planning.build
def counted(kernel, device):
    made.append(kernel.name)
    return build(kernel, device)
planning.build = counted
from tinycore import Tensor
x = Tensor([[1.0, 2.0], [3.0, 4.0]])
print((x @ x).softmax(1).sum().item(), len(made))
"""


def run(cache: Path, **more: str) -> tuple[float, int]:
    """The value the program computes, and how many kernels it compiled."""
    environment = {**os.environ, "TINYCORE_CACHE": str(cache), **more}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    value, made = done.stdout.split()
    return float(value), int(made)


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert first[0] == second[0]
    assert first[1] > 0
    assert second[1] == 0


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    value, made = run(tmp_path)
    for path in [path for path in (tmp_path / "kernels").rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-7])
    assert run(tmp_path) == (value, made)
