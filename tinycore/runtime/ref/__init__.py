"""REF: the interpreter of kernels that says what every other device must compute.

In: kernels and plans as trees, numpy arrays. Out: the arrays changed in place, or RefError.
Start with entry.py.
"""

from tinycore.runtime.ref.entry import check_kernel, run_kernel, run_plan
from tinycore.runtime.ref.errors import RefError

__all__ = ["RefError", "check_kernel", "run_kernel", "run_plan"]
