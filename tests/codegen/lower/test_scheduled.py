"""Every kernel the scheduler's goldens hold runs, lowered with no action, as REF runs it."""

from pathlib import Path

import numpy as np
import pytest

import tests.schedule
from tests.codegen.harness import Built
from tests.codegen.lower.fuzz import arrays_for
from tinycore.runtime.ref import run_kernel
from tinycore.uop.ops import arena
from tinycore.uop.parser import parse
from tinycore.uop.tree import Kernel

GOLDENS = Path(tests.schedule.__file__).parent / "golden" / "kernels"


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_scheduled_kernel_needs_no_action_to_run(path: Path) -> None:
    with arena():
        for part in path.read_text().split("\nkernel "):
            text = part if part.startswith("kernel ") else f"kernel {part}"
            for unit in parse(text).values():
                assert isinstance(unit, Kernel)
                run_both(unit)


def run_both(kernel: Kernel) -> None:
    expected = arrays_for(kernel, 0)
    found = [array.copy() for array in expected]
    values = {variable.arg[0]: variable.arg[2] for variable in kernel.variables}
    run_kernel(kernel, expected, values)
    Built(kernel)(*found, **values)
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
