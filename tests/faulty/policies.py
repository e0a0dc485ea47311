"""How others decide whether two results agree: what the suite's own verdict is measured against.

Each policy sees a result, the reference rounded once to the result's dtype, and what NumPy's plain loops give in that
dtype; it says whether the result is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from specs.arithmetic.formats import DTYPES, Array, components, dtype_name, round_to

# `default_tolerance` in jax/_src/public_test_util.py, as rtol and atol; integers are compared exactly
JAX_TOLERANCE = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-15, "complex64": 1e-6, "complex128": 1e-15}


@dataclass(frozen=True)
class Evidence:
    """What a policy judges by; all of the same shape and dtype, or `got` is wrong whatever the policy."""

    got: Array
    expected: Array
    naive: Array


def numpy_testing(evidence: Evidence) -> bool:
    """numpy.testing.assert_allclose with its defaults."""
    return _asserted(lambda: np.testing.assert_allclose(evidence.got, evidence.expected))


def torch_testing(evidence: Evidence) -> bool:
    """torch.testing.assert_close with its defaults."""
    got, expected = (torch.from_numpy(_signed(x)) for x in (evidence.got, evidence.expected))
    return _asserted(lambda: torch.testing.assert_close(got, expected, equal_nan=True))


def jax_defaults(evidence: Evidence) -> bool:
    """The tolerances of JAX's own test suite."""
    tolerance = JAX_TOLERANCE.get(dtype_name(evidence.expected.dtype), 0.0)
    if tolerance == 0.0:
        return np.array_equal(evidence.got, evidence.expected)
    got, expected = components(evidence.got), components(evidence.expected)
    return np.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def twice_naive(evidence: Evidence) -> bool:
    """At most twice the largest error of the plain loops, plus twice what rounding 0.3 in and out again costs.

    So do the tests of FlashAttention.
    """
    if not DTYPES[dtype_name(evidence.expected.dtype)].inexact:
        return np.array_equal(evidence.got, evidence.expected)
    format = DTYPES[dtype_name(evidence.expected.dtype)].format
    assert format is not None
    got, expected, naive = map(components, (evidence.got, evidence.expected, evidence.naive))
    with np.errstate(all="ignore"):
        spare = 2 * _largest(_off(round_to(round_to(expected + 0.3, format) - 0.3, format), expected))
        off, naively_off = (_largest(_off(x, expected)) for x in (got, naive))
        return bool(off <= 2 * naively_off + spare)


POLICIES: Mapping[str, Callable[[Evidence], bool]] = {
    "numpy.testing": numpy_testing,
    "torch.testing": torch_testing,
    "jax": jax_defaults,
    "2 x naive": twice_naive,
}


def accepts(policy: Callable[[Evidence], bool], evidence: Evidence) -> bool:
    """Whether a policy accepts; none accepts another shape or dtype."""
    alike = (evidence.got.shape, evidence.got.dtype) == (evidence.expected.shape, evidence.expected.dtype)
    return alike and policy(evidence)


def _asserted(assertion: Callable[[], None]) -> bool:
    try:
        assertion()
    except AssertionError:
        return False
    return True


def _signed(x: Array) -> Array:
    """torch compares few unsigned types; as signed ones of the same bits they are equal where they were."""
    return np.array(x.view(x.dtype.str.replace("u", "i"))) if x.dtype.kind == "u" else np.array(x)


def _off(x: Array, expected: Array) -> Array:
    """How far off; infinitely, where only one of the two is a number."""
    same = (x == expected) | (np.isnan(x) & np.isnan(expected))
    return np.where(same, 0.0, np.nan_to_num(np.abs(x - expected), nan=np.inf, posinf=np.inf))


def _largest(distance: Array) -> float:
    return float(np.max(distance, initial=0.0))
