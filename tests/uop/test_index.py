"""Index values equal the integers they stand for, and simplify what loops make."""

import itertools
import random

import pytest

from tinycore.dtype import dtypes
from tinycore.uop.index import (
    NEVER,
    Index,
    alias,
    as_index,
    at_least_zero,
    atoms,
    axis,
    digit,
    gather,
    make,
    mask_of,
    variable,
)
from tinycore.uop.ops import const
from tinycore.uop.printer import Printer
from tinycore.uop.tree import let


def shown(value: Index) -> str:
    """The text of an index value."""
    return Printer().index(value)


def random_index(rng: random.Random, names: dict[str, int], depth: int) -> tuple[Index, str]:
    """A random value with the Python expression it stands for."""
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.2:
            number = rng.randint(-9, 9)
            return as_index(number), f"({number})"
        name = rng.choice(list(names))
        return axis(name, names[name]), name
    left, left_text = random_index(rng, names, depth - 1)
    choice = rng.random()
    if choice < 0.4:
        right, right_text = random_index(rng, names, depth - 1)
        return left + right, f"({left_text} + {right_text})"
    factor = rng.choice([2, 3, 4, 5, 6, 8, 12, 16])
    if choice < 0.65:
        factor = rng.choice([factor, -1, -factor])
        return left * factor, f"({left_text} * {factor})"
    if choice < 0.85:
        return digit(left, factor, 0), f"({left_text} // {factor})"
    return digit(left, 1, factor), f"({left_text} % {factor})"


def at(value: Index, env: dict[str, int]) -> int:
    """The number that `value` is where the axes have these values."""
    return value.evaluate(lambda atom: env[atom.name])  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(40))
def test_random_values_equal_python_integers_and_stay_in_bounds(seed: int) -> None:
    rng = random.Random(seed)
    names = {"i": rng.randint(2, 5), "j": rng.randint(2, 4), "k": rng.randint(2, 7)}
    for _ in range(25):
        value, text = random_index(rng, names, rng.randint(1, 5))
        constraint = at_least_zero(value)
        code = compile(text, "index", "eval")
        code = compile(shown(value), "shown", "eval")
        for point in itertools.product(*[range(n) for n in names.values()]):
            env = dict(zip(names, point, strict=True))
            expected = eval(code, dict(env))
            assert at(value, env) == expected, text
            assert eval(code, dict(env)) == expected, shown(value)
            assert value.lo <= expected <= value.hi, text
            assert (at(constraint, env) >= 0) == (expected >= 0), text


@pytest.mark.parametrize("seed", range(8))
def test_digits_of_sums_of_digits_equal_python_integers(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(150):
        names = {"i": rng.randint(1, 7), "j": rng.randint(2, 5), "k": rng.randint(2, 9)}
        value = make(rng.randint(-30, 30))
        for name, extent in names.items():
            inner = axis(name, extent) * rng.choice([1, -1, 2, 5]) + rng.randint(-3, 3)
            part = digit(inner, rng.choice([1, 2, 3, 4, 6]), rng.choice([0, 2, 3, 4, 8]))
            value += part * rng.choice([0, 1, -1, 2, 3, 4, 6, 7, 8, 12, 18])
        divisor, modulus = rng.choice([1, 2, 3, 4, 6, 8, 12]), rng.choice([0, 1, 2, 3, 4, 6, 8])
        found, again = digit(value, divisor, modulus), digit(digit(value, divisor, modulus), 2, 3)
        constraint = at_least_zero(value)
        for point in itertools.product(*[range(n) for n in names.values()]):
            env = dict(zip(names, point, strict=True))
            number = at(value, env)
            expected = number // divisor % modulus if modulus else number // divisor
            assert at(found, env) == expected, (value, divisor, modulus)
            assert found.lo <= expected <= found.hi, (value, divisor, modulus)
            assert at(again, env) == expected // 2 % 3, (value, divisor, modulus)
            assert (at(constraint, env) >= 0) == (number >= 0), value


def test_equal_values_are_one_object() -> None:
    i, j = axis("i", 8), axis("j", 4)
    assert 4 * i + j is j + 4 * i
    assert digit(4 * i + j, 4, 0) is i
    assert digit(4 * i + j, 1, 4) is j
    assert digit(4 * i + j, 8, 0) * 8 + digit(4 * i + j, 1, 8) is 4 * i + j


def test_a_split_reshape_flip_chain_folds_back() -> None:
    i = axis("i", 24)
    back = digit(i, 6, 0) * 6 + digit(i, 2, 3) * 2 + digit(i, 1, 2)
    assert back is i
    flipped = 23 - i
    assert 23 - (digit(flipped, 4, 0) * 4 + digit(flipped, 1, 4)) is i


def test_substitution_simplifies_digits_again() -> None:
    i, j, k = axis("i", 8), axis("j", 4), axis("k", 32)
    folded = digit(k, 4, 0).substitute({k.terms[0][0]: 4 * i + j})
    assert folded is i


def test_an_alias_carries_the_bounds_of_its_mask_until_it_is_dropped() -> None:
    i = axis("i", 10)
    padded = alias(i - 1, 0, 7)
    assert digit(padded, 8, 0) is make(0)
    assert padded.unalias() is i - 1
    assert shown(digit(padded, 4, 0)) == "(i + 3)//4 - 1"


def test_a_product_of_digits_is_evaluated() -> None:
    product = digit(axis("i", 8), 2, 0) * variable("n", 1, 9)
    assert product.evaluate(lambda atom: {"i": 5, "n": 3}[atom.name]) == 6


def test_products_and_gathers_are_atoms() -> None:
    n, i = variable("N", 1, 9), axis("i", 4)
    product = n * i + 2
    assert product is i * n + 2
    assert (product.lo, product.hi) == (2, 29)
    first, second = (let(name, const(1, dtypes.int32)) for name in ("a", "b"))
    place = gather(first, 5)
    assert shown(3 * place) == "3*(a in 5)"
    moved = (3 * place).replaced(lambda atom: gather(second, 5), {})
    assert shown(moved) == "3*(b in 5)"
    assert {atom.kind for atom in atoms(product + place)} == {
        "variable",
        "axis",
        "gather",
    }


def test_masks_are_sorted_conjunctions() -> None:
    i, j = axis("i", 8), axis("j", 8)
    one, two = at_least_zero(3 - i), at_least_zero(j - 2)
    assert mask_of([one, two, one, i]) == mask_of([two, one])
    assert mask_of([one, i - 8]) == NEVER and at_least_zero(i - 8) is NEVER[0]
    assert at_least_zero(4 * i + axis("r", 4) - 8) is i - 2


def test_quotients_and_remainders_are_digits() -> None:
    i = axis("q", 24)
    assert i // 4 is digit(i, 4, 0)
    assert i % 4 is digit(i, 1, 4)
    assert (i // 4) * 4 + i % 4 is i
