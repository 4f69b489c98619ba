"""What threads of a subgroup exchange, and what the device sums of bytes, is what numpy says."""

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
from tinycore import Tensor, dtypes

numbers = np.random.default_rng(0)
rows = numbers.standard_normal((5, 4096), dtype="f4")
for name in ("float32", "float16", "float64", "bfloat16", "int32", "int8", "bool"):
    given = Tensor(rows if name != "bool" else rows > 2.5).cast(getattr(dtypes, name)).realize()
    values = given.cast(dtypes.float64).numpy()
    assert np.array_equal(given.max(1).cast(dtypes.float64).numpy(), values.max(1)), name
    found = given.cast(dtypes.float32).sum(1).numpy()
    assert np.allclose(found, values.sum(1), rtol=1e-4, atol=1e-2), name
given = Tensor(rows)
whole = np.exp(rows - rows.max(1, keepdims=True))
assert np.allclose(given.softmax(1).numpy(), whole / whole.sum(1, keepdims=True), rtol=1e-4)
assert np.array_equal(given.argmax(1).numpy(), rows.argmax(1))
for m, n, k in ((64, 96, 128), (70, 33, 64), (128, 128, 72)):
    a, b = (numbers.integers(-128, 128, shape, dtype="i1") for shape in ((m, k), (n, k)))
    found = Tensor(a).matmul(Tensor(b).T, dtype=dtypes.int32).numpy()
    assert np.array_equal(found, a.astype("i4") @ b.astype("i4").T), (m, n, k)
"""


def source(plan: str) -> str:
    """All that was printed, kernels included."""
    environment = os.environ | {"CL_PLAN": plan, "DEV": "CL", "DEBUG": "4", "CCACHE": "0"}
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_sums_of_a_group_go_by_subgroups_and_bytes_by_dot_products() -> None:
    text = source("gpu")
    assert "sub_group_shuffle(" in text
    assert "intel_reqd_sub_group_size(16)" in text
    assert "= dot((char4)(" in text


def test_a_processor_needs_neither() -> None:
    text = source("cpu")
    assert "sub_group_shuffle(" not in text
    assert "= dot(" not in text
