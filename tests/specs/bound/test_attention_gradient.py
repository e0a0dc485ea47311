"""Correct backpropagation of attention is within its error bound in any form; wrong gradients are not."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array, cast
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound.attention_gradient import references
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs import designed, inputs, pairs
from specs.reference.reference import Reference
from tests.support.checks import case_of
from tests.support.narrow_arithmetic import worst_ratio
from tests.support.narrow_attention import BASE, CONFIGS, PRECISIONS, declare, few, make_case
from tests.support.narrow_attention_gradient import SimulatedAttentionGradient

FLOAT16 = DTYPES["float16"]
FORMULATIONS: dict[str, dict[str, Any]] = {
    "autodiff": {},
    "autodiff, other softmax": {"expanded": True, "pairs": True},
    "autodiff, query scaled": {"prescaled": True, "by_output": True},
    "autodiff, constants rounded": {"constants": True, "recomputed": True},
    "kernel": {"fused": 8, "by_output": True, "recomputed": True},
    "kernel, query scaled": {"fused": 8, "prescaled": True, "pairs": True},
}
# The configurations of the forward tests, with fewer keys, that the simulation supports
SIMULATED = {
    name: fields | {"kv_len": min(40, fields.get("kv_len", 40))}
    for name, fields in CONFIGS.items()
    if "relative" not in fields
    and fields.get("projections", {}).get("kind") != "per_head"
    and fields.get("fully_masked") != "nan"
} | {
    "mask of keys": BASE | {"mask": {"type": "additive", "shape": "b11k"}},
    "softcap and bias": BASE | {"softcap": 1.0, "bias": "random", "scale": 1.0},
}


operands_of, cotangent_of = few(inputs.operands), few(inputs.cotangent)


@few
def reference_of(case: Case, p: Precision, dtype: str, random: bool | None = None) -> dict[str, Reference]:
    assert isinstance(case.config, AttentionConfig)
    random = inputs.has_random_terms(case) if random is None else random
    return references(case.config, DTYPES[dtype], operands_of(case, dtype), cotangent_of(case, dtype), p, random)


def compute(case: Case, p: Precision, dtype: str, options: Mapping[str, Any]) -> dict[str, Array]:
    assert isinstance(case.config, AttentionConfig)
    with np.errstate(all="ignore"):
        return SimulatedAttentionGradient(p, **options).gradients(
            case.config, operands_of(case, dtype), cotangent_of(case, dtype)
        )


def error_ratios_of(gradients: Mapping[str, Array], expected: Mapping[str, Reference]) -> dict[str, float]:
    assert set(gradients) == set(expected)
    return {name: worst_ratio(gradients[name], reference) for name, reference in expected.items()}


def simulated_case(name: str, **changes: Any) -> Case:
    return make_case("plain", **SIMULATED[name] | changes)[1]


# Soundness ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIMULATED, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_backpropagation_stays_within_the_bound_however_it_is_written(name: str, precision: str) -> None:
    dtype, formats = PRECISIONS[precision]
    case = simulated_case(name)
    for formulation, options in FORMULATIONS.items():
        p = declare(dtype, formats, options)
        error_ratios = error_ratios_of(compute(case, p, dtype, options), reference_of(case, p, dtype))
        assert max(error_ratios.values()) <= 1, (formulation, error_ratios)


DESIGNED = [name for name, fields in SIMULATED.items() if "projections" not in fields and "data" not in fields]
NARROW = {name: stated for name, stated in PRECISIONS.items() if "16" in stated[0]}


@pytest.mark.parametrize("name", DESIGNED, ids=lambda n: n.replace(" ", "_"))
def test_correct_backpropagation_of_designed_inputs_stays_within_their_narrow_bound(name: str) -> None:
    for dtype, formats in NARROW.values():
        assert pairs.applies(simulated_case(name), dtype)
        case = designed.with_recipe(simulated_case(name), "pairs")
        for formulation, options in FORMULATIONS.items():
            p = declare(dtype, formats, options)
            error_ratios = error_ratios_of(compute(case, p, dtype, options), reference_of(case, p, dtype))
            assert max(error_ratios.values()) <= 1, (formulation, dtype, error_ratios)


@pytest.mark.parametrize("name", ["plain", "grouped", "small softcap", "sink", "additive mask"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_narrower_bound_for_random_data_is_valid_for_many_seeds(name: str, dtype: str) -> None:
    p, error_ratios = declared_precision(DTYPES[dtype]), []
    for seed in range(8):
        case = make_case("plain", seed, **SIMULATED[name])[1]
        expected, any_data = (reference_of(case, p, dtype, random) for random in (True, False))
        error_ratios += error_ratios_of(compute(case, p, dtype, {}), expected).values()
        for operand, reference in expected.items():
            assert reference.facts["form"] == "random data"
            assert np.all(reference.error <= any_data[operand].error)
    assert 0.02 < max(error_ratios) <= 1


def test_where_the_softmax_is_as_narrow_as_the_dtype_no_error_averages_out() -> None:
    p = declared_precision(DTYPES["bfloat16"], softmax="bfloat16")
    assert {r.facts["form"] for r in reference_of(simulated_case("plain"), p, "bfloat16").values()} == {"any data"}


def test_a_saturated_softmax_keeps_a_bound() -> None:
    """Errors of large scores exceed 1, but a weight stays between 0 and 1."""
    literal = {"query": [[[[64.0]]]], "key": [[[[64.0]], [[-64.0]]]], "value": [[[[1.0]], [[3.0]]]]}
    shape = {"batch": 1, "q_len": 1, "kv_len": 2, "num_heads": 1, "head_dim": 1, "value_dim": 1}
    case = make_case("plain", **shape, **literal)[1]
    gradients = reference_of(case, declared_precision(DTYPES["bfloat16"]), "bfloat16")
    cotangent = float(inputs.cotangent(case, "bfloat16").ravel()[0])
    assert np.all(gradients["value"].error <= abs(cotangent) * 0.05)


def test_only_scores_beyond_float16_have_no_bound() -> None:
    literal = {"query": [[[[300.0]]], [[[1.0]]]], "key": [[[[300.0]]]] * 2, "value": [[[[2.0]]]] * 2}
    shape = {"batch": 2, "q_len": 1, "kv_len": 1, "num_heads": 1, "head_dim": 1, "value_dim": 1}
    case = make_case("plain", **shape, **literal)[1]
    gradients = reference_of(case, declared_precision(DTYPES["float16"]), "float16")
    for reference in gradients.values():
        assert np.isinf(reference.error).ravel().tolist() == [True, False]


# Usefulness -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "narrower"),
    [
        ("float32", {"multiply": "tf32"}),
        ("float32", {"multiply": "bfloat16"}),
        ("float32", {"softmax": "bfloat16"}),
        ("float32", {"weights": "bfloat16"}),
        ("float32", {"intermediate": "float16"}),
        ("float32", {"accumulate": "float16"}),
        ("float64", {"multiply": "float32"}),
        ("float64", {"accumulate": "float32"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["plain", "grouped", "causal"])
def test_a_step_in_a_narrower_format_is_outside_the_bound(dtype: str, narrower: dict[str, str], name: str) -> None:
    case, p = simulated_case(name), declared_precision(DTYPES[dtype])
    lossy = compute(case, p.replace(**narrower), dtype, {})
    assert max(error_ratios_of(lossy, reference_of(case, p, dtype)).values()) > 1
    allowed = error_ratios_of(lossy, reference_of(case, p.replace(**narrower), dtype))
    assert max(allowed.values()) <= 1  # declared, it is right


MISTAKES: dict[str, tuple[dict[str, Any], str, Callable[[Array], Array]]] = {
    "gradient of another item": ({}, "query", lambda d: d[::-1]),
    "scale missing": ({}, "key", lambda d: d * 4),
    "a tenth too large": ({}, "query", lambda d: d * 1.1),
    "sign of the sink's": ({"sink": True}, "sink", lambda d: -d),
    "bias of one item": ({"bias": "random"}, "bias", lambda d: d / 2),
    "heads of a group exchanged": ({"num_heads": 4, "num_kv_heads": 2}, "value", lambda d: d[:, :, ::-1]),
    "last key left out": ({}, "value", lambda d: np.concatenate([d[:, :-1], 0 * d[:, -1:]], axis=1)),
    "mask of the other heads": ({"mask": {"type": "additive", "shape": "bhqk"}}, "mask", lambda d: d[:, ::-1]),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_wrong_gradients_are_outside_the_bound(mistake: str, dtype: str) -> None:
    changes, operand, wrong = MISTAKES[mistake]
    case, p = make_case("plain", **changes)[1], declared_precision(DTYPES[dtype])
    gradients, expected = compute(case, p, dtype, {}), reference_of(case, p, dtype)
    assert max(error_ratios_of(gradients, expected).values()) <= 1
    assert error_ratios_of(gradients | {operand: wrong(gradients[operand])}, expected)[operand] > 1


@pytest.mark.parametrize("operand", ["query", "key", "value", "bias"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("formulation", ["autodiff", "kernel"])
def test_two_percent_too_much_is_outside_the_bound_of_designed_inputs(
    operand: str, dtype: str, formulation: str
) -> None:
    case = designed.with_recipe(simulated_case("bias"), "pairs")
    p = declare(dtype, {}, FORMULATIONS[formulation])
    gradients, expected = compute(case, p, dtype, FORMULATIONS[formulation]), reference_of(case, p, dtype)
    too_large = cast(gradients[operand] * 1.02, DTYPES[dtype]).astype(np.float64)
    assert error_ratios_of(gradients | {operand: too_large}, expected)[operand] > 1


def test_products_that_are_stored_for_each_item_may_underflow() -> None:
    fields = {"batch": 2, "q_len": 3, "kv_len": 5, "num_heads": 1, "head_dim": 8, "relative": {"keys": False}}
    expected = reference_of(case_of(AttentionConfig.model_validate(fields)), declared_precision(FLOAT16), "float16")
    assert np.all(expected["relative_values"].error >= 2 * 2.0**-24)


@pytest.mark.parametrize("scale", [0.0625, 4.0])
def test_the_deviation_of_a_scaled_biass_gradient_is_proportional_to_the_scale(scale: float) -> None:
    """A mask that is added to the scores has the gradient of a bias of the products, except for the scale."""
    fields = {"q_len": 7, "kv_len": 9, "num_heads": 2, "head_dim": 8, "scale": scale, "bias": "random"}
    both = {"bias_at": "products", "mask": {"type": "additive", "shape": "hqk"}}
    case = case_of(AttentionConfig.model_validate(fields | both))
    expected = reference_of(case, declared_precision(DTYPES["float32"]), "float32")
    bias, mask = (np.median(np.broadcast_to(expected[name].deviation, (2, 7, 9))) for name in ("bias", "mask"))
    assert scale <= bias / mask <= 1.5 * scale
