"""REF: the interpreter of kernels that says what every other device must compute.

In: kernels and plans as trees, numpy arrays. Out: the arrays changed in place, or RefError. Next
files: memory.py, frame.py, machine.py, backend.py.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

from tinycore.dtype import constant, storage
from tinycore.runtime.ref.frame import RefError as RefError
from tinycore.runtime.ref.machine import Machine
from tinycore.runtime.ref.memory import Array, Instance, initial, np
from tinycore.uop.index import variable
from tinycore.uop.shape import size, upper_shape
from tinycore.uop.tree import Kernel, Plan

Arrays = Sequence[Array]
Values = Mapping[str, int] | None
Unit = Kernel | Plan


def run_kernel(
    unit: Unit, arrays: Arrays, variables: Values = None, seed: int = 0, checked: bool = False
) -> None:
    """Run a kernel, by the oracle if it is as scheduled, else by the checked entry; the launches of
    a plan one after another.

    Shapes: each array is flat or shaped like its parameter at upper bounds, in C order; bfloat16
    and fp8 are their bits as unsigned integers. `seed` orders what has no order. CHECK_OOB=1
    refuses a gathered index outside its axis instead of masking it.

    Raises: RefError, also for a vendor's call in a plan.
    """
    if isinstance(unit, Plan):
        held = {node.name: array for node, array in zip(unit.params, arrays, strict=True)}
        held |= {t.name: np.full(size(t.arg.shape), initial("", t.dtype)) for t in unit.temps}
        for name, buffers, kernel in unit.launches:
            if kernel is None:
                wrong = f"ref: {unit.name}: {name} is a vendor's call"
                raise RefError(f"{wrong}; expected launches of kernels.")
            run_kernel(kernel, [held[buffer] for buffer in buffers], variables, seed, checked)
        return
    machine = Machine(unit, Random(seed), checked)
    if len(arrays) != len(unit.params):
        machine.fail(f"{len(arrays)} arrays are given", f"{len(unit.params)}")
    with np.errstate(all="ignore"):
        for node in unit.variables:
            name, lo, hi = node.arg
            value = (variables or {}).get(name)
            if value is None or not lo <= value <= hi:
                machine.fail(f"variable {name} is {value}", f"a number in {lo}..{hi}")
            machine = machine.at(variable(name, lo, hi), value)
            machine.names[node] = constant(value, node.dtype)
        for node, array in zip(unit.params, arrays, strict=True):
            shape, dtype = upper_shape(node.arg.shape), storage(node.dtype)
            fits = array.shape in (shape, (size(shape),)) and array.flags.c_contiguous
            if not fits or array.dtype != dtype:
                given = f"{array.dtype} of shape {array.shape}, strides {array.strides}"
                wrong = f"{node.name} is given {given}"
                machine.fail(wrong, f"{dtype} of shape {shape} in C order")
            machine.names[node] = Instance(node, machine, array.reshape(-1))
        for waits in machine.body(unit.body):
            machine.fail(f"deadlock: {waits}", "a copy or free that lets one go on")


check_kernel = partial(run_kernel, checked=True)
"""Run any kernel tree, or plan, and refuse what docs/ir.md forbids a device. Raises: RefError."""
