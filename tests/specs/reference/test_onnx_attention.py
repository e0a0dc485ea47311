"""Reference attention against ONNX's reference evaluator: another published statement of what attention means.

What both can express agrees within the project's own bound, but for `DISAGREEMENTS`.  `OTHER_MEANINGS` shows that what
counts as inexpressible would indeed mean something else.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import declared_precision
from specs.bound.attention import references
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.layout import to_heads
from specs.case.loading import discover, load
from specs.case.visibility import allowed_keys
from specs.inputs import inputs
from specs.reference.attention import attention
from specs.verdict.comparison import compare
from tests.support import ROOT
from tests.support.onnx_attention import ELEMENTS, evaluate, explain_inexpressible, make_call, to_layout, to_tensor

FILES = discover([ROOT / "cases/attention", ROOT / "cases/seeds"], ROOT)
COMPARED = 299  # number of shipped cases that agree in every dtype that the evaluator supports
REFUSED = "is refused"

Operands = Mapping[str, Array]
BASE: dict[str, Any] = {"batch": 2, "q_len": 3, "kv_len": 5, "num_heads": 4, "num_kv_heads": 2, "head_dim": 4}
PACKED = BASE | {"layout": "bsd", "value_dim": 3}
PAST = BASE | {"past": 3, "q_len": 2}


@dataclass(frozen=True)
class Disagreement:
    """A difference between evaluator and reference on cases both can express: condition, message, small example."""

    applies: Callable[[AttentionConfig, Operands], bool]
    message: str
    example: dict[str, Any]


def unseen_is_not_finite(config: AttentionConfig, operands: Operands) -> bool:
    """Whether an infinite or NaN key or value that some query must not see would reach it as 0 * NaN."""
    hidden = ~allowed_keys(config, operands)[..., config.past or 0 :].all(axis=(1, 2))  # bk, or 1k
    key, value = (
        ~np.isfinite(to_heads(config, operands[name], config.num_kv_heads)).all(axis=(1, 3))
        for name in ("key", "value")
    )
    felt = key & ~value if config.masked_values == "spread" else key | value
    return bool((hidden & felt).any())


def mask_beside_causal(config: AttentionConfig, axes: str) -> bool:
    """Whether a causal mask is applied, without a window, together with a mask with these axes before the keys."""
    return (
        config.causal != "none" and not config.window and config.mask is not None and config.mask.shape[-2:-1] == axes
    )


def a_row_is_minus_infinity(config: AttentionConfig, operands: Operands) -> bool:
    """Whether all scores of a query, before any mask, are -inf."""
    if all(np.isfinite(operands[name]).all() for name in ("query", "key")) or not config.kv_len:
        return False
    with np.errstate(all="ignore"):
        exact = attention(config, operands, DTYPES["float64"])
    return bool(np.isneginf(to_float64(exact.raw)).all(axis=-1).any())


DISAGREEMENTS = {
    # Here the softmax of a row of -inf is NaN, as everywhere else, unless a mask hides all its keys.  The evaluator
    # does not ask why the scores are -inf.
    "scores of minus infinity": Disagreement(
        a_row_is_minus_infinity,
        "NaN on one side only",
        {"q_len": 1, "kv_len": 2, "head_dim": 1, "query": [[[[-np.inf]]]], "key": [[[[1.0]], [[2.0]]]]},
    ),
    # The operator multiplies query and key by sqrt(scale) each, so that a negative scale is NaN.  Here a scale is a
    # factor of the scores, as in every framework's own attention.
    "negative scale": Disagreement(
        lambda config, operands: (config.scale or 0.0) < 0, "NaN on one side only", BASE | {"scale": -0.5}
    ),
    # The operator adds -inf to every score and multiplies every value by its weight, so NaN + -inf and 0 * NaN
    # reach the output.  Here what a query may not see has no effect on it: a cache may hold anything after the keys in
    # use.  Cases have `masked_values: spread` where a matrix product's 0 * NaN is right.
    "unseen NaN": Disagreement(
        unseen_is_not_finite, "NaN on one side only", BASE | {"kv_lengths": [2, 5], "unseen": "nan"}
    ),
    # A mask broadcasts to (batch, heads, q, keys) in the operator's description and in the function body that defines
    # it.  The evaluator counts the queries of the causal frontier in the mask itself: a
    # mask with one row excludes for all queries what the first may not see.  Here a key is allowed where both allow it.
    "causal beside a mask with one row": Disagreement(
        lambda config, operands: config.q_len > 1 and mask_beside_causal(config, "1"),
        "outside the error bound",
        BASE | {"causal": "top_left", "mask": {"type": "bool", "shape": "b11k"}},
    ),
    # The same, where the mask has no query axis: the evaluator takes their number from a shape that is too short.
    "causal beside a mask of keys alone": Disagreement(
        lambda config, operands: mask_beside_causal(config, ""),
        REFUSED,
        BASE | {"causal": "top_left", "mask": {"type": "additive", "shape": "k"}},
    ),
    # A softmax over no keys: the evaluator takes a maximum of nothing.  Here such queries yield zeros, as other
    # queries without a key do.
    "no keys": Disagreement(lambda config, operands: config.kv_len == 0, REFUSED, BASE | {"kv_len": 0}),
    # Merging the heads of no tokens: the evaluator leaves the last size to NumPy, which cannot infer it from nothing.
    "no packed tokens": Disagreement(
        lambda config, operands: config.layout in ("bsd", "ds") and config.batch * config.q_len == 0,
        REFUSED,
        PACKED | {"batch": 0},
    ),
}

# Inexpressible cases, and what the operator would compute instead.
OTHER_MEANINGS: dict[str, dict[str, Any]] = {
    # Biases are added after the softcap, like masks.  Here a bias is part of the scores, all of which are capped;
    # what is added after the softcap is an additive mask
    "softcap of biased scores": BASE | {"softcap": 0.5, "bias": "random"},
    "bias of the products": BASE | {"bias": "random", "bias_at": "products"},
    # A query without any key yields zeros there; here a case chooses
    "fully masked, mean": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}, "fully_masked": "mean"},
    "fully masked, nan": BASE | {"mask": {"type": "bool", "pattern": "masked_row"}, "fully_masked": "nan"},
    # With lengths the causal mask is aligned at the last key of each item; here at the same place for all
    "lengths beside causal, top left": BASE | {"causal": "top_left", "kv_lengths": [4, 5]},
    "lengths beside causal, bottom right": BASE | {"causal": "bottom_right", "kv_lengths": [4, 5]},
    "lengths beside a window": BASE | {"window": {"left": 1}, "kv_lengths": [4, 5]},
    # Attributes are float32, whatever the tensors are
    "a scale that float32 cannot hold": BASE | {"scale": 0.3},
}

AGREEMENTS: dict[str, dict[str, Any]] = {
    "packed, grouped": PACKED,
    "other features of values": BASE | {"layout": "bhsd", "value_dim": 7},
    "causal, bottom right, more queries": BASE | {"causal": "bottom_right", "q_len": 7},
    "causal, bottom right, packed": PACKED | {"causal": "bottom_right"},
    "softcap before an additive mask": BASE | {"softcap": 0.5, "mask": {"type": "additive", "shape": "bhqk"}},
    "softcap before a hidden row": BASE | {"softcap": 0.5, "mask": {"type": "bool", "pattern": "masked_row"}},
    "lengths, one of them zero": PACKED | {"kv_lengths": [0, 4]},
    "lengths and causal at the same place": BASE | {"causal": "bottom_right", "kv_lengths": [5, 5]},
    "lengths, top left at the same place": BASE | {"causal": "top_left", "kv_lengths": [3, 3]},
    "past inside the operator": PAST | {"causal": "bottom_right", "softcap": 2.0},
    "past inside, packed, with a mask": PACKED | {"past": 3, "mask": {"type": "bool", "shape": "qk"}},
    "past outside, packed": PACKED | {"past": 1, "causal": "bottom_right"},
    "past outside, top left": PAST | {"causal": "top_left"},
    "past and lengths": PACKED | {"past": 4, "kv_lengths": [2, 5]},
    "window behind past": PAST | {"causal": "bottom_right", "window": {"left": 1, "right": 0}},
    "window to both sides of causal": BASE | {"q_len": 5, "causal": "top_left", "window": {"left": 2, "right": 1}},
    "bias hidden by a mask": BASE | {"bias": "alibi", "mask": {"type": "bool", "shape": "1hqk"}},
    "mask that broadcasts along the keys": BASE | {"mask": {"type": "additive", "shape": "hq1"}},
    "columns": {"q_len": 3, "kv_len": 5, "head_dim": 4, "layout": "ds", "causal": "bottom_right", "scale": 0.25},
}


def make_case(name: str, fields: dict[str, Any]) -> Case:
    return Case(
        id=f"onnx/{name}", name=name, file=Path("onnx.yaml"), line=1, config=AttentionConfig.model_validate(fields)
    )


def difference(case: Case, dtype: str) -> str:
    """How the evaluator's result differs from the reference by more than the bound of its own arithmetic; or ''."""
    operands = inputs.operands(case, dtype)
    try:
        result = evaluate(make_call(case.config, operands))
    except ValueError:
        return REFUSED
    return compare_with_reference(case, dtype, to_layout(case.config, result))


def compare_with_reference(case: Case, dtype: str, result: Array) -> str:
    target, operands = DTYPES[dtype], inputs.operands(case, dtype)
    expected = references(case.config, target, operands, declared_precision(target), inputs.has_random_terms(case))[
        "result"
    ]
    return compare(result, expected).problem


def disagreement(case: Case, dtype: str) -> Disagreement | None:
    """The one that applies, if any."""
    operands = inputs.operands(case, dtype)
    return next((entry for entry in DISAGREEMENTS.values() if entry.applies(case.config, operands)), None)


def expressible(path: Path) -> Iterator[tuple[Case, str]]:
    for case in load(path, ROOT):
        if isinstance(case.config, AttentionConfig):
            for dtype in case.config.dtypes:
                if dtype in ELEMENTS and not explain_inexpressible(case.config, dtype):
                    yield case, dtype


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_shipped_cases_agree_but_for_the_explained_disagreements(path: Path) -> None:
    unexplained = {}
    for case, dtype in expressible(path):
        observed, expected = difference(case, dtype), disagreement(case, dtype)
        if not observed.endswith(expected.message) if expected else observed:
            unexplained[f"{case.id} {dtype}"] = observed or "agrees, though a disagreement is known"
    assert not unexplained


def test_most_shipped_cases_can_be_compared() -> None:
    checks = [check for path in FILES for check in expressible(path)]
    assert len({case.id for case, dtype in checks if disagreement(case, dtype) is None}) >= COMPARED


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", AGREEMENTS)
def test_what_no_shipped_case_combines_agrees(name: str, dtype: str) -> None:
    case = make_case(name, AGREEMENTS[name])
    assert explain_inexpressible(case.config, dtype) is None
    assert disagreement(case, dtype) is None
    assert difference(case, dtype) == ""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_a_known_disagreement_is_still_observed(name: str, dtype: str) -> None:
    entry = DISAGREEMENTS[name]
    case = make_case(name, entry.example)
    assert explain_inexpressible(case.config, dtype) is None
    assert disagreement(case, dtype) is entry
    assert difference(case, dtype).endswith(entry.message)


@pytest.mark.parametrize("name", OTHER_MEANINGS)
def test_inexpressible_cases_would_be_evaluated_differently(name: str) -> None:
    case = make_case(name, OTHER_MEANINGS[name])
    assert explain_inexpressible(case.config, "float64")
    assert difference(case, "float64") not in ("", REFUSED)


def test_queries_follow_past_keys_even_with_causal_top_left() -> None:
    """Why such a past is given as keys: here `top_left` counts from the first key, wherever it comes from."""
    case = make_case("past", PAST | {"causal": "top_left"})
    operands = inputs.operands(case, "float32")
    onnx_call = make_call(case.config, operands)
    assert "past_key" not in onnx_call.inputs
    tensors = {at: to_tensor(case.config, operands[name]) for at, name in (("K", "key"), ("V", "value"))}
    past = {name: to_tensor(case.config, operands[name]) for name in ("past_key", "past_value")}
    inside = replace(onnx_call, inputs={**onnx_call.inputs, **tensors, **past})
    assert compare_with_reference(case, "float32", to_layout(case.config, evaluate(inside))).endswith(
        "outside the error bound"
    )


def test_without_a_cache_causal_is_aligned_at_the_first_query() -> None:
    """Why `bottom_right` is expressed by `nonpad_kv_seqlen`: the operator has no other attribute for it."""
    case = make_case("bottom right", BASE | {"causal": "bottom_right"})
    onnx_call = make_call(case.config, inputs.operands(case, "float32"))
    plain = replace(
        onnx_call, inputs={name: array for name, array in onnx_call.inputs.items() if name != "nonpad_kv_seqlen"}
    )
    assert compare_with_reference(case, "float32", to_layout(case.config, evaluate(plain))).endswith(
        "outside the error bound"
    )
    top_left = make_case("bottom right", BASE | {"causal": "top_left"})
    assert compare_with_reference(top_left, "float32", to_layout(case.config, evaluate(plain))) == ""


def test_a_mask_for_fewer_keys_excludes_the_others_instead_of_broadcasting() -> None:
    """Why masks are broadcast along the keys first: here a size of 1 broadcasts, as in every framework."""
    case = make_case("one column", BASE | {"mask": {"type": "additive", "shape": "q1"}})
    operands = inputs.operands(case, "float32")
    onnx_call = make_call(case.config, operands)
    short = replace(onnx_call, inputs={**onnx_call.inputs, "attn_mask": operands["mask"]})
    assert compare_with_reference(case, "float32", to_layout(case.config, evaluate(short))).endswith(
        "outside the error bound"
    )
