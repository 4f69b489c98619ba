"""Where values are computed: named once, at the loop of their deepest axis, masks included."""

import numpy as np

from tests.schedule.evaluate import Array
from tests.schedule.nets import add, exp, leaf, matmul, mul, total
from tests.schedule.running import Data, check_sinks, texts, written
from tinycore.schedule.create import schedule_within
from tinycore.schedule.nodes import Limits
from tinycore.uop import Ops, UOp, graph
from tinycore.uop.graph import elementwise
from tinycore.uop.tree import values, walk

rng = np.random.default_rng(4)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def text_of(data: Data, *sinks: UOp) -> str:
    return texts(check_sinks(list(sinks), data))


def test_what_two_readers_share_has_a_name() -> None:
    data = Data()
    x = exp(data.put(normal(4)))
    assert "v0 = exp(b0[i0])\n    b1[i0] = v0 * v0" in text_of(data, mul(x, x))


def test_what_an_inner_loop_would_repeat_is_computed_before_it() -> None:
    data = Data()
    row = total(data.put(normal(4, 6)), 1)
    text = text_of(data, mul(data.put(normal(4, 6)), exp(row)))
    lines = text.splitlines()
    named = next(k for k, line in enumerate(lines) if "exp(" in line)
    assert "par" in lines[named + 1]


def test_the_axes_of_a_mask_count() -> None:
    """A value without an axis of the inner loop, under a mask that has one, stays inside."""
    data = Data()
    row = total(data.put(normal(4, 6)), 1)
    spread = graph.pad(exp(row), ((0, 0), (2, 3)), 1.0)
    text_of(data, mul(spread, data.put(normal(4, 6))))


def test_a_sign_has_no_name_of_its_own() -> None:
    data = Data()
    row = elementwise(Ops.NEG, total(data.put(normal(4, 6)), 1))
    text = text_of(data, add(data.put(normal(4, 6)), row))
    assert "v0" not in text


def test_a_reduction_inside_is_evaluated_outside_the_loops_it_does_not_need() -> None:
    data = Data()
    query, key, value = (data.put(normal(40, 4)) for _ in range(3))
    scores = matmul(query, graph.permute(key, (1, 0)))
    lines = text_of(data, matmul(exp(mul(scores, 0.1)), value)).splitlines()
    inner = [line for line in lines if "par" in line][1:]
    assert [line.strip()[:3] for line in lines].index("red") < lines.index(inner[0])


def test_a_deep_expression_is_cut_into_statements_that_programs_may_recurse_into() -> None:
    x = leaf(8)
    for _ in range(5000):
        x = elementwise(Ops.SIN, x)
    (scheduled,) = schedule_within([(x, None)], Limits()).kernels
    for statement, _ in walk(scheduled.kernel.body):
        assert all(depth(value) <= 65 for value in values(statement))


def depth(value: UOp) -> int:
    """Nested scalar ops above names and loads."""
    count = 0
    while value.op not in (Ops.LET, Ops.LOAD):
        value = value.src[0]
        count += 1
    return count


def test_kernels_of_a_graph_are_parameters_in_order_with_their_outputs() -> None:
    data = Data()
    x = data.put(normal(4, 6))
    sink = add(x, 1.0)
    (scheduled,) = check_sinks([sink], data).kernels
    assert scheduled.buffers == (x, sink)
    assert written(scheduled) == [scheduled.buffers[1]]
    assert [param.arg.name for param in scheduled.kernel.params] == ["b0", "b1"]
