"""Views, writes and copies: what shows where, and when. Each case also holds for numpy."""

import gc

import numpy as np
import pytest

from tinycore.engine.cell import PENDING, buffer_of
from tinycore.errors import DTypeError, ShapeError
from tinycore.tensor import Tensor


def stored(*shape: int) -> Tensor:
    """0, 1, 2, .. in memory."""
    return Tensor(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))


def lazy(*shape: int) -> Tensor:
    """0, 1, 2, .. not computed yet."""
    return stored(*shape) * 1.0 + 0.0


def array(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


MAKERS = pytest.mark.parametrize("make", [stored, lazy])


def same(tensor: Tensor, wanted: object) -> None:
    np.testing.assert_array_equal(tensor.numpy(), np.asarray(wanted))


# Two tensors that look alike


def test_two_lazy_zeros_assigned_to_separately_stay_separate() -> None:
    a, b = Tensor.zeros(3), Tensor.zeros(3)
    a.assign(Tensor([1.0, 2.0, 3.0]))
    same(a, [1, 2, 3])
    same(b, [0, 0, 0])


def test_two_realized_zeros_are_two_buffers() -> None:
    a, b = Tensor.zeros(3), Tensor.zeros(3)
    a.realize(b)
    assert buffer_of(a.cell.uop) is not buffer_of(b.cell.uop)
    a += 1
    same(a, [1, 1, 1])
    same(b, [0, 0, 0])


def test_what_folds_to_its_operand_is_still_a_copy() -> None:
    x = stored(3)
    y = x + 0
    y[0] = 9
    same(x, [0, 1, 2])
    same(y, [9, 1, 2])


def test_a_cast_to_the_same_type_is_the_same_tensor() -> None:
    x = stored(3)
    y = x.float()
    y += 1
    same(x, [1, 2, 3])


# Writing through views


@MAKERS
def test_a_write_through_a_slice_shows_in_the_original(make) -> None:
    x, n = make(4, 3), array(4, 3)
    x[1:3] = 7
    n[1:3] = 7
    same(x, n)


@MAKERS
def test_a_write_through_a_view_of_a_view_of_a_view_shows_in_all(make) -> None:
    x = make(4, 6)
    a = x[1:]
    b = a.reshape(9, 2)
    c = b[::2]
    c.assign(c * 10)
    n = array(4, 6)
    n[1:].reshape(9, 2)[::2] *= 10
    for tensor, wanted in ((x, n), (a, n[1:]), (b, n[1:].reshape(9, 2))):
        same(tensor, wanted)


@MAKERS
def test_a_write_through_a_permuted_view_shows_in_the_original(make) -> None:
    x, n = make(3, 4), array(3, 4)
    x.T[1] = 5
    n.T[1] = 5
    same(x, n)


@MAKERS
def test_a_write_through_a_flipped_view_shows_in_the_original(make) -> None:
    x, n = make(5), array(5)
    x.flip(0)[:2] = Tensor([8.0, 9.0])
    n[::-1][:2] = [8, 9]
    same(x, n)


@MAKERS
def test_a_write_through_every_third_element_shows_in_the_original(make) -> None:
    x, n = make(8), array(8)
    x[1::3] = -1
    n[1::3] = -1
    same(x, n)


@MAKERS
def test_a_write_through_a_reshaped_permuted_view_shows_in_the_original(make) -> None:
    """PyTorch and numpy copy here; a reshape is always a view in tinycore."""
    x = make(2, 3)
    x.T.reshape(6)[0:2] = 9
    same(x, [[9, 1, 2], [9, 4, 5]])


def test_a_write_to_the_original_shows_in_a_view_made_before() -> None:
    x = stored(4)
    view = x[1:3]
    x += 10
    same(view, [11, 12])


def test_an_expanded_view_refuses_writes() -> None:
    x = stored(1, 3)
    with pytest.raises(ShapeError, match="repeats elements"):
        x.expand(2, 3).assign(0.0)
    with pytest.raises(ShapeError, match="repeats elements"):
        x.expand(2, 3)[0] = 1.0


def test_a_padded_tensor_is_no_view() -> None:
    x = stored(2)
    x.pad((1, 1))[1] = 9
    same(x, [0, 1])


# Reading before writing


def test_what_was_read_before_a_write_keeps_the_old_value() -> None:
    x = stored(3)
    before = x * 2
    x += 5
    same(before, [0, 2, 4])
    same(x, [5, 6, 7])


def test_a_pending_reader_of_a_part_keeps_the_old_value() -> None:
    x = stored(4)
    before = x[1:] * 1
    x[2] = 50
    x.realize()
    same(before, [1, 2, 3])


def test_a_pending_reader_survives_the_realization_of_the_write() -> None:
    x = stored(3)
    reader = (x + 1).sum()
    x *= 100
    x.realize()
    assert reader.item() == 6


def test_a_dead_reader_costs_nothing() -> None:
    x = stored(3)
    reader = x * 3
    del reader
    gc.collect()
    x += 1
    x.realize()
    assert not [cell for cell in PENDING if cell.device == x.device and cell is x.cell]
    same(x, [1, 2, 3])


# A tensor written from itself


def test_a_shifted_copy_onto_itself_reads_the_old_values() -> None:
    x, n = stored(5), array(5)
    x[1:] = x[:-1]
    n[1:] = n[:-1].copy()
    same(x, n)


def test_a_tensor_can_be_turned_around_in_place() -> None:
    x = stored(5)
    x.assign(x.flip(0))
    same(x, [4, 3, 2, 1, 0])


def test_an_elementwise_update_stays_in_its_buffer() -> None:
    x = stored(4).realize()
    buffer = buffer_of(x.cell.uop)
    x.assign(x * 2 + 1)
    x.realize()
    assert buffer_of(x.cell.uop) is buffer
    same(x, [1, 3, 5, 7])


def test_a_division_by_its_own_sum_reads_the_old_sum() -> None:
    x = Tensor([[1.0, 3.0], [1.0, 1.0]])
    x /= x.sum(0)
    same(x, [[0.5, 0.75], [0.5, 0.25]])


def test_two_tensors_can_be_swapped() -> None:
    a, b = stored(3), stored(3) * 10
    b.realize()
    old = a + 0
    a.assign(b)
    b.assign(old)
    same(a, [0, 10, 20])
    same(b, [0, 1, 2])


def test_two_parts_can_be_swapped_through_views() -> None:
    x = stored(4)
    first = x[:2] + 0
    x[:2] = x[2:]
    x[2:] = first
    same(x, [2, 3, 0, 1])


def test_a_transpose_can_be_written_onto_itself() -> None:
    x = stored(3, 3)
    x.assign(x.T)
    same(x, array(3, 3).T)


# Several writes


def test_writes_to_overlapping_views_happen_in_order() -> None:
    x, n = stored(6), array(6)
    x[0:4] = 1
    x[2:6] = 2
    x[3] = 3
    n[0:4], n[2:6], n[3] = 1, 2, 3
    same(x, n)


def test_four_writes_before_one_realization_all_count() -> None:
    x = stored(3)
    for _ in range(4):
        x += 1
    same(x, [4, 5, 6])


def test_a_write_in_a_loop_sees_the_write_before() -> None:
    x, n = stored(5), array(5)
    for k in range(1, 5):
        x[k] = x[k] + x[k - 1]
        n[k] += n[k - 1]
    same(x, n)


def test_rows_written_through_a_tensor_of_indices_show_in_views() -> None:
    x = stored(4, 2)
    view = x[2]
    x[Tensor([2, 0])] = Tensor([[9.0, 8.0], [7.0, 6.0]])
    same(x, [[7, 6], [2, 3], [9, 8], [6, 7]])
    same(view, [9, 8])


def test_of_two_values_for_one_row_the_last_stays() -> None:
    x = stored(3)
    x[Tensor([1, 1, 1])] = Tensor([5.0, 6.0, 7.0])
    same(x, [0, 7, 2])


def test_a_mask_selects_what_is_written() -> None:
    x = stored(4)
    x[x > 1.5] = 0
    same(x, [0, 1, 0, 0])


# Copies


def test_detach_shares_its_memory_both_ways() -> None:
    x = stored(3)
    y = x.detach()
    y[0] = 9
    x[1] = 8
    same(x, [9, 8, 2])
    same(y, [9, 8, 2])


def test_a_clone_is_apart_both_ways() -> None:
    x = stored(3)
    y = x.clone()
    x[0] = 9
    y[1] = 8
    same(x, [9, 1, 2])
    same(y, [0, 8, 2])


def test_contiguous_of_stored_data_is_the_tensor_itself() -> None:
    x = stored(2, 3)
    assert x.contiguous() is x
    y = x.T.contiguous()
    y[0] = 9
    same(x, array(2, 3))


def test_a_numpy_array_shares_nothing() -> None:
    n = array(3)
    x = Tensor(n)
    n[0] = 9
    x.numpy()[1] = 9
    same(x, [0, 1, 2])


def test_a_read_array_does_not_change_with_the_tensor() -> None:
    x = stored(3)
    before = x.numpy()
    x += 1
    x.realize()
    np.testing.assert_array_equal(before, [0, 1, 2])


def test_a_tensor_of_a_tensor_is_a_copy() -> None:
    x = stored(2)
    y = Tensor(x)
    y[0] = 9
    same(x, [0, 1])


# What assign takes


def test_assign_takes_numbers_lists_and_arrays_and_broadcasts() -> None:
    x = stored(2, 2)
    same(x.assign(5), [[5, 5], [5, 5]])
    same(x.assign([1.0, 2.0]), [[1, 2], [1, 2]])
    same(x.assign(np.ones((2, 2), np.float32)), [[1, 1], [1, 1]])


def test_assign_refuses_types_that_would_lose_values() -> None:
    with pytest.raises(DTypeError, match=r"do not fit into dtypes\.int32"):
        Tensor([1, 2]).assign(Tensor([0.5, 0.5]))
    x = Tensor([1, 2])
    with pytest.raises(DTypeError, match="do not fit"):
        x += 0.5


def test_writing_a_part_casts_as_numpy_does() -> None:
    x = Tensor([1, 2])
    x[0] = 7.9
    same(x, [7, 2])


def test_assign_refuses_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(ShapeError, match="do not broadcast"):
        stored(2).assign(stored(3))
    with pytest.raises(ShapeError, match="do not broadcast"):
        stored(2).assign(stored(2, 2))
