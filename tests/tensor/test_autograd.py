"""backward and gradient: what is reached, what is kept, what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinycore.config import Context
from tinycore.errors import GradientError
from tinycore.tensor import Tensor

rng = np.random.default_rng(11)


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), requires_grad=True)


# backward


def test_backward_fills_the_tensors_that_require_it_and_no_others() -> None:
    x, y = leaf(1.0, 2.0), Tensor([3.0, 4.0])
    (x * y).sum().backward()
    assert x.grad.tolist() == [3.0, 4.0]
    assert y.grad is None


def test_gradients_of_two_losses_add_up() -> None:
    x = leaf(1.0)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0]


def test_a_gradient_can_be_given_for_a_tensor_of_several_elements() -> None:
    x = leaf(1.0, 2.0)
    (x * x).backward(Tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 40.0]


def test_a_gradient_given_as_a_number_is_spread() -> None:
    x = leaf(1.0, 2.0)
    (x * 3).backward(Tensor(2.0))
    assert x.grad.tolist() == [6.0, 6.0]


def test_two_leaves_of_equal_value_have_their_own_gradients() -> None:
    a = Tensor.zeros(2, requires_grad=True)
    b = Tensor.zeros(2, requires_grad=True)
    (a * 2 + b * 3).sum().backward()
    assert a.grad.tolist() == [2.0, 2.0]
    assert b.grad.tolist() == [3.0, 3.0]


def test_a_lazy_one_is_no_constant_to_its_gradient() -> None:
    x = Tensor.ones(3)
    assert (x * x).sum().gradient(x)[0].tolist() == [2.0, 2.0, 2.0]


def test_a_view_that_requires_grad_is_a_leaf_of_its_own() -> None:
    base = Tensor([[1.0, 2.0], [3.0, 4.0]])
    row = base[1].requires_grad_()
    row.reshape(1, 2).sum().backward()
    assert row.grad.tolist() == [1.0, 1.0]
    assert base.grad is None


def test_the_gradient_of_a_view_flows_to_the_leaf() -> None:
    x = leaf(1.0, 2.0, 3.0)
    (x[1:].reshape(2, 1) * Tensor([[5.0], [7.0]])).sum().backward()
    assert x.grad.tolist() == [0.0, 5.0, 7.0]


def test_an_intermediate_view_can_be_named() -> None:
    x = leaf(1.0, 2.0, 3.0, 4.0)
    middle = x.reshape(2, 2)
    loss = middle.reshape(4).sum() + middle.sum()
    assert loss.gradient(middle)[0].tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_a_leaf_changed_in_place_is_differentiated_as_it_is_now() -> None:
    x = leaf(1.0, 2.0)
    x[0] = 5.0
    (x * x).sum().backward()
    assert x.grad.tolist() == [10.0, 4.0]


def test_a_write_cuts_what_it_replaced() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    y[0] = 0.0
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 3.0]


def test_a_value_written_receives_its_gradient() -> None:
    x = leaf(1.0)
    y = Tensor.zeros(3)
    y[1:2] = x
    (y * Tensor([1.0, 2.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [2.0]


def test_where_no_gradient_flows_it_is_zero() -> None:
    x = leaf(1.5, 2.5)
    (x.floor() + x * 0).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_a_second_derivative_is_a_gradient_of_a_gradient() -> None:
    x = Tensor([2.0])
    (first,) = (x * x * x).sum().gradient(x)
    (second,) = first.sum().gradient(x)
    assert first.tolist() == [12.0]
    assert second.tolist() == [12.0]


def test_the_second_derivative_of_a_variance_counts_the_mean() -> None:
    x = Tensor([1.0, 2.0, 4.0])
    (first,) = x.var(correction=0).gradient(x)
    (second,) = first[0].gradient(x)
    np.testing.assert_allclose(second.numpy(), [4 / 9, -2 / 9, -2 / 9], rtol=1e-6)


# stops


def test_detach_stops_the_gradient() -> None:
    x = leaf(2.0)
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [2.0]


def test_what_is_computed_without_gradients_is_a_constant() -> None:
    x = leaf(2.0)
    with Tensor.no_grad():
        y = x * 3
        assert y.requires_grad is None
    assert y.requires_grad is None
    (x * y).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_no_grad_decorates_a_function() -> None:
    @Tensor.no_grad()
    def triple(x: Tensor) -> Tensor:
        return x * 3

    assert triple(leaf(1.0)).requires_grad is None


def test_an_update_without_gradients_starts_a_new_leaf() -> None:
    x = leaf(2.0)
    scale = leaf(1.0)
    with Tensor.no_grad():
        x.assign(x - scale)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0]
    assert scale.grad is None


def test_gradients_are_no_leaves() -> None:
    x = leaf(2.0)
    (x * x).sum().backward()
    assert x.grad.requires_grad is None


# requires_grad


def test_requires_grad_is_unset_true_or_false() -> None:
    assert Tensor([1.0]).requires_grad is None
    assert leaf(1.0).requires_grad is True
    assert Tensor([1.0], requires_grad=False).requires_grad is False
    assert (leaf(1.0) * 2).requires_grad is True
    assert (Tensor([1.0]) * 2).requires_grad is None


def test_requires_grad_can_be_taken_back() -> None:
    x, y = leaf(1.0), leaf(1.0)
    x.requires_grad = False
    (x * y).sum().backward()
    assert x.grad is None
    x.requires_grad_()
    (x * y).sum().backward()
    assert x.grad.tolist() == [1.0]


def test_a_leaf_may_be_named_after_it_was_used() -> None:
    x = Tensor([3.0])
    loss = (x * x).sum()
    x.requires_grad_()
    loss.backward()
    assert x.grad.tolist() == [6.0]


# what was stored meanwhile


def test_a_loss_that_was_read_can_still_be_differentiated() -> None:
    x = leaf(1.0, 2.0)
    loss = (x * x).sum()
    assert loss.item() == 5.0
    loss.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_a_value_stored_on_the_way_does_not_cut_the_gradient() -> None:
    x = leaf(1.0, 2.0)
    middle = (x * 3).realize()
    assert repr(middle).startswith("Tensor([3., 6.]")
    (middle * middle).realize().sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]


def test_a_leaf_stored_between_loss_and_backward_is_reached() -> None:
    x = Tensor.ones(2, requires_grad=True)
    loss = (x * 4).sum()
    x.realize()
    loss.backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_many_values_stored_on_the_way_do_not_cut_the_gradient() -> None:
    x = leaf(1.0)
    state = x
    for _ in range(300):
        state = (state * 1.01).realize()
    state.sum().backward()
    np.testing.assert_allclose(x.grad.item(), 1.01**300, rtol=1e-4)


def test_dropout_keeps_its_mask_for_a_loss_that_was_read() -> None:
    x = Tensor.ones(1000, requires_grad=True)
    with Tensor.train():
        dropped = x.dropout(0.5)
    kept = dropped.numpy() != 0
    loss = dropped.sum()
    loss.item()
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy() != 0, kept)


def test_a_history_that_was_overwritten_is_refused() -> None:
    x = leaf(1.0)
    loss = (x * x).sum()
    loss.item()
    with Tensor.no_grad():
        x.assign(Tensor([5.0])).realize()
    with pytest.raises(GradientError) as caught:
        loss.backward()
    assert str(caught.value) == (
        "backward: a tensor of shape (1,) was stored, then something it was computed from was "
        "overwritten; expected the gradient to be asked for before. "
        "Call it earlier, or compute the tensor again"
    )


def test_a_loss_not_read_survives_the_update_of_its_leaf() -> None:
    x = leaf(3.0)
    loss = (x * x).sum()
    with Tensor.no_grad():
        x.assign(Tensor([5.0])).realize()
    assert loss.item() == 9.0


# refusals


def message(action: Callable[[], Any]) -> str:
    with pytest.raises(GradientError) as caught:
        action()
    return str(caught.value)


def test_backward_without_a_leaf_is_refused() -> None:
    assert message(lambda: Tensor([1.0]).sum().backward()) == (
        "backward: no tensor with requires_grad=True was used to compute this one; expected at "
        "least one. Set requires_grad_() before computing"
    )


def test_a_target_that_was_not_used_is_refused() -> None:
    x, y = Tensor([1.0]), Tensor([2.0])
    assert message(lambda: (x * 2).sum().gradient(x, y)) == (
        "gradient: target 1 was not used to compute this tensor; expected targets it depends on. "
        "Name the very tensors it was computed from"
    )


def test_backward_of_several_elements_needs_their_gradient() -> None:
    assert "the loss has shape (2,); expected one element" in message(
        lambda: leaf(1.0, 2.0).backward()
    )


def test_backward_without_gradients_is_refused() -> None:
    loss = leaf(1.0).sum()
    with Context(NO_GRAD=1):
        text = message(loss.backward)
    assert text == "backward: gradients are off; expected NO_GRAD=0. Leave the no_grad block"


def test_integers_cannot_require_a_gradient() -> None:
    assert message(lambda: Tensor([1]).requires_grad_()) == (
        "requires_grad: the tensor has type dtypes.int32; expected a floating-point type. Cast it"
    )


def test_the_gradient_of_a_sine_keeps_its_digits_far_from_zero() -> None:
    x = np.array([0.1, 10.0, 1e3, 1e5], np.float32)
    angles = Tensor(x)
    [found] = angles.sin().sum().gradient(angles)
    np.testing.assert_allclose(found.numpy(), np.cos(x.astype(np.float64)), atol=3e-7)


@pytest.mark.parametrize("pooled", [True, False])
def test_a_largest_element_is_found_again_where_it_is_computed_again(pooled: bool) -> None:
    x = np.random.default_rng(0).normal(size=(4, 8, 6, 6)).astype(np.float32)
    found = []
    for device in (None, "REF"):
        values = Tensor(x, device=device)
        normal = values.layernorm(-1)
        top = normal.max_pool2d(2) if pooled else normal.max((2, 3))
        [grad] = (top * top).sum().gradient(values)
        found.append(grad.numpy())
    np.testing.assert_allclose(*found, atol=1e-5)


def test_a_leaf_stored_over_what_it_was_computed_from_is_a_leaf_again() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    for factor in (1.0, 0.5, 0.25):
        w.grad = None
        (w * w).sum().backward()
        assert w.tolist() == [factor, 2 * factor]
        assert w.grad is not None
        w.assign(w.detach() - w.grad * 0.25).realize()


def test_a_leaf_stored_over_what_its_gradient_flows_to_has_lost_its_history() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    w.assign(w * 0.5).realize()
    with pytest.raises(GradientError, match="was computed from was overwritten"):
        (w * w).sum().backward()


def test_gradients_add_up_in_place() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    grad = w.grad
    (w * 3).sum().backward()
    assert w.grad is grad
    assert w.grad is not None and w.grad.tolist() == [5.0, 7.0]
