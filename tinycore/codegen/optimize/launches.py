"""A mapped kernel as a plan: what one launch can hold, and what takes several.

Comes in: a kernel after its actions. Goes out: a `Plan`. Nothing orders two grid loops in one
kernel, so statements beside a grid loop at the root become launches of their own, in order, and
buffers at the root that they share become temporaries (IR.md 3.18).
"""

from __future__ import annotations

from collections.abc import Sequence

from tinycore.codegen.optimize.edit import read
from tinycore.uop.ops import Ops, UOp
from tinycore.uop.tree import Kernel, Launch, Plan, rebuild, walk


def as_plan(kernel: Kernel) -> Plan:
    """The plan of `kernel`: one launch, or one for each root statement if some run on a grid."""
    names = tuple([param.arg.name for param in kernel.params])
    statements = [s for s in kernel.body if s.op is not Ops.BUFFER]
    on_grid = any(s.op is Ops.LOOP and s.arg.map == "grid" for s in statements)
    if not on_grid or len(statements) == 1:
        launches = (Launch(kernel.name, names, kernel),)
        return Plan(kernel.name, kernel.params, kernel.variables, (), launches)
    return _cut(kernel, statements)


def _cut(kernel: Kernel, statements: list[UOp]) -> Plan:
    held = [s for s in kernel.body if s.op is Ops.BUFFER]
    assert not any(s.arg.init for s in held), f"as_plan: {kernel.name} starts a sum at its root"
    as_global = {s: s.replace(arg=s.arg._replace(space="global")) for s in held}
    parts = rebuild(statements, as_global)
    temps = tuple(as_global.values())
    launches = []
    for number, part in enumerate(parts):
        params = tuple([b for b in (*kernel.params, *temps) if b in buffers_of([part])])
        name = f"{kernel.name}_{number}"
        piece = Kernel(name, params, kernel.variables, (part,), kernel.spmd)
        launches.append(Launch(name, tuple([b.arg.name for b in params]), piece))
    return Plan(kernel.name, kernel.params, kernel.variables, temps, tuple(launches))


def buffers_of(statements: Sequence[UOp]) -> set[UOp]:
    """Every buffer that `statements` touch, those that hold row numbers included."""
    found = read(statements)
    for statement, _ in walk(statements):
        found |= {source for source in statement.src if source.op is Ops.BUFFER}
    return found
