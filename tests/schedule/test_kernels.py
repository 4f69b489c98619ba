"""How many kernels a graph becomes, and their text: general rules on indices, no known names."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.conftest import Golden
from tests.schedule import nets
from tests.schedule.evaluate import Array
from tests.schedule.nets import add, div, exp, log, matmul, mean, mul, sqrt, sub, total
from tests.schedule.running import Data, check_sinks, texts
from tinycore.gradient import gradient
from tinycore.schedule.create import Schedule, schedule_within
from tinycore.schedule.nodes import Limits
from tinycore.uop import graph
from tinycore.uop.graph import elementwise
from tinycore.uop.index import upper_shape, variable
from tinycore.uop.ops import Ops, UOp, const, toposort

rng = np.random.default_rng(11)
LIMITS = Limits(units=2)


def normal(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def counted(sinks: Sequence[UOp | tuple[UOp, UOp | None]]) -> Schedule:
    """The schedule alone, for sizes nobody runs on the reference."""
    return schedule_within([s if isinstance(s, tuple) else (s, None) for s in sinks], LIMITS)


# rows


def test_softmax_is_one_kernel_with_one_pass_for_both_statistics(golden: Golden) -> None:
    data = Data()
    schedule = check_sinks([nets.softmax(data.put(normal(5, 7)))], data)
    golden(texts(schedule), "softmax")
    assert len(schedule.kernels) == 1


def test_a_row_that_is_masked_away_ends_as_nan() -> None:
    data = Data()
    array = normal(3, 4)
    array[1] = -np.inf
    check_sinks([nets.softmax(data.put(array))], data)


def test_layernorm_is_one_kernel_forward_and_two_with_its_gradient(golden: Golden) -> None:
    data = Data()
    x, weight, bias, seed = (data.put(normal(*s)) for s in ((6, 10), (10,), (10,), (6, 10)))
    y = nets.layernorm(x, weight, bias)
    forward = check_sinks([y], data)
    grads = [found for found in gradient(y, [x, weight, bias], seed) if found is not None]
    backward = check_sinks(grads, data)
    both = check_sinks([y, *grads], data)
    assert [len(s.kernels) for s in (forward, backward, both)] == [1, 2, 2]
    golden(texts(forward), "layernorm")
    golden(texts(both), "layernorm_both")


def unseen(name: str, x: UOp, y: UOp) -> list[UOp]:
    top = nets.highest(x, 1)
    scale = exp(sub(x, top))
    share = div(scale, total(scale, 1))
    chains = {
        "logsumexp": [add(log(total(scale, 1)), top)],
        "softmax times its own rms": [mul(share, sqrt(add(mean(mul(share, share), 1), 1e-3)))],
        "two weighted means": [
            div(total(mul(scale, y), 1), total(scale, 1)),
            div(total(mul(mul(scale, y), y), 1), total(scale, 1)),
        ],
        "a sum of padded exponentials": [total(graph.pad(exp(x), ((0, 0), (2, 1))), 1)],
        "a variance of a clipped row": [mean(mul(nets.relu(sub(x, mean(x, 1))), x), 1)],
    }
    return chains[name]


@pytest.mark.parametrize(
    "name",
    [
        "logsumexp",
        "softmax times its own rms",
        "two weighted means",
        "a sum of padded exponentials",
        "a variance of a clipped row",
    ],
)
def test_chains_that_no_rule_names_are_one_kernel(name: str, golden: Golden) -> None:
    data = Data()
    sinks = unseen(name, data.put(normal(12, 20)), data.put(normal(12, 20)))
    schedule = check_sinks(sinks, data)
    golden(texts(schedule), name.replace(" ", "_"))
    assert len(schedule.kernels) == 1


def test_rows_and_columns_of_one_expression_are_two_kernels() -> None:
    data = Data()
    doubled = mul(data.put(normal(12, 20)), 2.0)
    assert len(check_sinks([total(doubled, 0), total(doubled, 1)], data).kernels) == 2


def test_a_normalised_row_into_a_matmul_is_two_kernels() -> None:
    data = Data()
    x = data.put(normal(20, 30))
    scaled = div(x, sqrt(add(mean(mul(x, x), 1), 1e-5)))
    schedule = check_sinks([matmul(scaled, data.put(normal(30, 40)))], data)
    assert len(schedule.kernels) == 2


def test_a_product_of_one_row_joins_a_kernel_only_if_it_is_small() -> None:
    for width, count in ((64, 3), (8, 1)):
        data = Data()
        x, first = data.put(normal(1, width)), data.put(normal(width, 4 * width))
        y = matmul(div(x, total(x, 1)), first)
        y = matmul(mul(y, y), data.put(normal(4 * width, width)))
        assert len(check_sinks([y], data, LIMITS, tolerance=1e-3).kernels) == count


# attention


def test_causal_attention_is_one_kernel(golden: Golden) -> None:
    data = Data()
    query, key, value = (data.put(normal(2, 16, 4)) for _ in range(3))
    schedule = check_sinks([nets.attention(query, key, value)], data)
    golden(texts(schedule), "attention")
    assert len(schedule.kernels) == 1


def test_attention_with_its_gradient_is_two_kernels_without_a_square_buffer(
    golden: Golden,
) -> None:
    data = Data()
    query, key, value, seed = (data.put(normal(2, 40, 4)) for _ in range(4))
    y = nets.attention(query, key, value)
    grads = [found for found in gradient(y, [query, key, value], seed) if found is not None]
    schedule = check_sinks([y, *grads], data)
    golden(texts(schedule), "attention_both")
    buffers = [node for kernel in schedule.kernels for node in kernel.buffers]
    assert len(schedule.kernels) == 2
    assert max(node.size for node in buffers) == 2 * 40 * 4


def test_scores_that_a_cache_holds_are_a_row_each_and_evaluated_once(golden: Golden) -> None:
    data = Data()
    query, key, value, seed = (data.put(normal(2, 40, 4)) for _ in range(4))
    y = nets.attention(query, key, value)
    grads = [found for found in gradient(y, [query, key, value], seed) if found is not None]
    sinks = [(node, None) for node in (y, *grads)]
    held = schedule_within(sinks, LIMITS._replace(cached=40 * 8, held=40))
    golden(texts(held), "attention_held")
    assert "rebase" not in texts(held)
    assert texts(held).count("f32[40] reg") == 6  # s, dp and their exponentials, in each kernel
    assert texts(held).count("exp(") == 2
    carried = schedule_within(sinks, LIMITS._replace(cached=40 * 8, held=39))
    assert "rebase" in texts(carried)


def test_large_attention_keeps_its_count() -> None:
    query, key, value, seed = (nets.leaf(8, 1024, 64) for _ in range(4))
    y = nets.attention(query, key, value)
    grads = [found for found in gradient(y, [query, key, value], seed) if found is not None]
    schedule = counted([y, *grads])
    buffers = [node for kernel in schedule.kernels for node in kernel.buffers]
    assert len(schedule.kernels) == 2
    assert max(node.size for node in buffers) == 8 * 1024 * 64


def test_appending_to_a_cache_and_reading_it_is_two_kernels_for_every_length(
    golden: Golden,
) -> None:
    heads, most, width = 2, 32, 4
    length = variable("L", 1, most)
    data = Data()
    query, key, value = (data.put(normal(heads, 1, width)) for _ in range(3))
    caches = [data.put(normal(heads, most, width)) for _ in range(2)]
    view = ((Ops.SHRINK, ((0, heads), (length - 1, length), (0, width))),)
    pairs = zip(caches, (key, value), strict=True)
    stored = [graph.store_view(cache, new, view) for cache, new in pairs]
    used = [graph.shrink(one, ((0, heads), (0, length), (0, width))) for one in stored]
    y = nets.attention(query, *used, causal=False)
    sinks = [(y, None), *zip(stored, caches, strict=True)]
    found = [check_sinks(sinks, data, variables={"L": n}) for n in (1, 2, 13, 32)]
    assert found[0].places[1:] == tuple(caches)
    assert len({texts(schedule) for schedule in found}) == 1
    golden(texts(found[0]), "cache")


# contractions


def test_a_matmul_with_its_epilogue_is_one_kernel(golden: Golden) -> None:
    data = Data()
    product = matmul(data.put(normal(5, 7)), data.put(normal(7, 3)))
    schedule = check_sinks([nets.relu(add(product, data.put(normal(3))))], data)
    golden(texts(schedule), "matmul")
    assert len(schedule.kernels) == 1


@pytest.mark.parametrize("stride", [1, 2])
def test_the_input_gradient_of_a_convolution_is_one_sum(stride: int, golden: Golden) -> None:
    data = Data()
    x, weight = data.put(normal(2, 3, 6, 6)), data.put(normal(4, 3, 3, 3))
    y = nets.conv2d(x, weight, padding=1, stride=stride)
    seed = data.put(normal(*upper_shape(y.shape)))
    (grad,) = gradient(y, [x], seed)
    assert grad is not None
    schedule = check_sinks([grad], data)
    golden(texts(schedule), f"conv_dx_stride_{stride}")
    assert len(schedule.kernels) == 1


def test_an_embedding_and_its_gradient(golden: Golden) -> None:
    data = Data()
    rows, ids = data.put(normal(6, 3)), data.put(np.array([1, -1, 1, 9], np.int32))
    y = graph.gather(rows, ids)
    (grad,) = gradient(y, [rows], data.put(normal(4, 3)))
    assert grad is not None
    schedule = check_sinks([y, grad], data)
    golden(texts(schedule), "embedding")


# training steps


def test_a_perceptron_step_is_eight_kernels_with_every_state_in_place() -> None:
    sinks = nets.perceptron_step(128, (784, 128, 10))
    schedule = counted(sinks)
    assert len(schedule.kernels) <= 8
    assert all(p is old for p, (_, old) in zip(schedule.places, sinks, strict=True) if old)


SMALL = ((1, 4, 3, False), (4, 4, 3, True), (4, 6, 3, False), (6, 6, 3, True))


@pytest.mark.parametrize(
    "sinks",
    [nets.perceptron_step(8, (12, 6, 5)), nets.convnet_step(3, 18, SMALL)],
    ids=["perceptron", "convolutions"],
)
def test_a_small_training_step_computes_what_numpy_does(sinks: nets.Sinks) -> None:
    data = Data()
    for node in toposort([node for node, _ in sinks]):
        if node.op is Ops.BUFFER:
            positive = np.abs(normal(*node.arg.shape)) * 0.3 + 0.05
            labels = rng.integers(0, 5, node.arg.shape).astype(np.int32)
            data[node] = positive if node.dtype.is_float else labels
    check_sinks(sinks, data, tolerance=1e-3)


def test_the_step_of_the_digits_net_is_at_most_24_kernels_with_every_state_in_place() -> None:
    sinks = nets.convnet_step()
    schedule = counted(sinks)
    assert len(schedule.kernels) <= 24
    assert all(p is old for p, (_, old) in zip(schedule.places, sinks, strict=True) if old)


# indices as values


def test_a_range_is_an_index_and_a_triangle_a_mask(golden: Golden) -> None:
    data = Data()
    x = data.put(normal(4, 4))
    places = [graph.expand(graph.reshape(graph.iota(4), s), (4, 4)) for s in ((4, 1), (1, 4))]
    later = elementwise(Ops.LT, *places)
    diagonal = elementwise(Ops.EQ, *places)
    kept = elementwise(Ops.WHERE, later, const(0.0, x.dtype), x)
    numbers = graph.cast(elementwise(Ops.ADD, places[0], const(3, places[0].dtype)), x.dtype)
    sinks = [kept, graph.cast(diagonal, x.dtype), numbers]
    golden(texts(check_sinks(sinks, data)), "indices")
