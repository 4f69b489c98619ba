"""Gradients: the tensors that ask for one, what stored values were computed from, backward.

Comes in: a loss and its targets. Goes out: lazy gradients. The graph of a stored value is kept
while its BUFFER lives and what it reads is not overwritten. Next: creation.py.
"""

from collections.abc import Iterable, Sequence
from typing import Self
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from tinycore.config import NO_GRAD, Context
from tinycore.engine.cell import PENDING, STATES, Cell, buffer_of, fresh_number, new_node
from tinycore.engine.realize import realize
from tinycore.errors import GradientError
from tinycore.gradient import gradient as differentiate
from tinycore.runtime.buffer import Buffer
from tinycore.tensor.base import Frame, RequiresGrad
from tinycore.uop import Nodes, graph
from tinycore.uop.ops import Ops, UOp, postorder, toposort
from tinycore.uop.tree import Rebuild

Values = dict[Cell, UOp]  # a cell and what it is computed from

# Tensors with requires_grad=True while they live, by the number of their mark.
REQUIRING = WeakValueDictionary[int, Frame]()

# BUFFER -> the node its value was computed from, where a gradient flows through.
ORIGINS = WeakKeyDictionary[UOp, UOp]()


# BUFFERs whose history was lost: what it reads was overwritten.
LOST = WeakSet[UOp]()


class Autograd(Frame):
    """Tensor methods about gradients."""

    __slots__ = ()

    @property
    def requires_grad(self) -> bool | None:
        """Whether backward() reaches this tensor; None if nobody said.

        >>> Tensor(1.0, requires_grad=True).requires_grad
        True
        """
        if self._requires_grad is not None:
            return self._requires_grad
        with Context(NO_GRAD=0):  # a tensor made without gradients is detached in a block or not
            node = self.uop
        return node in carriers([node]) or None

    @requires_grad.setter
    def requires_grad(self, wanted: bool | None) -> None:
        """See requires_grad_.

        >>> Tensor(1.0).requires_grad = True
        """
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: RequiresGrad = True) -> Self:
        """Set whether backward() shall fill `grad`.

        Raises: GradientError for other than floating-point elements.

        >>> Tensor(1.0).requires_grad_().requires_grad
        True
        """
        if requires_grad and not self.dtype.is_float:
            raise GradientError(
                f"requires_grad: the tensor has type {self.dtype!r}; expected a floating-point "
                "type. Cast it"
            )
        number = self.mark
        if requires_grad and number is None:
            number = fresh_number()
            step = (Ops.CAST, number)
            self.steps = (*self.steps, step)
        if number is not None:
            REQUIRING.pop(number, None)
        if requires_grad and number is not None:
            REQUIRING[number] = self
        self._requires_grad = requires_grad
        return self

    @property
    def mark(self) -> int | None:
        """The number that keeps this tensor's node apart, if any.

        >>> Tensor(1.0).mark
        """
        if not self.steps:
            return None
        op, number = self.steps[-1]
        if op is not Ops.CAST:
            return None
        assert isinstance(number, int), "a mark is a number"
        return number if REQUIRING.get(number, self) is self else None

    def backward(self, gradient: Self | None = None) -> Self:
        """Add the gradient of this tensor to `grad` of every tensor with requires_grad=True.

        `gradient` is that of this tensor itself; a single number needs none.
        Raises: GradientError if no tensor is reached, gradients are off, or `gradient` is missing.

        >>> x = Tensor(3.0, requires_grad=True)
        >>> (x * x).backward().item(), x.grad.item()
        (9.0, 6.0)
        """
        asking = REQUIRING.values()
        leaves = [tensor for tensor in asking if isinstance(tensor, type(self))]
        grads = self._gradients(leaves, gradient, "backward")
        if all(grad is None for grad in grads):
            raise GradientError(
                "backward: no tensor with requires_grad=True was used to compute this one; "
                "expected at least one. Set requires_grad_() before computing"
            )
        for leaf, grad in zip(leaves, grads, strict=True):
            if grad is not None:
                leaf._add_grad(grad)
        return self

    def _add_grad(self, grad: UOp) -> Self:
        """In place: a captured function shall add to the same cell."""
        old = self.grad
        with Context(NO_GRAD=1):
            total = self.of_uop(grad)
            if old is not None:
                total = old._combined(Ops.ADD, total)
            new = (total.shape, total.dtype)
            if old is None or old.movements or new != (old.shape, old.dtype):
                self.grad = total
            else:
                old.cell.write(graph.detach(total.uop))
        return self

    def gradient(self, *targets: Self, gradient: Self | None = None) -> list[Self]:
        """The gradient of this tensor by each target, whether it requires one or not.

        Raises: as backward.

        >>> x = Tensor(3.0)
        >>> (x * x).gradient(x)[0].item()
        6.0
        """
        grads = self._gradients(targets, gradient, "gradient")
        found: list[Self] = []
        for target, grad in zip(targets, grads, strict=True):
            if grad is None:
                raise GradientError(
                    f"gradient: target {len(found)} was not used to compute this tensor; expected "
                    "targets it depends on. Name the very tensors it was computed from"
                )
            found.append(target.of_uop(grad))
        return found

    def _gradients(
        self,
        targets: Sequence[Self],
        seed: Self | None,
        operation: str,
    ) -> list[UOp | None]:
        if NO_GRAD.value:
            raise GradientError(
                f"{operation}: gradients are off; expected NO_GRAD=0. Leave the no_grad block"
            )
        wanted = [target.uop for target in targets]
        (loss, *places), back = unrolled([self.uop, *wanted])
        reached = postorder([loss], _attached)
        inside = set(reached)
        _check_histories(inside, operation)
        found = [_within(place, inside) for place in places]
        known = [place for place in found if place is not None]
        start = None
        if seed is not None:
            wide = graph.broadcast(seed.uop, loss.shape)
            start = graph.cast(wide, loss.dtype)
        computed = differentiate(loss, known, start)
        way = Rebuild(back)
        grads: dict[UOp | None, UOp] = {}
        for place, grad in zip(known, computed, strict=True):
            zeros = graph.full(place.shape, 0, place.dtype)
            grads[place] = way.node(grad or zeros)
        return [grads.get(place) for place in found]

    # modes

    @staticmethod
    def no_grad() -> Context:
        """A `with` block, or a decorator, without gradients.

        >>> x = Tensor(1.0, requires_grad=True)
        >>> with Tensor.no_grad():
        ...     y = x * 2
        >>> y.requires_grad is None
        True
        """
        return Context(NO_GRAD=1)

    @staticmethod
    def train(mode: bool = True) -> Context:
        """A `with` block, or a decorator, in which dropout drops and batchnorm learns.

        >>> with Tensor.train():
        ...     Tensor.training
        True
        """
        return Context(TRAINING=int(mode))


def _within(node: UOp, inside: set[UOp]) -> UOp | None:
    """The node in the graph of the loss, or what it marks if it was marked later."""
    is_mark = node.op is Ops.CAST and node.source.dtype is node.dtype
    if is_mark and node not in inside:
        node = node.source
    return node if node in inside else None


def _check_histories(inside: set[UOp], operation: str) -> None:
    lost = [node for node in inside if node in LOST]
    if lost:
        raise GradientError(
            f"{operation}: a tensor of shape {lost[0].shape} was stored, then something it was "
            "computed from was overwritten; expected the gradient to be asked for before. "
            "Call it earlier, or compute the tensor again"
        )


def carriers(roots: Iterable[UOp]) -> set[UOp]:
    """The nodes under `roots` through which a gradient flows."""
    found: set[UOp] = set()
    if not REQUIRING:
        return found
    for node in toposort(roots):
        if node.op is Ops.DETACH or not node.dtype.is_float:
            continue
        is_leaf = node.op is Ops.CAST and node.tag in REQUIRING
        is_reached = not found.isdisjoint(node.src)
        if is_leaf or is_reached or node in ORIGINS:
            found.add(node)
    return found


# histories


def realize_cells(cells: Iterable[Cell]) -> None:
    """Store cells, and remember what gradients need."""
    pending = {}
    if REQUIRING or ORIGINS:
        pending = {cell: cell.stored for cell in PENDING}
    origins = _wanted(pending)
    realize(cells)
    settled = [cell for cell in pending if cell.is_realized]
    written = {cell.uop for cell in settled if cell.uop is pending[cell]}
    _forget(written)
    for cell, origin in origins.items():
        if not cell.is_realized:
            continue
        if written.isdisjoint(toposort([origin])):  # else this just overwrote what it reads
            ORIGINS[cell.uop] = origin
        elif origin in carriers([origin]):
            LOST.add(cell.uop)


def _wanted(pending: Iterable[Cell]) -> Values:
    """The nodes that a gradient flows through, or of leaves."""
    nodes = {cell: cell.uop for cell in pending}
    leaves = {tensor.cell for tensor in REQUIRING.values()}
    flowing = carriers(nodes.values())
    found = {}
    for cell, node in nodes.items():
        is_leaf = cell in leaves and node.op is not Ops.DETACH
        if is_leaf or node in flowing:
            found[cell] = node
    return _with_copied_states(found)


def _with_copied_states(nodes: Values) -> Values:
    """The same, reading copies of the random counters, which a realization moves on."""
    if not nodes or not STATES:
        return nodes
    reached = set(toposort(nodes.values()))
    moving = [state.stored for state in STATES if not state.is_realized]
    copies = {stored: _copy(stored) for stored in moving if stored in reached}
    if not copies:
        return nodes
    kept = Rebuild(copies)
    return {cell: kept.node(node) for cell, node in nodes.items()}


def _copy(node: UOp) -> UOp:
    old = buffer_of(node)
    new = Buffer(old.device, old.dtype, old.count)
    new.copyin(old.as_memoryview())
    return new_node(new, node.shape)


def _forget(written: set[UOp]) -> None:
    """Drop the histories of overwritten BUFFERs, and those that read one."""
    if not written or not ORIGINS:
        return
    kept = dict(ORIGINS)
    for stored, origin in kept.items():
        if stored in written:
            del ORIGINS[stored]
        elif not written.isdisjoint(toposort([origin])):
            del ORIGINS[stored]
            LOST.add(stored)


def _attached(node: UOp) -> Nodes:
    return () if node.op is Ops.DETACH else node.src


def unrolled(roots: Sequence[UOp]) -> tuple[list[UOp], dict[UOp, UOp]]:
    """`roots` with stored values replaced by what made them, and the way back."""
    new: dict[UOp, UOp] = {}
    back = {}

    def sources(node: UOp) -> Nodes:
        origin = ORIGINS.get(node) if node.is_buffer else None
        if origin is None:
            return node.src
        return (origin,)

    for node in postorder(roots, sources):
        found = tuple(new[source] for source in sources(node))
        if node.is_buffer and found:
            new[node] = found[0]
            back[found[0]] = node
        else:
            new[node] = node.over(found)
    return [new[root] for root in roots], back
