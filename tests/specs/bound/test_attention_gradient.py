"""The bound of attention's gradients: correct backpropagation stays within it in any form, wrong gradients do not."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound.attention_gradient import references
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.inputs import inputs
from specs.reference.reference import Reference
from tests.support.checks import case_of
from tests.support.narrow_arithmetic import worst
from tests.support.narrow_attention import BASE, CONFIGS, PRECISIONS, made
from tests.support.narrow_attention_gradient import Backpropagated

WRITTEN: dict[str, dict[str, Any]] = {
    "autodiff": {},
    "autodiff, other softmax": {"expanded": True, "pairs": True},
    "autodiff, query scaled": {"prescaled": True, "by_output": True},
    "autodiff, constants rounded": {"constants": True, "recomputed": True},
    "kernel": {"fused": 8, "by_output": True, "recomputed": True},
    "kernel, query scaled": {"fused": 8, "prescaled": True, "pairs": True},
}
# Of the forward computation's, with fewer keys, and without what the simulation leaves out
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


def expectation(case: Case, p: Precision, dtype: str, random: bool | None = None) -> dict[str, Reference]:
    assert isinstance(case.config, AttentionConfig)
    random = inputs.random_terms(case) if random is None else random
    operands, cotangent = inputs.operands(case, dtype), inputs.cotangent(case, dtype)
    return references(case.config, DTYPES[dtype], operands, cotangent, p, random)


def computed(case: Case, p: Precision, dtype: str, written: Mapping[str, Any]) -> dict[str, Array]:
    assert isinstance(case.config, AttentionConfig)
    with np.errstate(all="ignore"):
        return Backpropagated(p, **written).gradients(
            case.config, inputs.operands(case, dtype), inputs.cotangent(case, dtype)
        )


def ratios(found: Mapping[str, Array], expected: Mapping[str, Reference]) -> dict[str, float]:
    assert set(found) == set(expected)
    return {name: worst(found[name], reference) for name, reference in expected.items()}


def simulated(name: str, **changes: Any) -> Case:
    return made("plain", **SIMULATED[name] | changes)[1]


# Soundness ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIMULATED, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
def test_correct_backpropagation_stays_within_the_bound_however_it_is_written(name: str, precision: str) -> None:
    dtype, formats = PRECISIONS[precision]
    case = simulated(name)
    for how, written in WRITTEN.items():
        p = declared_precision(DTYPES[dtype], **formats)
        p = p.replace(intermediate=p.accumulate.name) if written.get("fused") else p
        found = ratios(computed(case, p, dtype, written), expectation(case, p, dtype))
        assert max(found.values()) <= 1, (how, found)


@pytest.mark.parametrize("name", ["plain", "grouped", "small softcap", "sink", "additive mask"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_random_data_has_a_narrower_bound_that_holds_for_many_seeds(name: str, dtype: str) -> None:
    p, found = declared_precision(DTYPES[dtype]), []
    for seed in range(8):
        case = made("plain", seed, **SIMULATED[name])[1]
        expected, any_data = (expectation(case, p, dtype, random) for random in (True, False))
        found += ratios(computed(case, p, dtype, {}), expected).values()
        for operand, reference in expected.items():
            assert reference.facts["form"] == "random data"
            assert np.all(reference.error <= any_data[operand].error)
    assert 0.02 < max(found) <= 1


def test_where_the_softmax_is_as_narrow_as_the_dtype_no_error_averages_out() -> None:
    p = declared_precision(DTYPES["bfloat16"], softmax="bfloat16")
    assert {r.facts["form"] for r in expectation(simulated("plain"), p, "bfloat16").values()} == {"any data"}


def test_a_saturated_softmax_keeps_a_bound() -> None:
    """Errors of large scores exceed 1, but a weight stays between 0 and 1."""
    literal = {"query": [[[[64.0]]]], "key": [[[[64.0]], [[-64.0]]]], "value": [[[[1.0]], [[3.0]]]]}
    shape = {"batch": 1, "q_len": 1, "kv_len": 2, "num_heads": 1, "head_dim": 1, "value_dim": 1}
    case = made("plain", **shape, **literal)[1]
    found = expectation(case, declared_precision(DTYPES["bfloat16"]), "bfloat16")
    cotangent = float(inputs.cotangent(case, "bfloat16").ravel()[0])
    assert np.all(found["value"].error <= abs(cotangent) * 0.05)


def test_scores_beyond_float16_leave_no_bound_and_others_keep_theirs() -> None:
    literal = {"query": [[[[300.0]]], [[[1.0]]]], "key": [[[[300.0]]]] * 2, "value": [[[[2.0]]]] * 2}
    shape = {"batch": 2, "q_len": 1, "kv_len": 1, "num_heads": 1, "head_dim": 1, "value_dim": 1}
    case = made("plain", **shape, **literal)[1]
    found = expectation(case, declared_precision(DTYPES["float16"]), "float16")
    for reference in found.values():
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
    case, p = simulated(name), declared_precision(DTYPES[dtype])
    lossy = computed(case, p.replace(**narrower), dtype, {})
    assert max(ratios(lossy, expectation(case, p, dtype)).values()) > 1
    allowed = ratios(lossy, expectation(case, p.replace(**narrower), dtype))
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
    case, p = made("plain", **changes)[1], declared_precision(DTYPES[dtype])
    found, expected = computed(case, p, dtype, {}), expectation(case, p, dtype)
    assert max(ratios(found, expected).values()) <= 1
    assert ratios(found | {operand: wrong(found[operand])}, expected)[operand] > 1


@pytest.mark.parametrize("scale", [0.0625, 4.0])
def test_a_scaled_bias_has_a_gradient_that_strays_by_the_scale(scale: float) -> None:
    """A mask that is added to the scores gets the gradient of a bias of the products, but for the scale."""
    fields = {"q_len": 7, "kv_len": 9, "num_heads": 2, "head_dim": 8, "scale": scale, "bias": "random"}
    both = {"bias_at": "products", "mask": {"type": "additive", "shape": "hqk"}}
    case = case_of(AttentionConfig.model_validate(fields | both))
    expected = expectation(case, declared_precision(DTYPES["float32"]), "float32")
    bias, mask = (np.median(np.broadcast_to(expected[name].deviation, (2, 7, 9))) for name in ("bias", "mask"))
    assert scale <= bias / mask <= 1.5 * scale
