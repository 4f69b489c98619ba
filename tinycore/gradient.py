"""Gradients, graph to graph: one rule an op, one walk backwards.

Comes in: a loss and targets. Goes out: the gradient of each. Next: schedule/.
"""

from collections.abc import Callable, Sequence

from tinycore.errors import GradientError
from tinycore.uop import graph
from tinycore.uop.ops import ELEMENTWISE, MOVEMENT, Ops, UOp, toposort

Rule = Callable[[UOp, UOp], UOp]  # (node, its gradient) -> gradient of a source
_PLAIN = ELEMENTWISE | {Ops.REDUCE}  # may get a constant gradient as a scalar


def gradient(loss: UOp, targets: Sequence[UOp], seed: UOp | None = None) -> list[UOp | None]:
    """The gradient of `loss` by each target; None where the loss does not depend on it.

    `seed` is the gradient of the loss, in its shape; a loss of one element needs none.
    Raises: GradientError if the loss or a target is no float, a seed is missing, or an op has no
    gradient.
    """
    _check(loss, targets, seed)
    flows = _flows(loss, targets)
    grads = {loss: seed or _full(loss, 1.0)}
    for node, sources in reversed(flows.items()):
        if node not in grads:
            continue
        grad = grads[node]
        if node.op in _PLAIN:
            grad = graph.uniform(grad) or grad
        for source, rule in sources:
            part = graph.broadcast(rule(node, grad), source.shape)
            value = graph.uniform(part)
            if not value or value.arg != 0:
                known = grads.get(source)
                grads[source] = graph.elementwise(Ops.ADD, known, part) if known else part
    return [grads.get(target) if target in flows else None for target in targets]


def _check(loss: UOp, targets: Sequence[UOp], seed: UOp | None) -> None:
    for node in (loss, *targets):
        if not node.is_float:
            raise GradientError(
                f"gradient: the loss or a target has type {node.dtype!r}; "
                "expected a floating-point type. Cast it."
            )
    if not seed and loss.size != 1:
        wrong = f"gradient: the loss has shape {loss.shape}; expected one element"
        raise GradientError(f"{wrong}. Reduce it, or pass the gradient of each element.")
    if seed and (seed.shape != loss.shape or seed.dtype is not loss.dtype):
        raise GradientError(
            f"gradient: the seed has shape {seed.shape} and type {seed.dtype!r}; "
            f"expected {loss.shape} and {loss.dtype!r}, as the loss. Expand or cast it."
        )


def _flows(loss: UOp, targets: Sequence[UOp]) -> dict[UOp, list[tuple[UOp, Rule]]]:
    """The nodes on the way to a target, sources first, each with the sources it flows to and their
    rules."""
    ends = {target for target in targets if not target.is_const}
    found = {}
    for node in toposort([loss]):
        row = RULES.get(node.op, (_refuse,) * len(node.src))
        pairs = zip(node.src, row, strict=True)
        flows = [(source, rule) for source, rule in pairs if rule and source in found]
        if node in ends or (flows and node.is_float):
            found[node] = flows
    return found


def _refuse(node: UOp, grad: UOp) -> UOp:
    wrong = f"gradient: {node.op.name.lower()} has no gradient"
    raise GradientError(f"{wrong}; expected a differentiable operation. Detach what it reads.")


# Pieces of rules


def _full(node: UOp, value: float) -> UOp:
    return graph.full(node.shape, value, node.dtype)


def _ones_where(mask: UOp, like: UOp) -> UOp:
    return mask.where(like.const_like(1.0), 0.0)


def _same(node: UOp, grad: UOp) -> UOp:
    return grad


def _spread(node: UOp, value: UOp) -> UOp:
    return graph.broadcast(value, node.source.shape)


# Scalar ops


def _sine(node: UOp, grad: UOp) -> UOp:
    """sin' = cos, and cos(x) = 1 - 2 sin(x/2)^2: halving an angle rounds nothing."""
    half = (node.source * 0.5).alu(Ops.SIN)
    return grad * (half * half * -2.0 + 1.0)


def _chosen(kept: int) -> Rule:
    """The gradient of max or min by source `kept`: ties give half to each."""

    def rule(node: UOp, grad: UOp) -> UOp:
        mine, theirs = node.src[kept], node.src[1 - kept]
        wins = theirs < mine if node.op is Ops.MAX else mine < theirs
        return wins.where(grad, mine.eq(theirs).where(grad, 0.0) * 0.5)

    return rule


# Reductions


def _of_extremum(node: UOp, grad: UOp) -> UOp:
    """Elements that equal the result have equal shares."""
    x = node.source
    wins = x.eq(_spread(node, node))
    count = graph.total(_ones_where(wins, x), node.arg.axes)
    return wins.where(_spread(node, grad / count), 0.0)


def _of_product(node: UOp, grad: UOp) -> UOp:
    """y/x without zeros; with one zero its partner is the product of the rest; else 0."""
    x, axes = node.source, node.arg.axes
    is_zero = x.eq(0.0)
    nonzero = is_zero.where(x.const_like(1.0), x)
    rest = _spread(node, graph.reduce(nonzero, axes, "prod"))
    zeros = _spread(node, graph.total(_ones_where(is_zero, x), axes))
    only_one = (is_zero & zeros.eq(1.0)).where(rest, 0.0)
    return _spread(node, grad) * zeros.eq(0.0).where(_spread(node, node) / nonzero, only_one)


_REDUCTIONS: dict[str, Rule] = {
    "sum": _spread,
    "max": _of_extremum,
    "min": _of_extremum,
    "prod": _of_product,
}


# Rows and parts


def _scattered_base(node: UOp, grad: UOp) -> UOp:
    if node.arg == "sum":
        return grad
    return node.source.eq(node).where(_winners_share(node, grad), 0.0)


def _scattered_values(node: UOp, grad: UOp) -> UOp:
    _, ids, values = node.src
    if node.arg == "sum":
        return graph.gather(grad, ids)
    wins = values.eq(graph.gather(node, ids))
    return wins.where(graph.gather(_winners_share(node, grad), ids), 0.0)


def _winners_share(node: UOp, grad: UOp) -> UOp:
    """The gradient of a scattered max or min over the number of values that equal it."""
    if node.arg == "prod":
        raise GradientError(
            "gradient: scatter by prod has no gradient; expected sum, max or min. "
            "Detach what it reads."
        )
    base, ids, values = node.src
    own = _ones_where(base.eq(node), base)
    others = _ones_where(values.eq(graph.gather(node, ids)), values)
    return grad / graph.scatter(own, ids, others)


def _copied_back(node: UOp, grad: UOp) -> UOp:
    device = graph.device_of(node.source)
    return grad.under(Ops.COPY, device) if device else grad


RULES: dict[Ops, tuple[Rule | None, ...]] = {
    # nothing flows
    **dict.fromkeys((Ops.CONST, Ops.VARIABLE, Ops.IOTA, Ops.BUFFER), ()),
    **dict.fromkeys((Ops.DETACH, Ops.TRUNC), (None,)),
    **dict.fromkeys((Ops.LT, Ops.EQ), (None, None)),
    # scalar
    Ops.CAST: (lambda node, grad: grad.cast(node.source.dtype),),
    Ops.NEG: (lambda node, grad: -grad,),
    Ops.EXP: (lambda node, grad: grad * node,),
    Ops.LOG: (lambda node, grad: grad / node.source,),
    Ops.SQRT: (lambda node, grad: grad * (node.alu(Ops.RECIP) * 0.5),),
    Ops.RECIP: (lambda node, grad: -(grad * (node * node)),),
    Ops.SIN: (_sine,),
    Ops.ADD: (_same, _same),
    Ops.MUL: (lambda node, grad: grad * node.src[1], lambda node, grad: grad * node.source),
    **dict.fromkeys((Ops.MAX, Ops.MIN), (_chosen(0), _chosen(1))),
    Ops.WHERE: (
        None,
        lambda node, grad: node.source.where(grad, 0.0),
        lambda node, grad: node.source.where(0.0, grad),
    ),
    # movement
    **dict.fromkeys(MOVEMENT, (graph.movement_adjoint,)),
    # the rest
    Ops.REDUCE: (lambda node, grad: _REDUCTIONS[node.combine](node, grad),),
    Ops.GATHER: (
        lambda node, grad: graph.scatter(_full(node.source, 0.0), node.src[1], grad),
        None,
    ),
    Ops.SCATTER: (_scattered_base, None, _scattered_values),
    Ops.STORE: (
        lambda node, grad: graph.store_view(grad, _full(node.src[1], 0.0), node.arg),
        lambda node, grad: graph.apply_view(grad, node.arg),
    ),
    Ops.CONTIGUOUS: (_same,),
    Ops.COPY: (_copied_back,),
}
"""The gradient of each source, given a node and its gradient; None where nothing flows."""
