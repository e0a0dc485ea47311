"""Observed arithmetic is compared with what a backend declares: only coarser arithmetic fails."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, FLOAT32, Array
from specs.arithmetic.precision import declared_precision
from specs.verdict.deviation import Deviation, DeviationEntry
from tests.support.probes import SUBNORMALS, Arithmetic, probe

pytestmark = pytest.mark.usefixtures("nothing_in_memory")

# Formats --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "real"),
    [
        ("factors_of_matrices", "float32", {"multiply": "tf32"}),
        ("factors_of_dot_products", "float32", {"multiply": "bfloat16"}),
        ("sums_of_matrices", "float16", {"accumulate": "float16"}),
        ("sums_of_dot_products", "bfloat16", {"accumulate": "bfloat16"}),
        ("sums", "float64", {"accumulate": "float32", "intermediate": "float32"}),
    ],
)
def test_arithmetic_coarser_than_declared_fails_and_as_declared_passes(
    name: str, dtype: str, real: dict[str, str | bool]
) -> None:
    lower, format = next(iter(real.items()))
    declared_name = getattr(declared_precision(DTYPES[dtype]), lower).name
    record = probe(name, dtype, Arithmetic(real))
    assert record.verdict == "fail"
    assert f"{lower} is {format}, declared {declared_name}" in record.reason
    assert probe(name, dtype, Arithmetic(real, formats=real)).verdict == "pass"
    finer = probe(name, dtype, Arithmetic(formats=real))
    assert finer.verdict == "pass"
    assert (finer.observed or {})[lower] == declared_name


def test_a_recorded_deviation_covers_its_precision_and_nothing_coarser() -> None:
    def recorded(format: str) -> DeviationEntry:
        fields: dict[str, Any] = {"match": {"case": "*"}, "observed": {"precision": {"accumulate": format}}}
        return DeviationEntry(
            Deviation.model_validate(fields | {"grade": "bug", "reason": "It is known."}), Path("x.yaml"), 1
        )

    narrow = Arithmetic({"accumulate": "bfloat16"})
    assert probe("sums_of_matrices", "bfloat16", narrow, [recorded("bfloat16")]).verdict == "deviation"
    assert probe("sums_of_matrices", "bfloat16", narrow, [recorded("float16")]).verdict == "fail"


# Subnormals -----------------------------------------------------------------------------------------------------------


def flushing(inputs_too: bool, results_too: bool) -> Callable[..., Array]:
    def normal(x: Array) -> Array:
        return np.where(np.abs(x) < FLOAT32.tiny, 0.0, x)

    def compute(*operands: Array) -> Array:
        wide_operands = [normal(x.astype(np.float64)) if inputs_too else x.astype(np.float64) for x in operands]
        if len(wide_operands) == 1:
            result = wide_operands[0].sum(1)
        else:
            result = np.einsum("bi,bi->b" if operands[0].shape == operands[1].shape else "ij,jk->ik", *wide_operands)
        return (normal(result) if results_too else result).astype(np.float32)

    return compute


@pytest.mark.parametrize("name", SUBNORMALS)
@pytest.mark.parametrize("flushed", [(True, False), (False, True), (True, True)], ids=["inputs", "results", "both"])
def test_flushed_subnormals_are_observed_and_fail_unless_declared(name: str, flushed: tuple[bool, bool]) -> None:
    record = probe(name, "float32", Arithmetic(compute=flushing(False, False)))
    assert (record.verdict, record.observed) == ("pass", {"subnormals": "kept"})
    flushed_record = probe(name, "float32", Arithmetic(compute=flushing(*flushed)))
    assert (flushed_record.verdict, flushed_record.observed) == ("fail", {"subnormals": "flushed"})
    assert "subnormals is flushed, declared kept" in flushed_record.reason
    assert probe(name, "float32", Arithmetic(formats={"flushes": True}, compute=flushing(*flushed))).verdict == "pass"


# Repeatable -----------------------------------------------------------------------------------------------------------


def product_in_order(order: Callable[[int, Array], Array]) -> Callable[..., Array]:
    calls = count()

    def compute(a: Array, b: Array) -> Array:
        terms = order(next(calls), a)
        total = np.zeros(a.shape[:1] + b.shape[1:], np.float32)
        for k in terms:
            total += a[:, k, None] * b[None, k]
        return total

    return compute


def test_an_order_that_changes_between_runs_is_observed_and_fails() -> None:
    changing = product_in_order(lambda call, a: np.random.default_rng(call).permutation(a.shape[1]))
    record = probe("bits_of_matrices", "float32", Arithmetic(compute=changing))
    assert (record.verdict, record.repeatable) == ("fail", False)
    assert record.observed == {"repeatable": "not bit for bit"}


def test_a_dependence_on_alignment_is_observed_and_passes() -> None:
    ahead = product_in_order(lambda call, a: np.roll(np.arange(a.shape[1]), a.ctypes.data % 16 // 4))
    record = probe("bits_of_matrices", "float32", Arithmetic(compute=ahead))
    assert (record.verdict, record.repeatable) == ("pass", True)
    assert record.observed == {"repeatable": "where memory is aligned alike"}


def test_the_same_order_is_repeatable() -> None:
    record = probe("bits_of_matrices", "float32", Arithmetic(compute=product_in_order(lambda _, a: range(a.shape[1]))))
    assert (record.verdict, record.repeatable, record.observed) == ("pass", True, {"repeatable": "bit for bit"})
