"""REF's two entries: the oracle, and the checked run of trees that actions or lowering made.

In: kernels or plans as trees, numpy arrays. Out: the arrays changed in place, or RefError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from tinycore.runtime.ref import number
from tinycore.runtime.ref.control import SCHEDULED, Control
from tinycore.runtime.ref.errors import RefError
from tinycore.runtime.ref.number import Array
from tinycore.runtime.ref.oracle import Oracle
from tinycore.runtime.ref.order import is_scheduled
from tinycore.runtime.ref.suspect import Suspect
from tinycore.runtime.ref.tiles import HANDLERS
from tinycore.uop.ops import UOp
from tinycore.uop.tree import Kernel, Plan
from tinycore.util import np

Values = Mapping[str, int]


def run_kernel(
    kernel: Kernel,
    arrays: Sequence[Array],
    variables: Values | None = None,
    seed: int = 0,
    check_out_of_bounds: bool = False,
) -> None:
    """Run a kernel: by the oracle if it is as scheduled, else by the checked entry.

    Shapes: each array is flat or shaped like its parameter at upper bounds, in C order.
    bfloat16 and fp8 are unsigned integers that hold the bits. `seed` orders what has no order;
    `check_out_of_bounds` raises for a gathered index outside its axis instead of masking it.
    Raises: RefError.
    """
    if not is_scheduled(kernel):
        check_kernel(kernel, arrays, variables, seed, check_out_of_bounds)
        return
    _run(Oracle(kernel, SCHEDULED, check_out_of_bounds), arrays, variables)


def check_kernel(
    kernel: Kernel,
    arrays: Sequence[Array],
    variables: Values | None = None,
    seed: int = 0,
    check_out_of_bounds: bool = False,
) -> None:
    """Run any kernel tree and refuse what a device may not do; arguments as for run_kernel.

    Slots by sequence number, races of agents and iterations, ownership of fragments, deadlock of
    roles, places outside their buffers: IR.md 6. Raises: RefError.
    """
    machine = Suspect(kernel, HANDLERS, check_out_of_bounds, Random(seed))
    _run(machine, arrays, variables)


def _run(machine: Control, arrays: Sequence[Array], variables: Values | None) -> None:
    with np().errstate(all="ignore"):
        machine.bind(arrays, variables or {})
        machine.run()


def run_plan(
    plan: Plan,
    arrays: Sequence[Array],
    variables: Values | None = None,
    seed: int = 0,
    run: Callable[..., None] = run_kernel,
) -> None:
    """Run the launches of a plan in order; `run` is run_kernel or check_kernel.

    Raises: RefError, also for a vendor's call.
    """
    held = {node.arg.name: array for node, array in zip(plan.params, arrays, strict=True)}
    held |= {temp.arg.name: _poisoned(temp) for temp in plan.temps}
    for launch in plan.launches:
        if launch.kernel is None:
            wanted = "launches of kernels"
            raise RefError(
                f"ref: {plan.name}: {launch.name} is a vendor's call; expected {wanted}."
            )
        run(launch.kernel, [held[name] for name in launch.buffers], variables, seed)


def _poisoned(temp: UOp) -> Array:
    shape = tuple(extent.hi for extent in temp.arg.shape)
    return np().full(shape, number.poison(temp.dtype), number.storage(temp.dtype))
