"""What a kernel must be at each boundary of the compiler, as a table of small rules.

Comes in: a `Kernel` and a boundary: "schedule" (as create_schedule leaves it), "action" (after any
action), "sync" (with barriers). Goes out: nothing, or SpecError, which names the rule and the
statement. Values are REF's to check; the linear program is checked in uop/lowered.py.
"""

from __future__ import annotations

from tinycore.errors import SpecError
from tinycore.uop import spec_places, spec_rings, spec_state
from tinycore.uop.ops import Ops
from tinycore.uop.printer import show_statement
from tinycore.uop.sites import Rule, sites
from tinycore.uop.spec_places import ACTION, SCHEDULE, SYNC
from tinycore.uop.table import TABLE
from tinycore.uop.tree import Kernel, Launch, Plan

_ALWAYS = spec_places.RULES | spec_state.RULES
_TRANSFORMED = _ALWAYS | spec_rings.RULES

RULES: dict[str, dict[Rule, tuple[Ops, ...]]] = {
    SCHEDULE: _ALWAYS | spec_places.PLAIN,
    ACTION: _TRANSFORMED,
    SYNC: _TRANSFORMED | spec_rings.SYNCED,
}
"""The rules of each boundary, with the statements they speak of."""


def check(kernel: Kernel, boundary: str) -> None:
    """Raises: SpecError if `kernel` breaks a rule of `boundary`: "schedule", "action" or "sync"."""
    _check_head(kernel)
    for site in sites(kernel, boundary):
        for rule, ops in RULES[boundary].items():
            speaks = not ops or site.statement.op in ops
            found = rule(site) if speaks else None
            if found is not None:
                name = rule.__name__.replace("_", " ")
                text = show_statement(site.statement)
                raise SpecError(f"spec, {name}: `{text}` of kernel {kernel.name}: {found}")


def check_plan(plan: Plan, boundary: str) -> None:
    """Raises: SpecError if a kernel of `plan` breaks a rule, or a launch does not fit it."""
    kernels: dict[str, Kernel] = {}
    types = {node.arg.name: node.dtype for node in (*plan.params, *plan.temps)}
    for launch in plan.launches:
        missing = [name for name in launch.buffers if name not in types]
        if missing:
            _refuse(plan, launch, f"{missing[0]} is no buffer of the plan; expected one.")
        kernel = launch.kernel
        if kernel is None:
            continue
        if kernel.name != launch.name or kernels.setdefault(kernel.name, kernel) is not kernel:
            _refuse(plan, launch, f"kernel {kernel.name} is another; expected one name a kernel.")
        found = [types[name].short for name in launch.buffers]
        expected = [param.dtype.short for param in kernel.params]
        if found != expected:
            _refuse(plan, launch, f"buffers of {found}; expected {expected}.")
    for kernel in kernels.values():
        check(kernel, boundary)


def ops_of(level: str) -> frozenset[Ops]:
    """The ops that a level ("graph", "kernel" or "lowered") may hold, by their rows."""
    return frozenset(op for op, row in TABLE.items() if level in row.levels)


def _check_head(kernel: Kernel) -> None:
    names = [param.arg.name for param in kernel.params]
    names += [variable.arg[0] for variable in kernel.variables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(
            f"spec, names are new: the head of kernel {kernel.name} declares {twice[0]} twice; "
            "expected one meaning a name."
        )


def _refuse(plan: Plan, launch: Launch, message: str) -> None:
    text = f"launch {launch.name}({', '.join(launch.buffers)})"
    raise SpecError(f"spec, launches fit: `{text}` of plan {plan.name}: {message}")
