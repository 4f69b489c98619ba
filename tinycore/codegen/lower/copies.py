"""Makes tile assignments loops: a COPY runs where it stands, so WAIT and FREE wait for nothing.

Comes in: a tree after its actions. Goes out: one without COPY, WAIT and FREE, for targets without
engines that copy on their own. The axis that a source lies along runs along lanes. Next: reduce.py.
"""

from __future__ import annotations

from tinycore.codegen.lower.loops import nest
from tinycore.codegen.lower.registers import in_memory
from tinycore.codegen.optimize.edit import Nodes, Statements, edit
from tinycore.runtime.caps import Caps
from tinycore.runtime.errors import Unsupported
from tinycore.uop.index import Index, axis, of_atom
from tinycore.uop.ops import Ops, UOp, toposort
from tinycore.uop.tree import Kernel, LoopArg


def copies(kernel: Kernel, caps: Caps) -> Kernel:
    """`kernel` with its tile assignments as loops. Raises: Unsupported for MMA and roles."""

    def change(statement: UOp) -> Nodes:
        if statement.op is Ops.MMA:
            raise Unsupported("lower: MMA has no lowering for this target; expected loops")
        if statement.op is Ops.BLOCK and statement.arg.kind != "seq":
            raise Unsupported("lower: roles have no lowering for this target; expected one block")
        if statement.op in (Ops.WAIT, Ops.FREE):
            return []
        if statement.op is Ops.COPY:
            return _loops(statement, caps)
        return [statement]

    return kernel._replace(body=edit(kernel.body, change))


def _loops(copy: UOp, caps: Caps) -> Statements:
    steps = _steps(copy.src[1])
    loops = [LoopArg(name, extent, "par") for name, extent in copy.arg.box]
    loops.sort(key=lambda arg: steps.get(axis(arg.axis, arg.extent)) == 1)
    plain = copy.arg._replace(box=(), engine="")
    assignment = copy.replace(op=Ops.STORE, arg=plain)
    lanes = caps.vector_bytes // copy.src[0].dtype.itemsize
    return nest(loops, [assignment], lanes)


def _steps(value: UOp) -> dict[Index, int]:
    """How far the first load of a value moves in memory along each axis."""
    for node in toposort([value]):
        if node.op is Ops.LOAD:
            offset = in_memory(node.src[0].arg).offset(node.arg)
            return {of_atom(atom): step for atom, step in offset.terms}
    return {}
