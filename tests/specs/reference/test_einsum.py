"""The reference einsum against the definition: a loop over all labels, in exact arithmetic."""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import DoubleDouble, to_float64
from specs.arithmetic.formats import DTYPES, cast
from specs.arithmetic.precision import declared_precision
from specs.bound import einsum
from specs.case.einsum import EinsumConfig
from specs.case.equation import Contraction, bind
from specs.reference.contraction import contract
from specs.reference.einsum import evaluate

EQUATIONS = [
    ("i->i", [(3,)]),
    ("ij->ji", [(2, 3)]),
    ("ij->j", [(4, 3)]),
    ("ijk->", [(2, 3, 4)]),
    ("ii->i", [(3, 3)]),
    ("ii->", [(3, 3)]),
    ("ijij->j", [(2, 3, 2, 3)]),
    ("iji->ij", [(3, 2, 3)]),
    ("aaab->b", [(2, 2, 2, 3)]),
    ("...ij->...ji", [(2, 3, 4)]),
    ("...->", [(2, 3)]),
    ("->", [()]),
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,kj->ki", [(2, 3), (4, 3)]),
    ("i,i->", [(5,), (5,)]),
    ("i,j->ij", [(2,), (3,)]),
    ("bij,bjk->bik", [(2, 3, 2), (2, 2, 3)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,ij->j", [(1, 3), (2, 3)]),
    ("ij,ij->i", [(1, 3), (2, 1)]),
    ("ii,i->i", [(1, 1), (3,)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("ii,jj->ij", [(2, 2), (3, 3)]),
    (",ij->ji", [(), (2, 3)]),
    (",->", [(), ()]),
    ("...ij,...jk->...ik", [(2, 1, 2, 3), (3, 3, 2)]),
    ("...i,...i->...", [(4, 1, 3), (5, 3)]),
    ("i...,...j->ij", [(2, 3), (3, 2)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("ij,jk->ik", [(0, 2), (2, 3)]),
    ("i,i->i", [(1,), (0,)]),
    ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]),
    ("ij,jk,ki->", [(2, 3), (3, 2), (2, 2)]),
    ("i,i,i->i", [(3,), (3,), (3,)]),
    ("bi,bj,ijk->bk", [(2, 3), (2, 2), (3, 2, 2)]),
    ("ij,k,l->jl", [(2, 3), (2,), (3,)]),
    ("...i,i,...->...", [(2, 3), (3,), (2,)]),
    ("a,ab,bc,c->", [(2,), (2, 3), (3, 2), (2,)]),
    ("ia,ib,ic,id->abcd", [(3, 2), (3, 2), (3, 1), (3, 2)]),
    ("ab,cd,ef,ae->c", [(2, 2), (2, 2), (2, 2), (2, 1)]),
]
every_equation = pytest.mark.parametrize(("equation", "shapes"), EQUATIONS, ids=[f"{e}{s}" for e, s in EQUATIONS])


def brute_force(contraction: Contraction, operands: list[np.ndarray], zero: Any) -> Any:
    """Every output element as the sum over all labels of the product of the operands; an array of objects."""
    sizes = contraction.sizes
    out = np.full(contraction.output_shape, zero, dtype=object)
    for values in product(*(range(sizes[label]) for label in sizes)):
        at = dict(zip(sizes, values, strict=True))
        term = None
        for labels, operand in zip(contraction.operands, operands, strict=True):
            index = tuple(at[label] if n > 1 else 0 for label, n in zip(labels, operand.shape, strict=True))
            term = operand[index] if term is None else term * operand[index]
        place = tuple(at[label] for label in contraction.output)
        out[place] = out[place] + term
    return out


def exact(values: np.ndarray) -> np.ndarray:
    out = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        out[index] = Fraction(float(values[index]))
    return out


def to_rationals(value: Any) -> np.ndarray:
    """A reference value as exact rationals."""
    if isinstance(value, DoubleDouble):
        return np.add(exact(value.hi), exact(value.lo), out=np.empty(value.shape, object))
    return exact(np.asarray(value))


def random(shapes: list[tuple[int, ...]], dtype: str, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return generator.standard_normal(shape) * 2.0 ** generator.integers(-3, 4, shape)

    target = DTYPES[dtype]
    return [cast(draw(s) + 1j * draw(s) if target.kind == "complex" else draw(s), target) for s in shapes]


def assert_accurate(contraction: Contraction, result: Any, operands: list[np.ndarray], allowed: Fraction) -> None:
    rationals = [exact(operand) for operand in operands]
    expected = brute_force(contraction, rationals, Fraction(0))
    magnitude = brute_force(contraction, [exact(np.asarray(np.abs(operand))) for operand in operands], Fraction(0))
    ours = to_rationals(result)
    assert ours.shape == expected.shape
    for index in np.ndindex(expected.shape):
        assert abs(ours[index] - expected[index]) <= allowed * magnitude[index], index


@every_equation
@pytest.mark.parametrize("seed", range(2))
def test_float64_values_are_accurate_to_a_hundred_bits(equation: str, shapes: list, seed: int) -> None:
    operands = random(shapes, "float64", seed)
    contraction = bind(equation, shapes)
    result = evaluate(contraction, operands, DTYPES["float64"])
    assert isinstance(result, DoubleDouble)
    assert_accurate(contraction, result, operands, Fraction(1, 2**100))


@every_equation
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_of_narrower_floats_are_accurate_to_float64(equation: str, shapes: list, dtype: str) -> None:
    operands = random(shapes, dtype)
    contraction = bind(equation, shapes)
    result = evaluate(contraction, operands, DTYPES[dtype])
    assert_accurate(contraction, result, operands, (contraction.length + 2 * len(shapes)) * Fraction(1, 2**53))


@every_equation
@pytest.mark.parametrize(("dtype", "bits"), [("complex128", 100), ("complex64", 50)])
def test_both_parts_of_complex_values(equation: str, shapes: list, dtype: str, bits: int) -> None:
    operands = random(shapes, dtype)
    contraction = bind(equation, shapes)
    result = to_rationals(evaluate(contraction, operands, DTYPES[dtype]))
    pairs = [np.empty(o.shape, object) for o in operands]
    for pair, operand in zip(pairs, operands, strict=True):
        for index in np.ndindex(operand.shape):
            pair[index] = Gaussian(Fraction(float(operand[index].real)), Fraction(float(operand[index].imag)))
    expected = brute_force(contraction, pairs, Gaussian(Fraction(0), Fraction(0)))
    size = contract(contraction, [np.abs(o).astype(np.float64) for o in operands])
    assert result.shape == (*expected.shape, 2)
    for index in np.ndindex(expected.shape):
        allowed = Fraction(float(size[index])) * Fraction(4, 2**bits)
        assert abs(result[(*index, 0)] - expected[index].real) <= allowed
        assert abs(result[(*index, 1)] - expected[index].imag) <= allowed


class Gaussian:
    """An exact complex number."""

    def __init__(self, real: Fraction, imag: Fraction) -> None:
        self.real, self.imag = real, imag

    def __add__(self, other: "Gaussian") -> "Gaussian":
        return Gaussian(self.real + other.real, self.imag + other.imag)

    def __mul__(self, other: "Gaussian") -> "Gaussian":
        a, b, c, d = self.real, self.imag, other.real, other.imag
        return Gaussian(a * c - b * d, a * d + b * c)


@every_equation
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int32", "int64", "uint64"])
def test_integers_are_exact_modulo_their_range(equation: str, shapes: list, dtype: str) -> None:
    info = np.iinfo(dtype)
    generator = np.random.default_rng(1)
    operands = [generator.integers(info.min, info.max, s, dtype=dtype, endpoint=True) for s in shapes]
    python = [np.array([*map(int, o.ravel()), None], dtype=object)[:-1].reshape(o.shape) for o in operands]
    result = reference(equation, shapes, dtype, operands)
    expected = brute_force(bind(equation, shapes), python, 0)
    assert result.value.dtype == np.dtype(dtype)
    assert result.error is None
    assert result.shape == expected.shape
    for index in np.ndindex(expected.shape):
        assert (int(result.value[index]) - expected[index]) % 2**info.bits == 0


@every_equation
def test_bool_is_any_of_all(equation: str, shapes: list) -> None:
    generator = np.random.default_rng(2)
    operands = [np.asarray(generator.random(s) < 0.6) for s in shapes]
    result = reference(equation, shapes, "bool", operands)
    expected = brute_force(bind(equation, shapes), [o.astype(int) for o in operands], 0)
    assert result.value.dtype == np.bool_
    assert result.value.tolist() == (expected.astype(int) > 0).tolist()


def reference(equation: str, shapes: list, dtype: str, operands: list[np.ndarray]) -> Any:
    target = DTYPES[dtype]
    config = EinsumConfig(equation=equation, shapes=[list(s) for s in shapes])
    return einsum.reference(
        config, target, operands, declared_precision(target) if target.inexact else None, random=False
    )


def random_equation(generator: np.random.Generator) -> tuple[str, list[tuple[int, ...]]]:
    """One to four operands over few labels: diagonals, broadcasting, scalars and sizes of 0 all occur."""
    sizes = dict(zip("abcd", generator.choice([0, 1, 2, 2, 3, 3], 4).tolist(), strict=True))
    terms, shapes = [], []
    for _ in range(generator.integers(1, 5)):
        term = "".join(generator.choice(list("abcd"), generator.integers(0, 4)))
        shrunk = {label for label in term if generator.random() < 0.1}
        terms.append(term)
        shapes.append(tuple(1 if label in shrunk else sizes[label] for label in term))
    labels = sorted(set("".join(terms)))
    output_labels = [label for label in labels if generator.random() < 0.4]
    return f"{','.join(terms)}->{''.join(generator.permutation(output_labels))}", shapes


@pytest.mark.parametrize("seed", range(80))
def test_random_equations(seed: int) -> None:
    equation, shapes = random_equation(np.random.default_rng(seed))
    operands = random(shapes, "float64", seed)
    contraction = bind(equation, shapes)
    result = evaluate(contraction, operands, DTYPES["float64"])
    assert_accurate(contraction, result, operands, Fraction(1, 2**100))


# Contractions whose value distributes: where an operand could be summed before it is multiplied, or products be
# paired off, the pattern depends on the order and the equation does not say which is right.
NONFINITE = [
    ("ij->ji", [(4, 5)]), ("ij->j", [(4, 5)]), ("ij->", [(4, 5)]), ("ii->i", [(12, 12)]),
    ("ij,jk->ik", [(5, 6), (6, 5)]), ("ij,ij->ij", [(4, 5), (4, 5)]), ("ij,ij->ij", [(4, 1), (4, 5)]),
    ("bi,bi->b", [(8, 4), (8, 4)]), ("i,j->ij", [(6,), (6,)]), ("i,i,i->i", [(20,), (20,), (20,)]),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("equation", "shapes"), NONFINITE, ids=[e for e, _ in NONFINITE])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_infinities_and_nan_are_those_of_the_sum_of_products(equation: str, shapes: list, dtype: str) -> None:
    contraction, patterns = bind(equation, shapes), set()
    for seed in range(20):
        operands = random(shapes, dtype, seed)
        generator = np.random.default_rng(seed)
        for operand in operands:
            special = generator.choice([np.inf, -np.inf, np.nan, 0.0], operand.shape, p=[0.3, 0.2, 0.2, 0.3])
            operand[...] = np.where(generator.random(operand.shape) < 0.15, special, operand.astype(np.float64))
        result = to_float64(evaluate(contraction, operands, DTYPES[dtype]))
        with np.errstate(invalid="ignore"):
            expected = brute_force(contraction, [o.astype(np.float64) for o in operands], 0.0).astype(np.float64)
        for pattern in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(pattern(result), pattern(expected))
            patterns |= {pattern} if pattern(result).any() else set()
        np.testing.assert_allclose(result[np.isfinite(result)], expected[np.isfinite(result)], rtol=1e-12, atol=1e-12)
    assert len(patterns) == 3


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_a_copied_complex_infinity_leaves_the_other_part_alone(dtype: str) -> None:
    operand = np.array([complex(np.inf, 1), complex(2, -np.inf), complex(np.nan, 3)], dtype)
    result = to_float64(evaluate(bind("i->i", [(3,)]), [operand], DTYPES[dtype]))
    np.testing.assert_array_equal(result, [[np.inf, 1], [2, -np.inf], [np.nan, 3]])


def test_a_partial_sum_beyond_float64_leaves_no_bound() -> None:
    operands = [np.array([1e308, 1e308, -1e308, -1e308]), np.ones(4)]
    assert np.isinf(reference("i,i->", [(4,), (4,)], "float64", operands).error)
