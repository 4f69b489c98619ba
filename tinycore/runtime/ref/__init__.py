"""REF: the interpreter of kernels that says what every other device must compute.

In: kernels as trees, numpy arrays. Out: the arrays changed in place, or RefError. Next
files: memory.py, frame.py, machine.py, backend.py.
"""

from tinycore.runtime.ref.frame import RefError as RefError
from tinycore.runtime.ref.machine import (
    check_kernel as check_kernel,
    run_kernel as run_kernel,
)
