"""REF: the interpreter of kernels that says what every other device must compute.

In: kernels and plans as trees, numpy arrays. Out: the arrays changed in place, or RefError. It has
two entries: the oracle, and the checked run of trees that actions or lowering made.
Next: number.py, memory.py, order.py, frame.py, machine.py, checked.py; backend.py is the device.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from tinycore.runtime.ref import number
from tinycore.runtime.ref.frame import RefError
from tinycore.runtime.ref.machine import Machine
from tinycore.runtime.ref.memory import Instance
from tinycore.runtime.ref.number import Array, np
from tinycore.runtime.ref.order import is_scheduled
from tinycore.uop.index import variable
from tinycore.uop.tree import Kernel, Plan
from tinycore.util import prod

__all__ = ["RefError", "check_kernel", "run_kernel", "run_plan"]
Arrays = Sequence[Array]
Values = Mapping[str, int] | None
Entry = Callable[[Kernel, Arrays, Values, int], None]


def run_kernel(kernel: Kernel, arrays: Arrays, variables: Values = None, seed: int = 0) -> None:
    """Run a kernel: by the oracle if it is as scheduled, else by the checked entry.

    Shapes: each array is flat or shaped like its parameter at upper bounds, in C order.
    bfloat16 and fp8 are unsigned integers that hold the bits. `seed` orders what has no order.
    CHECK_OOB=1 refuses a gathered index outside its axis instead of masking it.
    Raises: RefError.
    """
    if is_scheduled(kernel):
        _run(Machine(kernel), arrays, variables)
    else:
        check_kernel(kernel, arrays, variables, seed)


def check_kernel(kernel: Kernel, arrays: Arrays, variables: Values = None, seed: int = 0) -> None:
    """Run any kernel tree and refuse what a device may not do; arguments as for run_kernel.

    Slots by sequence number, races of agents and iterations, ownership of fragments, deadlock of
    roles, places outside their buffers: IR.md 6. Raises: RefError.
    """
    _run(Machine(kernel, Random(seed)), arrays, variables)


def _run(machine: Machine, arrays: Arrays, variables: Values) -> None:
    kernel = machine.kernel
    if len(arrays) != len(kernel.params):
        machine.fail(f"{len(arrays)} arrays are given", f"{len(kernel.params)}")
    with np.errstate(all="ignore"):
        for node in kernel.variables:
            name, lo, hi = node.arg
            value = (variables or {}).get(name)
            if value is None or not lo <= value <= hi:
                machine.fail(f"variable {name} is {value}", f"a number in {lo}..{hi}")
            machine = machine.at(variable(name, lo, hi), value)
            machine.names[node] = number.constant(value, node.dtype)
        for node, array in zip(kernel.params, arrays, strict=True):
            shape = tuple([extent.hi for extent in node.arg.shape])
            dtype = number.storage(node.dtype)
            fits = array.dtype == dtype and array.shape in (shape, (prod(shape),))
            if not (fits and array.flags.c_contiguous):
                found = f"{array.dtype} of shape {array.shape}, strides {array.strides}"
                wanted = f"{dtype} of shape {shape} in C order"
                machine.fail(f"{node.arg.name} is given {found}", wanted)
            machine.names[node] = Instance(node, machine, array.reshape(-1))
        for waits in machine.body(kernel.body):
            machine.fail(f"deadlock: {waits}", "a copy or free that lets one go on")


def run_plan(
    plan: Plan, arrays: Arrays, variables: Values = None, seed: int = 0, run: Entry = run_kernel
) -> None:
    """Run the launches of a plan in order; `run` is run_kernel or check_kernel.

    Raises: RefError, also for a vendor's call.
    """
    held = {node.arg.name: array for node, array in zip(plan.params, arrays, strict=True)}
    for temp in plan.temps:
        size = prod([extent.hi for extent in temp.arg.shape])
        held[temp.arg.name] = np.full(size, number.initial("", temp.dtype))
    for launch in plan.launches:
        if launch.kernel is None:
            wrong = f"ref: {plan.name}: {launch.name} is a vendor's call"
            raise RefError(f"{wrong}; expected launches of kernels.")
        run(launch.kernel, [held[name] for name in launch.buffers], variables, seed)
