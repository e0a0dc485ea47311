"""Gradients of einsum: the reference against the definition, in exact arithmetic."""

import random
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import DTYPES, Array, cast
from specs.case.equation import bind
from specs.verdict.comparison import compare
from tests.support.narrow_einsum_gradient import Shapes, deferred_labels, make_inputs, reference

# The definition, in exact arithmetic ----------------------------------------------------------------------------------


class Gaussian(NamedTuple):
    """A complex number with rational parts."""

    real: Fraction
    imag: Fraction

    def __add__(self, other: "Gaussian") -> "Gaussian":  # type: ignore[override]
        return Gaussian(self.real + other.real, self.imag + other.imag)

    def __mul__(self, other: "Gaussian") -> "Gaussian":  # type: ignore[override]
        return Gaussian(
            self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real
        )


def exact(value: Any) -> Gaussian:
    number = complex(value)
    return Gaussian(Fraction(number.real), Fraction(number.imag))


def brute_force(equation: str, operands: list[Array], cotangent: Array, of: int) -> dict[tuple[int, ...], Gaussian]:
    """Differentiate each term of the sum separately, and add it to the element that is its factor."""
    contraction = bind(equation, [o.shape for o in operands])
    sizes = contraction.sizes
    gradient = {index: exact(0) for index in np.ndindex(operands[of].shape)}
    for values in product(*(range(size) for size in sizes.values())):
        position = dict(zip(sizes, values, strict=True))
        indices = [
            tuple(position[label] if n > 1 else 0 for label, n in zip(term, operand.shape, strict=True))
            for term, operand in zip(contraction.operands, operands, strict=True)
        ]
        term = exact(cotangent[tuple(position[label] for label in contraction.output)])
        for i, (operand, index) in enumerate(zip(operands, indices, strict=True)):
            if i != of:
                term = term * exact(operand[index])
        gradient[indices[of]] = gradient[indices[of]] + term
    return gradient


EQUATIONS: list[tuple[str, Shapes]] = [
    ("->", [()]),
    ("ij->ji", [(2, 3)]),
    ("ij->j", [(4, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii->", [(3, 3)]),
    ("ijij->j", [(2, 3, 2, 3)]),
    ("aaab->b", [(2, 2, 2, 3)]),
    ("...->", [(2, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,ij->j", [(1, 3), (2, 3)]),
    ("ii,i->i", [(1, 1), (3,)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("ii,jj->ij", [(2, 2), (3, 3)]),
    (",ij->ji", [(), (2, 3)]),
    ("...ij,...jk->...ik", [(2, 1, 2, 3), (3, 3, 2)]),
    ("...ij,jk->...ik", [(2, 1, 2, 3), (3, 2)]),
    ("...,...->...", [(3, 4), (4,)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("ij,jk->ik", [(0, 2), (2, 3)]),
    ("i,i->i", [(1,), (0,)]),
    ("i,i,i->i", [(3,), (1,), (3,)]),
    ("iij,jk,k->", [(2, 2, 3), (3, 2), (2,)]),
    ("ij,k,l->jl", [(2, 3), (2,), (3,)]),
]


def random_equation(seed: int) -> tuple[str, Shapes]:
    """One to three operands with repeated, lone and broadcast labels, some with unnamed axes."""
    generator = random.Random(seed)
    sizes = {label: generator.randint(1, 3) for label in "ijk"} | {0: 2, 1: 3}
    terms, shapes = [], []
    for _ in range(generator.randint(1, 3)):
        labels = generator.choices("ijk", k=generator.randint(0, 3))
        thin = {label: generator.random() < 0.2 for label in sizes}
        unnamed = list(range(2))[generator.randint(0, 2) :] if generator.random() < 0.4 else None
        terms.append(("" if unnamed is None else "...") + "".join(labels))
        shapes.append(tuple(1 if thin[axis] else sizes[axis] for axis in (*(unnamed or ()), *labels)))
    used_labels = sorted({label for term in terms for label in term if label != "."})
    output = generator.sample(used_labels, generator.randint(0, len(used_labels)))
    dots = "..." if any("." in term for term in terms) and generator.random() < 0.7 else ""
    return f"{','.join(terms)}->{dots}{''.join(output)}", shapes


RANDOM = [random_equation(seed) for seed in range(60)]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS + RANDOM, ids=lambda value: str(value))
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_the_reference_is_the_sum_of_the_derivatives_of_all_terms(equation: str, shapes: Shapes, dtype: str) -> None:
    operands, cotangent = make_inputs(equation, shapes, dtype)
    unit = 2.0**-100 if dtype in ("float64", "complex128") else 2.0**-50
    for of, operand in enumerate(operands):
        gradient = reference(equation, operands, cotangent, of, dtype)
        assert gradient.shape == operand.shape
        value = gradient.value
        wide = value if isinstance(value, DoubleDouble) else DoubleDouble(value)
        magnitudes = brute_force(equation, [np.abs(o) for o in operands], np.abs(cotangent), of)
        for index, expected in brute_force(equation, operands, cotangent, of).items():
            high, low = np.atleast_1d(wide.hi[index]), np.atleast_1d(wide.lo[index])
            parts = [Fraction(float(h)) + Fraction(float(low_part)) for h, low_part in zip(high, low, strict=True)]
            for part, right in zip(parts, expected, strict=False):
                assert abs(part - right) <= Fraction(unit) * 100 * magnitudes[index].real


def test_equations_of_every_shape_are_among_the_random_ones() -> None:
    bound = [bind(equation, shapes) for equation, shapes in RANDOM]
    assert any(len(set(term)) < len(term) for c in bound for term in c.operands), "a diagonal"
    assert any(label.startswith("...") for c in bound for label in c.output), "unnamed axes"
    deferred = [deferred_labels(equation, shapes, i) for equation, shapes in RANDOM for i in range(len(shapes))]
    assert sum(map(bool, deferred)) > 10, "broadcast axes"


def test_off_a_diagonal_zero_is_exact() -> None:
    operands, cotangent = make_inputs("ij,ii->j", [(3, 4), (3, 3)], "float32")
    gradient = reference("ij,ii->j", operands, cotangent, 1, "float32")
    off = ~np.eye(3, dtype=bool)
    assert not gradient.error[off].any()
    assert gradient.error[~off].all()
    leaked = cast(gradient.value, DTYPES["float32"])
    assert compare(leaked, gradient).problem == ""
    leaked[0, 1] = 1e-30
    assert compare(leaked, gradient).problem


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "complex64"])
@pytest.mark.parametrize(("equation", "shape"), [("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ii->i", (3, 3))])
def test_the_gradient_of_one_operand_is_a_copy_of_the_cotangent(equation: str, shape: Any, dtype: str) -> None:
    operands, cotangent = make_inputs(equation, [shape], dtype)
    assert not reference(equation, operands, cotangent, 0, dtype).error.any()


def test_only_what_was_broadcast_may_be_stored_before_it_is_summed() -> None:
    assert deferred_labels("ij,jk->ik", [(2, 1), (3, 4)], 0) == ("j",)
    assert deferred_labels("ij,jk->ik", [(2, 1), (3, 4)], 1) == ()
    assert deferred_labels("...,...->...", [(3, 4), (4,)], 1) == ("...1",)
    assert deferred_labels("...ij,jk->...ik", [(3, 4, 5), (5, 6)], 1) == ()
    assert deferred_labels("i,ij,ij->ij", [(2,), (2, 1), (2, 3)], 0) == ("j",), "the product of the first two was"
    assert deferred_labels("i,ij,ij->ij", [(2,), (2, 1), (2, 3)], 2) == ()
