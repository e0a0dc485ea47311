"""Policies of other projects for whether two results agree, to compare with the suite's own verdict.

A policy receives a result, the reference rounded once to the result's dtype, and the result of NumPy's plain loops in
that dtype; it returns whether the result is accepted.
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
    """The arrays that a policy judges by.  If they differ in shape or dtype, `got` is wrong under every policy."""

    got: Array
    expected: Array
    naive: Array


def numpy_testing(evidence: Evidence) -> bool:
    """numpy.testing.assert_allclose with its defaults."""
    return _passes(lambda: np.testing.assert_allclose(evidence.got, evidence.expected))


def torch_testing(evidence: Evidence) -> bool:
    """torch.testing.assert_close with its defaults."""
    got, expected = (torch.from_numpy(_as_signed(x)) for x in (evidence.got, evidence.expected))
    return _passes(lambda: torch.testing.assert_close(got, expected, equal_nan=True))


def jax_defaults(evidence: Evidence) -> bool:
    """The tolerances of JAX's own test suite."""
    tolerance = JAX_TOLERANCE.get(dtype_name(evidence.expected.dtype), 0.0)
    if tolerance == 0.0:
        return np.array_equal(evidence.got, evidence.expected)
    got, expected = components(evidence.got), components(evidence.expected)
    return np.allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def twice_naive(evidence: Evidence) -> bool:
    """At most twice the largest error of the plain loops, plus twice the error of adding 0.3 and subtracting it again.

    This is the criterion of the tests of FlashAttention.
    """
    if not DTYPES[dtype_name(evidence.expected.dtype)].inexact:
        return np.array_equal(evidence.got, evidence.expected)
    format = DTYPES[dtype_name(evidence.expected.dtype)].format
    assert format is not None
    got, expected, naive = map(components, (evidence.got, evidence.expected, evidence.naive))
    with np.errstate(all="ignore"):
        slack = 2 * _largest(_distance(round_to(round_to(expected + 0.3, format) - 0.3, format), expected))
        distance, naive_distance = (_largest(_distance(x, expected)) for x in (got, naive))
        return bool(distance <= 2 * naive_distance + slack)


POLICIES: Mapping[str, Callable[[Evidence], bool]] = {
    "numpy.testing": numpy_testing,
    "torch.testing": torch_testing,
    "jax": jax_defaults,
    "2 x naive": twice_naive,
}


def accepts(policy: Callable[[Evidence], bool], evidence: Evidence) -> bool:
    """Whether a policy accepts the result; none accepts another shape or dtype."""
    comparable = (evidence.got.shape, evidence.got.dtype) == (evidence.expected.shape, evidence.expected.dtype)
    return comparable and policy(evidence)


def _passes(assertion: Callable[[], None]) -> bool:
    try:
        assertion()
    except AssertionError:
        return False
    return True


def _as_signed(x: Array) -> Array:
    """Reinterpret unsigned integers as signed, which preserves equality: torch compares few unsigned types."""
    return np.array(x.view(x.dtype.str.replace("u", "i"))) if x.dtype.kind == "u" else np.array(x)


def _distance(x: Array, expected: Array) -> Array:
    """Absolute difference; infinite where only one of the two is a number."""
    same = (x == expected) | (np.isnan(x) & np.isnan(expected))
    return np.where(same, 0.0, np.nan_to_num(np.abs(x - expected), nan=np.inf, posinf=np.inf))


def _largest(distance: Array) -> float:
    return float(np.max(distance, initial=0.0))
