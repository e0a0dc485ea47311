"""The result of an attention without one of its features, and by how much it then differs from the right one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, Array, DType, Float64
from specs.arithmetic.precision import declared_precision
from specs.bound.attention import references
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.common import RESULT
from specs.case.visibility import allowed_keys
from specs.inputs import designed, inputs
from specs.reach.attention import MASKS, SCORES
from specs.reference.attention import attention

Operands = Mapping[str, Array]


def _nested(field: str, **values: Any) -> Callable[[AttentionConfig], dict[str, Any]]:
    return lambda c: {field: getattr(c, field).model_copy(update=values)}


def _set_default(field: str) -> Callable[[AttentionConfig], dict[str, Any]]:
    return lambda c: {field: AttentionConfig.model_fields[field].default}


# The fields to change, so that the feature is not there, or is another of its group
REMOVALS: Mapping[str, Callable[[AttentionConfig], dict[str, Any]]] = {
    "scale": lambda c: {"scale": 1.0 if c.scale_at == "weights" else None},
    "negative scale": lambda c: {"scale": -(c.scale or 0.0)},
    "scale at weights": lambda c: {"scale_at": "scores"},
    "causal top_left": lambda c: {"causal": "none"},
    "causal bottom_right": lambda c: {"causal": "none"},
    "window": lambda c: {"window": None},
    "bool mask": lambda c: {"mask": None},
    "additive mask that hides": lambda c: {"mask": None},
    "additive mask of numbers": lambda c: {"mask": None},
    "bias random": lambda c: {"bias": None, "bias_at": "scores"},
    "bias alibi": lambda c: {"bias": None, "bias_at": "scores"},
    "bias at products": lambda c: {"bias_at": "scores"},
    "rotary by halves": _nested("rotary", pairing="interleaved"),
    "rotary interleaved": _nested("rotary", pairing="half"),
    "rotary of some features": _nested("rotary", dims=None),
    "relative keys": _nested("relative", keys=False),
    "relative values": _nested("relative", values=False),
    "projection bias": _nested("projections", bias=False),
    "output projection": _nested("projections", output=False),
    **{feature.name: _set_default(feature.name) for feature in (*MASKS, *SCORES)},
}
MASK_AXES = {"mask by batch item": -4, "mask by head": -3}
AXES = {"batch": 0, "heads": 1}  # of results, bhqd
REMOVABLE = frozenset({*REMOVALS, *MASK_AXES, *AXES, "query without keys"})


def largest_difference(case: Case, dtype: str, feature: str) -> float:
    """How far a result without the feature is from the right one, in units of the bound; inf where one is not finite.

    The largest on the case's own inputs and on the designed ones with which it is also checked.
    """
    recipes = [designed.with_recipe(case, recipe) for recipe in designed.applicable_recipes(case, dtype)]
    largest = 0.0
    for same in (case, *recipes):
        largest = max(largest, _difference(same, DTYPES[dtype], feature))
        if largest > 1:
            break
    return largest


@lru_cache(maxsize=4)  # the features of a case follow each other
def _right(case: Case, dtype: DType) -> tuple[Float64, Float64]:
    """The right result and its bound, with the rounding of the output."""
    config, operands = case.config, inputs.operands(case, dtype.name)
    assert isinstance(config, AttentionConfig)
    assert dtype.format is not None
    reference = references(config, dtype, operands, declared_precision(dtype), False)[RESULT]
    right = to_float64(reference.value)
    return right, np.asarray(reference.error) + dtype.format.unit_roundoff * np.abs(right)


def _difference(case: Case, dtype: DType, feature: str) -> float:
    """The same on the case's inputs alone."""
    config, operands = case.config, inputs.operands(case, dtype.name)
    assert isinstance(config, AttentionConfig)
    if feature == "query without keys":
        return np.inf if not allowed_keys(config, operands).any(axis=-1).all() else 0.0
    right, bound = _right(case, dtype)
    if feature in AXES:
        heads = to_float64(attention(config, operands, dtype).heads)
        return _excess(
            np.broadcast_to(heads.take([0], AXES[feature]), heads.shape), heads, 1e-4 * np.nanmax(abs(heads))
        )
    if feature in MASK_AXES:
        mask = operands["mask"]
        changed = {"mask": np.broadcast_to(mask.take([0], MASK_AXES[feature]), mask.shape)}
        return _excess(to_float64(attention(config, {**operands, **changed}, dtype).output), right, bound)
    without = config.model_copy(update=REMOVALS[feature](config))
    # What no query saw is seen now; it was replaced only after everything else was drawn
    drawn = inputs.operands(replace(case, config=without.model_copy(update={"unseen": None})), dtype.name)
    kept = {name: operands.get(name, x) if not name.startswith("rotary") else x for name, x in drawn.items()}
    return _excess(to_float64(attention(without, kept, dtype).output), right, bound)


def _excess(other: Float64, right: Float64, bound: Float64 | float) -> float:
    same = (other == right) | (np.isnan(other) & np.isnan(right))
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(same, 0.0, np.abs(other - right) / bound)
    return float(np.nan_to_num(excess, nan=np.inf, posinf=np.inf).max(initial=0.0))
