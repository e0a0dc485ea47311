"""Correct arithmetic in any order is within the error bound of einsum; faulty or less precise arithmetic is not."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, DTYPES, FLOAT16, FLOAT32, TF32, Array, Format, cast, round_to
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound import einsum
from specs.case.einsum import EinsumConfig
from specs.reference.reference import Reference
from specs.verdict.comparison import compare
from tests.support.narrow_arithmetic import ORDERS, PRECISIONS, Simulated, normal, sequential, worst_ratio


def reference(equation: str, operands: list[Array], p: Precision, dtype: str, random: bool) -> Reference:
    config = EinsumConfig(equation=equation, shapes=[list(o.shape) for o in operands])
    return einsum.reference(config, DTYPES[dtype], operands, p, random)


# Soundness ----------------------------------------------------------------------------------------------------------

EQUATIONS = [
    ("ij->i", [(6, 40)]),
    ("ii->", [(9, 9)]),
    ("i,i->i", [(50,), (50,)]),
    ("ij,jk->ik", [(4, 2), (2, 4)]),
    ("ij,jk->ik", [(4, 64), (64, 4)]),
    ("ij,jk->ik", [(4, 1), (16, 4)]),
    ("ij,k->i", [(4, 16), (16,)]),
    ("i,i,i->i", [(40,), (40,), (40,)]),
    ("ij,jk,kl->il", [(4, 8), (8, 8), (8, 4)]),
    ("ij,j,kl->il", [(4, 16), (16,), (8, 3)]),
    ("a,ab,bc,c->", [(5,), (5, 6), (6, 5), (5,)]),
]
precisions = pytest.mark.parametrize("name", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
equations = pytest.mark.parametrize(("equation", "shapes"), EQUATIONS, ids=[f"{e}{s}" for e, s in EQUATIONS])


def evaluations(p: Precision, equation: str, operands: list[Array], seed: int) -> dict[str, Array]:
    """Results of correct backends that differ in order, pairing, fused operations and sums beforehand."""
    wide = [o.astype(np.float64) for o in operands]
    variants = {order: Simulated(p, order, seed) for order in ORDERS}
    variants["sums beforehand"] = Simulated(p, "sequential", seed, sums_first=True)
    if p.accumulate.precision <= FLOAT32.precision:
        variants["fused"] = Simulated(p, "sequential", seed, fused=True)
    return {name: backend(equation, wide) for name, backend in variants.items()}


@precisions
@equations
def test_random_data_in_any_order_stays_within_the_bound(name: str, equation: str, shapes: list) -> None:
    dtype, formats = PRECISIONS[name]
    p = declared_precision(DTYPES[dtype], **formats)
    for seed in range(2):
        operands = normal(shapes, dtype, seed)
        expected = reference(equation, operands, p, dtype, random=True)
        ratios = {k: worst_ratio(r, expected) for k, r in evaluations(p, equation, operands, seed).items()}
        assert max(ratios.values()) <= 1, ratios


DATA: dict[str, Callable[[np.random.Generator, tuple], Array]] = {
    "positive": lambda g, s: g.uniform(0.5, 1.0, s),
    "constant": lambda g, s: np.full(s, 1.1),
    "cancelling": lambda g, s: np.where(np.arange(np.prod(s, dtype=int)) % 2, -1.01, 1.0).reshape(s),
    "wide": lambda g, s: g.standard_normal(s) * 2.0 ** g.integers(-6, 7, s),
    "tiny": lambda g, s: g.standard_normal(s) * 2.0**-70,
    "sorted": lambda g, s: np.sort(g.standard_normal(s).ravel()).reshape(s),
}


@precisions
@pytest.mark.parametrize("data", DATA)
def test_structured_data_in_any_order_stays_within_the_bound_for_any_data(name: str, data: str) -> None:
    dtype, formats = PRECISIONS[name]
    p = declared_precision(DTYPES[dtype], **formats)
    for equation, shapes in [EQUATIONS[0], EQUATIONS[4], EQUATIONS[6], EQUATIONS[7], EQUATIONS[8]]:
        generator = np.random.default_rng(len(equation))
        operands = [cast(DATA[data](generator, s), DTYPES[dtype]) for s in shapes]
        expected = reference(equation, operands, p, dtype, random=False)
        ratios = {k: worst_ratio(r, expected) for k, r in evaluations(p, equation, operands, 0).items()}
        assert max(ratios.values()) <= 1, (equation, ratios)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("random", [True, False], ids=["random_data", "any_data"])
def test_complex_products_stay_within_the_bound_summed_jointly_or_separately(dtype: str, random: bool) -> None:
    p = declared_precision(DTYPES[dtype])
    for seed in range(5):
        generator = np.random.default_rng(seed)
        a, b = (
            cast(generator.standard_normal(s) + 1j * generator.standard_normal(s), DTYPES[dtype])
            for s in [(4, 32), (32, 4)]
        )
        expected = reference("ij,jk->ik", [a, b], p, dtype, random)
        (ar, ai), (br, bi) = ((x.real.astype(np.float64), x.imag.astype(np.float64)) for x in (a, b))
        for order in ORDERS:
            real = Simulated(p, order)
            separate = (
                round_to(real("ij,jk->ik", [ar, br]) - real("ij,jk->ik", [ai, bi]), p.storage)
                + 1j * round_to(real("ij,jk->ik", [ar, bi]) + real("ij,jk->ik", [ai, br]), p.storage)
            )  # fmt: skip
            joint = (
                real("ij,jk->ik", [np.hstack([ar, -ai]), np.vstack([br, bi])])
                + 1j * real("ij,jk->ik", [np.hstack([ar, ai]), np.vstack([bi, br])])
            )  # fmt: skip
            assert max(worst_ratio(separate, expected), worst_ratio(joint, expected)) <= 1


# Usefulness ---------------------------------------------------------------------------------------------------------


def product_of(m: int, k: int, n: int, dtype: str = "float32", seed: int = 0) -> tuple[list[Array], Reference]:
    operands = normal([(m, k), (k, n)], dtype, seed)
    return operands, reference("ij,jk->ik", operands, declared_precision(DTYPES[dtype]), dtype, random=True)


def truncated(values: Array, format: Format) -> Array:
    return np.where(values < 0, round_to(values, format, "up"), round_to(values, format, "down"))


FAULTS: dict[str, Callable[[Array, Array], Array]] = {
    "bfloat16 operands": lambda a, b: round_to(a, BFLOAT16) @ round_to(b, BFLOAT16),
    "TF32 operands": lambda a, b: round_to(a, TF32) @ round_to(b, TF32),
    "operands truncated to TF32": lambda a, b: truncated(a, TF32) @ truncated(b, TF32),
    "first term dropped": lambda a, b: a[:, 1:] @ b[1:],
    "last term twice": lambda a, b: a @ b + a[:, -1:] * b[-1:],
    "result through bfloat16": lambda a, b: round_to(a @ b, BFLOAT16),
    "one column for another": lambda a, b: a @ np.roll(b, 1, axis=1),
    "all off by 1e-5": lambda a, b: (a @ b) * (1 + 1e-5),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("terms", [4, 64, 512])
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_behind_float32_is_outside_the_bound(fault: str, terms: int, seed: int) -> None:
    operands, expected = product_of(16, terms, 16, seed=seed)
    a, b = (o.astype(np.float64) for o in operands)
    assert worst_ratio(round_to(a @ b, FLOAT32), expected) <= 1
    assert worst_ratio(round_to(FAULTS[fault](a, b), FLOAT32), expected) > 1


@pytest.mark.parametrize(("dtype", "accumulate"), [("float32", FLOAT16), ("float64", FLOAT32)])
def test_a_narrow_accumulator_is_outside_the_bound(dtype: str, accumulate: Format) -> None:
    operands, expected = product_of(4, 1024, 4, dtype)
    p = declared_precision(DTYPES[dtype]).replace(accumulate=accumulate.name)
    result = Simulated(p, "sequential")("ij,jk->ik", [o.astype(np.float64) for o in operands])
    assert worst_ratio(result, expected) > 1


def test_the_bound_for_random_data_is_tighter_than_the_one_for_any_data() -> None:
    operands, expected = product_of(8, 1024, 8)
    any_data = reference("ij,jk->ik", operands, declared_precision(DTYPES["float32"]), "float32", random=False)
    assert (expected.error < any_data.error / 10).all()
    assert (expected.facts["form"], any_data.facts["form"]) == ("random data", "any data")


# Exactness ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "complex64"])
@pytest.mark.parametrize("equation", ["ij->i", "ij,jk->ik", "ij,jk,kl->il"])
def test_small_integers_are_exact_and_one_ulp_off_is_refused(dtype: str, equation: str) -> None:
    generator = np.random.default_rng(0)
    operands = [cast(generator.integers(-1, 2, (4, 4)), DTYPES[dtype]) for _ in range(equation.count(",") + 1)]
    expected = reference(equation, operands, declared_precision(DTYPES[dtype]), dtype, random=True)
    assert expected.facts["form"] == "exact"
    assert not expected.error.any()
    wide = [o.astype(np.complex128 if dtype == "complex64" else np.float64) for o in operands]
    right = cast(np.einsum(equation, *wide), DTYPES[dtype])
    assert compare(right, expected).problem == ""
    kind = {"complex64": "float32"}.get(dtype, dtype)
    ulp = 2 * DTYPES[kind].format.unit_roundoff
    wrong = cast(right.astype(wide[0].dtype) * (1 + ulp) + (right == 0) * ulp, DTYPES[dtype])
    assert compare(wrong, expected).measurement.error_ratio == np.inf


def test_sums_with_too_many_digits_are_not_treated_as_exact() -> None:
    numbers = np.array([[2.0**24, 1.0, 1.0]], np.float32)
    assert reference("ij->i", [numbers], declared_precision(DTYPES["float32"]), "float32", random=False).error > 0
    assert (
        reference("ij->i", [numbers[:, :1]], declared_precision(DTYPES["float32"]), "float32", random=False).error == 0
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_copies_and_single_products_are_correctly_rounded(dtype: str) -> None:
    p = declared_precision(DTYPES[dtype])
    a, b = normal([(30,), (30,)], dtype)
    assert not reference("i->i", [a], p, dtype, random=True).error.any()
    product = reference("i,i->i", [a, b], p, dtype, random=True)
    right = cast(a.astype(np.float64) * b.astype(np.float64), DTYPES[dtype])
    assert compare(right, product).problem == ""
    wrong = cast(right.astype(np.float64) * (1 + 2 * p.storage.unit_roundoff), DTYPES[dtype])
    assert compare(wrong, product).problem


# The ends of the range ----------------------------------------------------------------------------------------------


def test_only_sums_beyond_the_accumulator_have_no_bound() -> None:
    operand = np.array([[60000, 60000, -60000], [1, 2, 3.5]], np.float16)
    summed = declared_precision(DTYPES["float16"], accumulate="float16")
    assert np.isinf(reference("ij->i", [operand], summed, "float16", random=False).error).tolist() == [True, False]
    assert np.isfinite(
        reference("ij->i", [operand], declared_precision(DTYPES["float16"]), "float16", random=False).error
    ).all()


def test_a_result_beyond_float16_must_be_infinite() -> None:
    operand = np.array([[60000, 60000]], np.float16)
    expected = reference("ij->i", [operand], declared_precision(DTYPES["float16"]), "float16", random=False)
    assert compare(np.array([np.inf], np.float16), expected).problem == ""
    assert compare(np.array([-np.inf], np.float16), expected).problem
    assert compare(np.array([65504], np.float16), expected).problem


@pytest.mark.parametrize("equation", ["i,i,i->i", "i,j,k->ijk", "i,j,k->"])
def test_a_stored_intermediate_beyond_float16_leaves_no_bound(equation: str) -> None:
    operands = [np.array([300.0], np.float16), np.array([300.0], np.float16), np.array([0.001], np.float16)]
    p = declared_precision(DTYPES["float16"])
    assert np.isinf(reference(equation, operands, p, "float16", random=False).error).all()
    wide = p.replace(intermediate="float32")
    assert np.isfinite(reference(equation, operands, wide, "float16", random=False).error).all()


def test_factors_that_share_no_label_are_not_multiplied_out() -> None:
    """The product of the first two would have 400 million elements."""
    shapes: list[tuple[int, ...]] = [(20_000,), (20_000,), (20_000, 2), (20_000, 2)]
    for value in (6e-5, 300.0):  # intermediates may be lost, or overflow
        operands = [np.full(shape, value, np.float16) for shape in shapes]
        tracemalloc.start()
        reference("i,j,ik,jl->", operands, declared_precision(DTYPES["float16"]), "float16", random=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**24


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_flushed_subnormals_are_a_finding_unless_flushing_is_declared(dtype: str) -> None:
    tiny = DTYPES[dtype].format.tiny
    operands = [cast([1.5 * tiny, tiny / 4, 1.0], DTYPES[dtype]), cast([0.5, 1.0, 1.0], DTYPES[dtype])]
    right, flushed = cast([0.75 * tiny, tiny / 4, 1.0], DTYPES[dtype]), cast([0, 0, 1.0], DTYPES[dtype])
    keeps = reference("i,i->i", operands, declared_precision(DTYPES[dtype]), dtype, random=False)
    flushes = reference("i,i->i", operands, declared_precision(DTYPES[dtype], flushes=True), dtype, random=False)
    assert [compare(r, keeps).problem == "" for r in (right, flushed)] == [True, False]
    assert [compare(r, flushes).problem == "" for r in (right, flushed)] == [True, True]
    assert compare(cast([0, 0, 0.0], DTYPES[dtype]), flushes).problem


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_flushed_copy_is_allowed_where_flushing_is_declared(dtype: str) -> None:
    operand = cast([DTYPES[dtype].format.smallest, 1.0], DTYPES[dtype])
    flushed = cast([0.0, 1.0], DTYPES[dtype])
    assert compare(
        flushed, reference("i->i", [operand], declared_precision(DTYPES[dtype]), dtype, random=False)
    ).problem
    flushing = declared_precision(DTYPES[dtype], flushes=True)
    assert compare(flushed, reference("i->i", [operand], flushing, dtype, random=False)).problem == ""


def test_a_sum_truncated_at_every_step_is_within_a_declaration_that_truncates() -> None:
    operands = normal([(4, 64), (64, 4)], "float32")
    truncating = declared_precision(DTYPES["float32"], truncates=True)
    expected = reference("ij,jk->ik", operands, truncating, "float32", random=True)
    a, b = (o.astype(np.float64) for o in operands)
    terms = truncated(a.T[:, :, None] * b[:, None, :], FLOAT32)
    assert worst_ratio(sequential(terms, lambda x: truncated(x, FLOAT32)), expected) <= 1


def test_a_flushed_operand_makes_even_an_exact_product_zero() -> None:
    operands = [np.array([2.0**-149], np.float32), np.array([2.0**60], np.float32)]
    flushes = reference(
        "i,i->i", operands, declared_precision(DTYPES["float32"], flushes=True), "float32", random=False
    )
    keeps = reference("i,i->i", operands, declared_precision(DTYPES["float32"]), "float32", random=False)
    right, flushed = np.array([2.0**-89], np.float32), np.array([0.0], np.float32)
    assert [compare(r, flushes).problem == "" for r in (right, flushed)] == [True, True]
    assert [compare(r, keeps).problem == "" for r in (right, flushed)] == [True, False]


@pytest.mark.parametrize(
    ("dtype", "small", "flushes"), [("float32", -40, True), ("float32", -60, False), ("float16", -14, False)]
)
def test_a_partial_product_may_be_lost_though_the_result_is_a_normal_number(
    dtype: str, small: int, flushes: bool
) -> None:
    first = -100 if dtype == "float32" else -14
    operands = [cast(np.array(2.0**e), DTYPES[dtype]) for e in (first, small, -small)]
    expected = reference(",,->", operands, declared_precision(DTYPES[dtype], flushes=flushes), dtype, random=False)
    for value in (0.0, 2.0**first):
        assert compare(cast(np.array(value), DTYPES[dtype]), expected).problem == ""
    assert compare(cast(np.array(1.0), DTYPES[dtype]), expected).problem


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_order_of_contraction_decides_between_infinity_and_nan(dtype: str) -> None:
    # inf * (1 * 2 + 1 * -1) is inf, inf * 1 * 2 + inf * 1 * -1 is NaN; the other row has neither, the last a NaN
    operands = [cast(values, DTYPES[dtype]) for values in ([[np.inf], [1], [np.nan]], [[1, 1]], [[2], [-1]])]
    expected = reference("ij,jk,kl->il", operands, declared_precision(DTYPES[dtype]), dtype, random=False)
    for either in (np.inf, np.nan):
        assert compare(cast([[either], [1], [np.nan]], DTYPES[dtype]), expected).problem == ""
    assert compare(cast([[np.inf], [np.inf], [np.nan]], DTYPES[dtype]), expected).problem
    assert compare(cast([[np.inf], [1], [1]], DTYPES[dtype]), expected).problem


def test_a_single_sum_of_products_has_one_pattern_of_infinities() -> None:
    operands = [np.array([[np.inf, 1]], np.float32), np.array([[1], [2]], np.float32)]
    expected = reference("ij,jk->ik", operands, declared_precision(DTYPES["float32"]), "float32", random=False)
    assert compare(np.array([[np.inf]], np.float32), expected).problem == ""
    assert compare(np.array([[np.nan]], np.float32), expected).problem


def test_very_many_roundings_give_a_huge_bound_without_overflow() -> None:
    ones = np.ones(2**20, np.float32)
    narrow = declared_precision(DTYPES["float32"], accumulate="bfloat16")
    assert reference("i,i->", [ones, ones], narrow, "float32", random=False).error > 1e300
