"""Tests over all errors of a result: chance raises no false alarm, and mistakes that no single element reveals do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import BFLOAT16, DTYPES, TF32, Array, Format, cast, round_to
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound import attention_gradient, einsum, einsum_gradient
from specs.case.einsum import EinsumConfig
from specs.inputs import inputs
from specs.reference.attention import attention
from specs.reference.reference import Reference
from specs.verdict.aggregate import MIN_INDEPENDENT, aggregate
from specs.verdict.comparison import compare
from specs.verdict.diagnosis import diagnose
from tests.support.narrow_arithmetic import ORDERS, PRECISIONS, Simulated, normal
from tests.support.narrow_attention import CONFIGS, SimulatedAttention, make_case, operands_of, reference_of
from tests.support.narrow_attention import PRECISIONS as ATTENTION_PRECISIONS
from tests.support.narrow_attention_gradient import SimulatedAttentionGradient

SEEDS = range(40)


def make_reference(
    equation: str, operands: list[Array], precision: Precision, dtype: str, random: bool = True
) -> Reference:
    config = EinsumConfig(equation=equation, shapes=[list(o.shape) for o in operands])
    return einsum.reference(config, DTYPES[dtype], operands, precision, random)


def contract_exactly(equation: str, *operands: Array) -> Array:
    return np.einsum(equation, *(o.astype(np.float64) for o in operands))


# Correct arithmetic ---------------------------------------------------------------------------------------------------

EQUATIONS: dict[str, list[tuple[int, ...]]] = {
    "ij,jk->ik": [(8, 24), (24, 8)],
    "i,j->ij": [(24,), (24,)],
    "ij->i": [(40, 12)],
    "ij,k->ik": [(20, 6), (30,)],  # twenty sums, each in thirty elements
    "ij,jk,kl->il": [(20, 3), (3, 2), (2, 20)],  # twenty rows of two numbers, each in twenty elements
    "i,i,j->ij": [(24,), (24,), (24,)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("name", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_einsums_are_never_flagged(equation: str, name: str) -> None:
    dtype, formats = PRECISIONS[name]
    precision = declared_precision(DTYPES[dtype], **formats)
    for seed in SEEDS:
        operands = normal(EQUATIONS[equation], dtype, seed)
        reference = make_reference(equation, operands, precision, dtype)
        order = list(ORDERS)[seed % len(ORDERS)]
        simulated = Simulated(precision, order, seed, sums_first=bool(seed % 2))
        result = cast(simulated(equation, [o.astype(np.float64) for o in operands]), DTYPES[dtype])
        assert compare(result, reference).problem == ""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_correct_gradients_of_einsums_are_never_flagged(dtype: str) -> None:
    config = EinsumConfig(equation="ij,jk->ik", shapes=[[9, 12], [12, 7]])
    precision = declared_precision(DTYPES[dtype])
    for seed in SEEDS:
        a, b, cotangent = normal([(9, 12), (12, 7), (9, 7)], dtype, seed)
        reference = einsum_gradient.reference(config, DTYPES[dtype], [a, b], cotangent, 0, precision, random=True)
        result = Simulated(precision, "sequential", seed)(
            "ik,jk->ij", [cotangent.astype(np.float64), b.astype(np.float64)]
        )
        comparison = compare(cast(result, DTYPES[dtype]), reference)
        assert (comparison.problem, comparison.measurement.rms is not None) == ("", True)


VARIANTS: list[dict[str, Any]] = [{}, {"pairs": True}, {"prescaled": True}, {"constants": True}, {"fused": 3}]


@pytest.mark.parametrize("name", CONFIGS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("precision_name", ATTENTION_PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_attention_is_never_flagged(name: str, precision_name: str) -> None:
    dtype, formats = ATTENTION_PRECISIONS[precision_name]
    for seed, variant in enumerate(VARIANTS):
        config, case = make_case(name, seed)
        precision = declared_precision(DTYPES[dtype], **formats)
        precision = precision.replace(intermediate=precision.accumulate.name) if variant.get("fused") else precision
        with np.errstate(all="ignore"):
            output = SimulatedAttention(precision, **variant).attend(config, operands_of(case, dtype))
            assert compare(cast(output, DTYPES[dtype]), reference_of(case, precision, dtype)).problem == ""


GRADIENTS: dict[str, dict[str, Any]] = {
    "one query": {"q_len": 1, "kv_len": 40, "batch": 30},
    "square": {"q_len": 12, "kv_len": 12, "causal": "top_left"},
    "grouped": {"num_heads": 4, "num_kv_heads": 1, "q_len": 6, "kv_len": 20},
    "softcap": {"softcap": 2.0},
}


@pytest.mark.parametrize("name", GRADIENTS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_correct_gradients_of_attention_are_never_flagged(name: str, dtype: str) -> None:
    variants: list[dict[str, Any]] = [{}, {"expanded": True}, {"by_output": True}, {"fused": 8, "by_output": True}]
    tested = 0
    for seed, variant in enumerate(variants * 3):
        config, case = make_case("plain", seed, **GRADIENTS[name])
        precision = declared_precision(DTYPES[dtype])
        precision = precision.replace(intermediate=precision.accumulate.name) if variant.get("fused") else precision
        operands, cotangent = inputs.operands(case, dtype), inputs.cotangent(case, dtype)
        references = attention_gradient.references(config, DTYPES[dtype], operands, cotangent, precision, random=True)
        for operand, result in (
            SimulatedAttentionGradient(precision, **variant).gradients(config, operands, cotangent).items()
        ):
            comparison = compare(cast(result, DTYPES[dtype]), references[operand])
            assert comparison.problem == "", operand
            tested += comparison.measurement.rms is not None
    assert tested


# Mistakes that no single element reveals ------------------------------------------------------------------------------


def without_deviation(reference: Reference) -> Reference:
    return replace(reference, deviation=None)


def elementwise_problem(result: Array, reference: Reference) -> str:
    """The problem that the bounds of single elements find."""
    return compare(result, without_deviation(reference)).problem


def products(precision: Precision | None = None, shape: tuple[int, int] = (48, 512)) -> tuple[list[Array], Reference]:
    """Random matrices of float32, and the reference of their product."""
    operands = normal([shape, shape[::-1]], "float32")
    return operands, make_reference(
        "ij,jk->ik", operands, precision or declared_precision(DTYPES["float32"]), "float32"
    )


def test_operands_that_lost_four_bits_are_found_in_all_elements_together() -> None:
    operands, reference = products()
    cut = [round_to(o, Format("twenty bits", 20, -126, 127)) for o in operands]
    result = cast(contract_exactly("ij,jk->ik", *cut), DTYPES["float32"])
    assert elementwise_problem(result, reference) == ""
    comparison = compare(result, reference)
    assert comparison.problem.startswith("values are each within the bound, but together 1.")
    assert "times as far off as correct arithmetic is (RMS" in comparison.problem
    assert comparison.measurement.rms == pytest.approx(1.55, rel=0.1)


@pytest.mark.parametrize("factor", [1 + 2.0**-22, 1 - 2.0**-22])
def test_a_scale_off_in_the_last_digits_is_found_as_a_bias(factor: float) -> None:
    operands, reference = products()
    result = cast(factor * contract_exactly("ij,jk->ik", *operands), DTYPES["float32"])
    assert elementwise_problem(result, reference) == ""
    comparison = compare(result, reference)
    assert "as if scaled by" in comparison.problem
    assert comparison.measurement.bias == pytest.approx(factor - 1, rel=0.1)


@pytest.mark.parametrize("factor", [1.001, 0.999, 1.002])
def test_a_scale_of_scores_off_by_a_thousandth_is_found_in_bfloat16(factor: float) -> None:
    config, case = make_case("plain", batch=4, q_len=64, kv_len=64, num_heads=4)
    precision = declared_precision(DTYPES["bfloat16"], intermediate="float32", weights="float32")
    operands, reference = inputs.operands(case, "bfloat16"), reference_of(case, precision, "bfloat16")
    for scale, wrong in ((1.0, False), (factor, True)):
        stated = config.model_copy(update={"scale": config.score_scale * scale})
        result = cast(to_float64(attention(stated, operands, DTYPES["float32"]).output), DTYPES["bfloat16"])
        comparison = compare(result, reference)
        assert bool(comparison.problem) == wrong
        assert comparison.measurement.bias == pytest.approx(scale - 1, abs=1e-4)


def test_an_intermediate_of_bfloat16_is_found_even_where_elements_have_no_bound() -> None:
    operands = normal([(24, 6), (6, 20), (20, 24)], "float32")
    reference = make_reference("ij,jk,kl->il", operands, declared_precision(DTYPES["float32"]), "float32")
    between = round_to(contract_exactly("ij,jk->ik", *operands[:2]), BFLOAT16)
    result = cast(contract_exactly("ik,kl->il", between, operands[2]), DTYPES["float32"])
    reference = replace(reference, error=np.full(reference.shape, 1e30))
    assert elementwise_problem(result, reference) == ""
    assert "times as far off" in compare(result, reference).problem


# Diagnosis ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_off", [False, True])
def test_operands_of_tf32_are_named_and_a_small_bias_is_not_taken_for_them(cut_off: bool) -> None:
    operands, reference = products(shape=(24, 6))

    def under(precision: Precision) -> Reference:
        return make_reference("ij,jk->ik", operands, precision, "float32")

    def converted(convert: Callable[[Array], Array]) -> Array:
        assert reference.precision
        return make_reference("ij,jk->ik", list(map(convert, operands)), reference.precision, "float32").value

    bits = np.uint32(0xFFFFE000)
    narrow = [(o.view(np.uint32) & bits).view(np.float32) if cut_off else round_to(o, TF32) for o in operands]
    result = cast(contract_exactly("ij,jk->ik", *narrow), DTYPES["float32"])
    assert compare(result, reference).problem
    assert diagnose(result, reference, under, converted) == "; consistent with operands rounded to TF32"
    biased = cast(contract_exactly("ij,jk->ik", *operands) * (1 + 2.0**-20), DTYPES["float32"])
    assert compare(biased, reference).problem
    assert diagnose(biased, reference, under, converted) == ""


# Where no test applies ------------------------------------------------------------------------------------------------


def test_few_elements_and_data_that_are_not_random_are_not_tested() -> None:
    precision = declared_precision(DTYPES["float32"])
    for rows, random in ((MIN_INDEPENDENT - 1, True), (MIN_INDEPENDENT, True), (MIN_INDEPENDENT, False)):
        operands = normal([(rows, 40), (40,)], "float32")
        result = cast(contract_exactly("ij,j->i", *operands), DTYPES["float32"])
        measurement = compare(result, make_reference("ij,j->i", operands, precision, "float32", random)).measurement
        tested = rows == MIN_INDEPENDENT and random
        assert (measurement.rms is not None, measurement.bias is not None) == (tested, tested)


@pytest.mark.parametrize("dtype", ["float32 summed in float16", "bfloat16 summed in bfloat16"])
def test_sums_that_stagnate_are_not_tested(dtype: str) -> None:
    name, formats = PRECISIONS[dtype]
    operands = normal([(32, 8), (8, 32)], name)
    assert make_reference("ij,jk->ik", operands, declared_precision(DTYPES[name], **formats), name).deviation is None


def test_equal_elements_count_once_and_shared_roundings_once_for_all_they_enter() -> None:
    operands, reference = products()
    result = cast(contract_exactly("ij,jk->ik", *operands), DTYPES["float32"])
    difference = to_float64(reference.value) - result

    def limit(reference: Reference, times: int = 1) -> float:
        names = ("value", "error", "deviation", "shared")
        reference = replace(reference, **{name: np.tile(getattr(reference, name), times) for name in names})
        comparison = aggregate(np.tile(difference, times), np.tile(result, times).astype(float), reference)
        assert comparison is not None
        return comparison.rms_limit

    assert limit(reference, 4) == pytest.approx(limit(reference))
    shared = limit(replace(reference, correlated_elements=48.0))
    assert shared == pytest.approx(np.sqrt(1.2 * (1 + 8 * np.sqrt(2 / 48))))
    assert aggregate(difference, result.astype(float), replace(reference, correlated_elements=145.0)) is None


def test_zeros_exact_elements_and_what_is_not_finite_are_left_out() -> None:
    operands, reference = products()
    result = cast(contract_exactly("ij,jk->ik", *operands), DTYPES["float32"])
    expected = compare(result, reference).measurement
    operands = [
        np.concatenate([operands[0], np.zeros((3, 512)), np.full((1, 512), np.inf)]).astype(np.float32),
        operands[1],
    ]
    with np.errstate(invalid="ignore"):
        result = cast(contract_exactly("ij,jk->ik", *operands), DTYPES["float32"])
    wider = compare(
        result, make_reference("ij,jk->ik", operands, declared_precision(DTYPES["float32"]), "float32")
    ).measurement
    assert (wider.rms, wider.bias) == (pytest.approx(expected.rms), pytest.approx(expected.bias))
