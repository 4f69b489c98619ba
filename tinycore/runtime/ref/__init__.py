"""REF: the interpreter of kernels that says what every other device must compute.

In: kernels as trees, numpy arrays. Out: the arrays changed in place, or RefError. Next
files: memory.py, frame.py, machine.py, backend.py.
"""

from tinycore.runtime.ref.frame import RefError
from tinycore.runtime.ref.machine import check_kernel, run_kernel

__all__ = ["RefError", "check_kernel", "run_kernel"]
