"""REF: the interpreter of kernels that says what every other device must compute.

In: kernels as trees, numpy arrays. Out: the arrays changed in place, or RefError. Next
files: memory.py, frame.py, machine.py, backend.py.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

from tinycore.dtype import constant, storage
from tinycore.runtime.ref.frame import RefError as RefError
from tinycore.runtime.ref.machine import Machine
from tinycore.runtime.ref.memory import Array, Instance, np
from tinycore.uop.index import variable
from tinycore.uop.shape import size, upper_shape
from tinycore.uop.tree import Kernel

Arrays = Sequence[Array]
Values = Mapping[str, int] | None


def run_kernel(
    kernel: Kernel, arrays: Arrays, variables: Values = None, seed: int = 0, checked: bool = False
) -> None:
    """Run a kernel, by the oracle if it is as scheduled, else by the checked entry.

    Shapes: each array is flat or shaped like its parameter at upper bounds, in C order; bfloat16
    and fp8 are their bits as unsigned integers. `seed` orders what has no order. CHECK_OOB=1
    refuses a gathered index outside its axis instead of masking it.

    Raises: RefError.
    """
    machine = Machine(kernel, Random(seed), checked)
    if len(arrays) != len(kernel.params):
        machine.fail(f"{len(arrays)} arrays are given", f"{len(kernel.params)}")
    with np.errstate(all="ignore"):
        for node in kernel.variables:
            name, lo, hi = node.arg
            value = (variables or {}).get(name)
            if value is None or not lo <= value <= hi:
                machine.fail(f"variable {name} is {value}", f"a number in {lo}..{hi}")
            machine = machine.at(variable(name, lo, hi), value)
            machine.names[node] = constant(value, node.dtype)
        for node, array in zip(kernel.params, arrays, strict=True):
            shape, dtype = upper_shape(node.arg.shape), storage(node.dtype)
            fits = array.shape in (shape, (size(shape),)) and array.flags.c_contiguous
            if not fits or array.dtype != dtype:
                given = f"{array.dtype} of shape {array.shape}, strides {array.strides}"
                wrong = f"{node.name} is given {given}"
                machine.fail(wrong, f"{dtype} of shape {shape} in C order")
            machine.names[node] = Instance(node, machine, array.reshape(-1))
        for waits in machine.body(kernel.body):
            machine.fail(f"deadlock: {waits}", "a copy or free that lets one go on")


check_kernel = partial(run_kernel, checked=True)
"""Run any kernel tree, and refuse what docs/ir.md forbids a device. Raises: RefError."""
