"""The nine hand-written kernels compute what numpy does, and nothing in them can be left out."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.ir import NAMES, kernels_of, read_units, text_of
from tests.ir.cases import CASES, Case, by_launches, checked, run_case
from tinycore.runtime.ref import RefError, run_kernel
from tinycore.uop import Ops, UOp, spec
from tinycore.uop.parser import parse
from tinycore.uop.printer import show
from tinycore.uop.tree import Kernel, Plan

FIRST = {case.unit: case for case in reversed(CASES)}
ORDERED = (Ops.WAIT, Ops.FREE, Ops.BARRIER)


def deletions(body: tuple[UOp, ...]) -> Iterator[tuple[str, tuple[UOp, ...]]]:
    """Each body with one WAIT, FREE, barrier, or one operand of a WAIT or FREE, left out."""
    for at, statement in enumerate(body):
        for text, kept in shortened(statement):
            yield text, (*body[:at], *kept, *body[at + 1 :])


def shortened(statement: UOp) -> Iterator[tuple[str, tuple[UOp, ...]]]:
    """What may stand in place of a statement with something left out."""
    if statement.op in ORDERED:
        yield show(statement), ()
        for at, buffer in enumerate(statement.src if len(statement.src) > 1 else ()):
            source = statement.src[:at] + statement.src[at + 1 :]
            numbers = statement.arg[:at] + statement.arg[at + 1 :]
            text = f"{buffer.arg.name} of {show(statement)}"
            yield text, (statement.replace(src=source, arg=numbers),)
    elif statement.op in (Ops.LOOP, Ops.IF, Ops.BLOCK):
        for text, body in deletions(statement.src):
            yield text, (statement.replace(src=body),)


def all_deletions() -> list[tuple[Case, str, Kernel]]:
    """Every deletion in every kernel, at the first sizes of its case."""
    found = []
    for case in FIRST.values():
        unit = case.read()
        if isinstance(unit, Kernel):
            pairs = deletions(unit.body)
            found += [(case, text, unit._replace(body=body)) for text, body in pairs]
    return found


DELETIONS = all_deletions()


def test_every_kernel_of_the_folder_has_a_case() -> None:
    cased = {case.file for case in CASES}
    assert cased == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_prints_back_as_it_was_read(name: str) -> None:
    units = read_units(name)
    text = "".join(show(unit) for unit in units.values() if isinstance(unit, Kernel))
    plans = [unit for unit in units.values() if isinstance(unit, Plan)]
    assert parse(text + "".join(show(plan) for plan in plans)) == units


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kernel_is_legal_at_its_boundary(case: Case) -> None:
    unit = case.read()
    for kernel in kernels_of(unit):
        spec.check(kernel, "sync" if kernel.spmd else "action")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_checked_entry_agrees_with_numpy(case: Case) -> None:
    unit = case.read()
    for seed in range(3):
        assert checked(case, unit, seed) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_agrees_with_numpy(case: Case) -> None:
    unit = case.read()
    for seed in range(2):
        assert run_case(case, unit, seed, by_launches(run_kernel)) == []


def test_the_kernels_hold_all_that_orders_memory() -> None:
    # 8 in ring, 5 in flash, 2 in conv_gemm, 1 in matmul_staged
    assert len(DELETIONS) == 16
    assert {case.unit for case, _, _ in DELETIONS} == {
        "ring",
        "flash",
        "conv_gemm",
        "matmul_staged",
    }


@pytest.mark.parametrize(
    ("case", "kernel"),
    [pytest.param(case, kernel, id=f"{case.unit}: {text}") for case, text, kernel in DELETIONS],
)
def test_no_wait_free_or_barrier_can_be_left_out(case: Case, kernel: Kernel) -> None:
    for seed in range(2):
        with pytest.raises(RefError):
            checked(case, kernel, seed)


def edited(unit: str, *edits: tuple[str, str]) -> tuple[Case, Kernel | Plan]:
    """The first case of a kernel with parts of its text replaced."""
    case = FIRST[unit]
    text = text_of(case.file)
    for old, new in edits:
        assert old in text, f"{old!r} is not in {case.file}.ir"
        text = text.replace(old, new)
    return case, parse(text, **case.sizes)[unit]


def refusal(unit: str, *edits: tuple[str, str]) -> str:
    """The message of the RefError that an edited kernel raises."""
    case, kernel = edited(unit, *edits)
    with pytest.raises(RefError) as caught:
        checked(case, kernel)
    return str(caught.value)


OWN_M = "buf m f32[r:64] reg = max own(t:128) t//4 = 8*(r//16) + r%8"
OWN_P = "buf p f16[r:64, c:32] reg own(t:128) t = 32*(r//16) + 4*(r%8) + c%8//2"


def test_a_row_maximum_in_another_layout_is_refused() -> None:
    message = refusal("flash", (OWN_M, "buf m f32[r:64] reg = max own(t:128) t//2 = r"))
    assert "a lane touches a register that it does not own, of m, g" in message


def test_scores_in_another_layout_are_refused() -> None:
    other = "buf p f16[r:64, c:32] reg own(t:128) t = 2*r + c//16"
    assert "a register that it does not own, of p" in refusal("flash", (OWN_P, other))


@pytest.mark.parametrize(
    ("unit", "old", "new", "buffer"),
    [
        ("tail", "Z[i | i < N] =", "Z[i] =", "Z"),
        ("tail", "Y[i | i < N]", "Y[i]", "Y"),
        (
            "matmul_staged",
            "A[12*i.0+i.1, KC*k.0+k.1 | KC*k.0+k.1 < K]",
            "A[12*i.0+i.1, KC*k.0+k.1]",
            "A",
        ),
        ("matmul_staged", ", KC*k.0+q < K]", "]", "B"),
        ("splitk", "B[k,j | k < K]", "B[k,j]", "B"),
        ("conv_gemm", ", (32*p.0+c)//9 + b//3%3 < 8", "", "X"),
        ("ring", "128*bm+r < M, 64*k+q < K]", "64*k+q < K]", "A"),
    ],
)
def test_a_dropped_mask_is_refused(unit: str, old: str, new: str, buffer: str) -> None:
    assert f"{buffer} is indexed out of bounds" in refusal(unit, (old, new))


@pytest.mark.parametrize(
    ("unit", "old", "new"),
    [
        ("embedding", "red b:B", "par b:B"),
        ("softmax_two_pass", "red n:N: m", "par n:N: m"),
        ("attention", "red e:D", "par e:D"),
        ("matmul_staged", "red k.1:KC", "par k.1:KC"),
        ("conv_gemm", "red k:27", "par k:27"),
    ],
)
def test_par_in_place_of_red_is_refused(unit: str, old: str, new: str) -> None:
    message = refusal(unit, (old, new))
    assert "meet" in message


@pytest.mark.parametrize(
    ("unit", "old", "new", "buffer"),
    [
        ("tail", "Z[i | i < N] =", "Z[16*i.1+i.2 | i < N] =", "Z"),
        ("splitk", "W[z,i,j] = acc", "W[0,i,j] = acc", "W"),
        ("ring", "C[128*bm+64*w+r,", "C[127*bm+64*w+r,", "C"),
    ],
)
def test_grid_iterations_that_meet_are_refused(unit: str, old: str, new: str, buffer: str) -> None:
    message = refusal(unit, (old, new))
    assert buffer in message
    assert "meet" in message


@pytest.mark.parametrize("length", [0, 33])
def test_a_length_outside_its_bounds_is_refused(length: int) -> None:
    case = Case("kv", "kv", FIRST["kv"].make, {"H": 3, "D": 8}, {"L": 1})
    arrays, _ = case.make(np.random.default_rng(0), H=3, D=8, L=1)
    unit = case.read()
    assert isinstance(unit, Kernel)
    with pytest.raises(RefError, match=rf"variable L is {length}; expected a number in 1\.\.32"):
        run_kernel(unit, arrays, {"L": length})


ROLES = """
kernel roles(A f16[M,64], B f16[64,32], C f32[M,32]) spmd
  par bm:1 @grid
    buf As f16[128,16] group slots {slots}
    buf Bs f16[16,32] group slots {slots}
    roles
      role load
        ser k:4
          copy(r:128, q:16) As[k; r, q] = A[r, 16*k+q] @bulk
          copy(q:16, c:32) Bs[k; q, c] = B[16*k+q, c] @bulk
      role math w:2
        buf acc f32[r:64, c:32] reg = sum own(t:128) t = 32*(r//16) + 4*(r%8) + c%8//2
        ser k:4
          wait As[k]
          {wait}
          mma(r:64, c:32, q:16) acc[r, c] += As[k; 64*w+r, q] * Bs[k; q, c] @warpgroup
          {free}
          free As[k]
        par r:64 @own, c:32 @own: C[64*w+r, c] = acc[r, c]
"""


def roles(wait: str, free: str, slots: int = 2) -> tuple[Case, Kernel | Plan]:
    """One producer, two consumers."""
    case = Case("", "roles", FIRST["ring"].make, {"M": 128, "N": 32, "K": 64})
    return case, parse(ROLES.format(wait=wait, free=free, slots=slots), M=128)["roles"]


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6])
def test_two_consumers_share_a_ring_of_any_depth(slots: int) -> None:
    case, kernel = roles("wait Bs[k]", "free Bs[k]", slots)
    for seed in range(4):
        assert checked(case, kernel, seed) == []


def test_one_of_two_consumers_that_does_not_wait_is_refused() -> None:
    case, kernel = roles("if w < 1: wait Bs[k]", "free Bs[k]")
    with pytest.raises(RefError, match=r"load of Bs\[\d\], whose slot is"):
        checked(case, kernel)


def test_one_of_two_consumers_that_does_not_free_is_a_deadlock_of_named_roles() -> None:
    case, kernel = roles("wait Bs[k]", "if w < 1: free Bs[k]")
    with pytest.raises(RefError) as caught:
        checked(case, kernel)
    message = str(caught.value)
    assert "deadlock: load 0: copy Bs[2], whose slot is full, number 0" in message
    assert "math 0: wait Bs[2], whose slot is full, number 0" in message
    assert "math 1: wait Bs[2]" in message
