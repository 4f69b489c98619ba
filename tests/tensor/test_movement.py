"""Movement gives the elements numpy gives, in all spellings of the call."""

import numpy as np
import pytest

from tests.tensor.compare import message, same
from tests.tensor.differences import check_gradient
from tinycore.errors import ArgumentError, IndexingError, ShapeError
from tinycore.tensor import Tensor

N = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def x() -> Tensor:
    return Tensor(N)


def test_reshape_takes_numbers_a_tuple_minus_one_and_none() -> None:
    for shape in ((6, 4), (-1, 4), (6, -1)):
        same(x().reshape(*shape), N.reshape(shape))
        same(x().reshape(shape), N.reshape(shape))
        same(x().view(list(shape)), N.reshape(shape))
    same(x().reshape(None, 12), N.reshape(2, 12))
    same(Tensor([5]).reshape(()), 5)


def test_axes_can_be_merged_and_split() -> None:
    same(x().flatten(), N.reshape(-1))
    same(x().flatten(1), N.reshape(2, 12))
    same(x().flatten(start_dim=0, end_dim=1), N.reshape(6, 4))
    same(x().unflatten(2, (2, -1)), N.reshape(2, 3, 2, 2))
    same(Tensor(3.0).flatten(), [3])


def test_axes_of_one_come_and_go() -> None:
    same(x().unsqueeze(0), N[None])
    same(x().unsqueeze(-1), N[..., None])
    same(x().unsqueeze(dim=1).squeeze(1), N)
    same(Tensor(N[:1, :, :1]).squeeze(), N[0, :, 0])
    same(x().squeeze(1), N)


def test_axes_change_places() -> None:
    same(x().permute(2, 0, 1), N.transpose(2, 0, 1))
    same(x().permute((2, 0, 1)), N.transpose(2, 0, 1))
    same(x().permute(-1, 0, 1), N.transpose(2, 0, 1))
    same(x().transpose(0, 2), N.swapaxes(0, 2))
    same(x().transpose(-1, -2), N.swapaxes(1, 2))
    same(x().transpose(), N.swapaxes(1, 0))
    same(x().T, N.T)


def test_axes_turn_around() -> None:
    same(x().flip(0), N[::-1])
    same(x().flip(0, 2), N[::-1, :, ::-1])
    same(x().flip((1, -1)), N[:, ::-1, ::-1])
    same(x().flip(axis=1), N[:, ::-1])


def test_extents_of_one_repeat() -> None:
    thin = Tensor(N[:, :1])
    same(thin.expand(2, 3, 4), np.broadcast_to(N[:, :1], (2, 3, 4)))
    same(thin.expand((5, -1, 3, -1)), np.broadcast_to(N[:, :1], (5, 2, 3, 4)))
    same(thin.expand_as(x()), np.broadcast_to(N[:, :1], (2, 3, 4)))


def test_a_box_is_cut_out() -> None:
    same(x().shrink(((0, 1), None, (1, 3))), N[:1, :, 1:3])


def test_padding_is_numpys_in_every_mode() -> None:
    wide = ((0, 0), (1, 2), (3, 0))
    same(x().pad((3, 0, 1, 2)), np.pad(N, wide))
    same(x().pad(((0, 0), (1, 2), (3, 0)), value=5), np.pad(N, wide, constant_values=5))
    same(x().pad((None, (1, 2), (3, 0))), np.pad(N, wide))
    for mode, numpys in (("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")):
        same(x().pad((3, 2, 1, 1), mode=mode), np.pad(N, ((0, 0), (1, 1), (3, 2)), mode=numpys))
    same(x().pad((-1, 2)), np.pad(N[..., 1:], ((0, 0), (0, 0), (0, 2))))
    same(x().pad_to(2, 4, 4, value=1), np.pad(N, ((0, 0), (0, 1), (0, 0)), constant_values=1))
    same(x().pad_to(None, 4, None), np.pad(N, ((0, 0), (0, 1), (0, 0))))


def test_tensors_are_joined() -> None:
    same(x().cat(x(), dim=1), np.concatenate([N, N], 1))
    same(Tensor.cat(x(), x() * 2, x(), dim=-1), np.concatenate([N, N * 2, N], -1))
    same(Tensor.cat([x(), x()]), np.concatenate([N, N]))
    same(x().stack(x()), np.stack([N, N]))
    same(Tensor.stack(x(), x(), dim=-1), np.stack([N, N], -1))
    same(Tensor([1]).cat(Tensor([0.5])), [1, 0.5])


def test_joining_keeps_the_sign_of_zero() -> None:
    joined = Tensor([-0.0]).cat(Tensor([0.0]), Tensor([-0.0]))
    assert np.signbit(joined.numpy()).tolist() == [True, False, True]


def test_tensors_repeat() -> None:
    same(x().repeat(2, 1, 3), np.tile(N, (2, 1, 3)))
    same(x().repeat((2, 1, 1, 2)), np.tile(N, (2, 1, 1, 2)))
    same(x().repeat_interleave(2, 1), N.repeat(2, 1))
    same(x().repeat_interleave(3), N.reshape(-1).repeat(3))


def test_tensors_are_parted() -> None:
    for parts, wanted in (
        (x().split(2, dim=2), np.split(N, 2, 2)),
        (x().split([1, 2], 1), np.split(N, [1], 1)),
        (x().split(3, -1), np.split(N, [3], -1)),
        (x().chunk(3, dim=2), np.split(N, [2], 2)),
        (x().chunk(2, 0), np.split(N, 2, 0)),
    ):
        assert len(parts) == len(wanted)
        for part, one in zip(parts, wanted, strict=True):
            same(part, one)


def test_gradients_of_movement_are_slopes() -> None:
    check_gradient(lambda a: a.permute(2, 0, 1).reshape(4, 6).flip(1), (2, 3, 4))
    check_gradient(lambda a: a.pad((1, 2), mode="reflect"), (2, 4))
    check_gradient(lambda a, b: a.cat(b, dim=1).repeat(2, 1), (2, 3), (2, 4))
    check_gradient(lambda a, b: a.stack(b, dim=1), (2, 3), (2, 3))
    check_gradient(lambda a: a.split([1, 3])[1] * 2, (4, 2))


# refusals


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (
            lambda: x().reshape(5, 3),
            "reshape: 24 elements do not fit shape (5, 3) = 15; pass a shape of 24 elements or use "
            "one -1",
        ),
        (
            lambda: x().reshape(-1, -1),
            "reshape: shape (-1, -1) has more than one -1; expected at most one. Give the other "
            "extents",
        ),
        (
            lambda: x().reshape(-2, 3),
            "reshape: extent -2 is negative; expected extents of 0 or more. Pass the number of "
            "elements of each axis",
        ),
        (
            lambda: x().reshape(2.5, 2),
            "reshape: 2.5 is no extent; expected a whole number. Pass ints",
        ),
        (
            lambda: x().expand(2, 5, 4),
            "expand: shape (2, 3, 4) cannot become (2, 5, 4); expected equal extents or 1. "
            "Reshape first.",
        ),
        (
            lambda: x().expand(4),
            "expand: shape (2, 3, 4) has more axes than (4,); expected as many or more. "
            "Squeeze it first",
        ),
        (
            lambda: x().shrink(((0, 3), None, None)),
            "shrink: box ((0, 3), (0, 3), (0, 4)) does not lie in shape (2, 3, 4); expected "
            "0 <= begin <= end <= extent. Pad first.",
        ),
        (
            lambda: x().shrink(((0, 1),)),
            "shrink: 1 pairs for 3 axes; expected one each. Pass None for an axis to keep",
        ),
        (
            lambda: x().pad_to(2, 2, 4),
            "pad_to: shape (2, 3, 4) does not fit into (2, 2, 4); expected extents at least as "
            "large. Shrink it first",
        ),
        (
            lambda: x().pad((4, 0), mode="reflect"),
            "pad: width 4 does not fit mode 'reflect' on an axis of 4; expected at most 3. Pad "
            "less, or use mode='constant'",
        ),
        (
            lambda: x().cat(Tensor([1.0])),
            "cat: shapes (2, 3, 4) and (1,) do not fit along axis 0; expected equal extents on all "
            "other axes. Reshape or pad one",
        ),
        (
            lambda: x().repeat(2),
            "repeat: 1 numbers for 3 axes; expected one each or more. Pass 1 for an axis to keep",
        ),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_at_once(action, text: str) -> None:
    assert message(ShapeError, action) == text


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (
            lambda: x().permute(0, 1),
            "permute: (0, 1) names 2 of 3 axes; expected every axis once. Name them all",
        ),
        (
            lambda: x().permute(0, 0, 1),
            "permute: axes (0, 0, 1) name one twice; expected each once. Leave one out",
        ),
        (
            lambda: x().pad((1, 2, 3)),
            "pad: (1, 2, 3) does not fit 3 axes; expected a pair for each axis, or two widths an "
            "axis from the last. Pass (left, right, top, bottom, ..)",
        ),
        (
            lambda: x().pad((1, 1), mode="wrap"),
            "pad: mode is 'wrap'; expected one of 'constant', 'reflect', 'replicate', 'circular'. "
            "Pass one",
        ),
        (
            lambda: x().split([1, 1], 1),
            "split: sizes [1, 1] add up to 2; expected 3, the extent of axis 1. Change one",
        ),
        (
            lambda: x().chunk(0),
            "chunk: 0 pieces; expected 1 or more. Pass a positive one",
        ),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_at_once(action, text: str) -> None:
    assert message(ArgumentError, action) == text


def test_an_axis_that_is_not_there_is_refused() -> None:
    assert message(IndexingError, lambda: x().transpose(0, 3)) == (
        "transpose: axis 3 is not one of a tensor of 3 axes; expected -3 to 2. Count from 0, or "
        "from the end with -1"
    )


def test_an_axis_may_be_called_axis_dim_or_dims() -> None:
    x = Tensor([[1, 2, 3]])
    assert x.squeeze(axis=0).shape == x.squeeze(dim=0).shape == (3,)
    assert x.unsqueeze(axis=0).shape == x.unsqueeze(dim=0).shape == (1, 1, 3)
    assert x.flip(dims=(1,)).tolist() == x.flip(dim=1).tolist() == x.flip(axis=[1]).tolist()


def test_tensors_of_zero_axes_are_not_joined() -> None:
    expected = "cat: a tensor of zero axes cannot be joined; expected one axis or more. Use stack"
    assert message(ShapeError, lambda: Tensor.cat(Tensor(1.0), Tensor(2.0))) == expected


def test_a_scalar_is_its_own_transpose() -> None:
    same(Tensor(3.0).T, 3.0)
    same(Tensor([1, 2]).T, [1, 2])
