"""What a call does besides returning a result, and what else its result depends on, is found and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import Array
from specs.inputs import memory
from specs.reference import cache
from specs.verdict import execution
from specs.verdict.check import Check
from tests.support.fake_backend import Fake, make_entry
from tests.support.small_product import RIGHT, judge_product, make_config, product

pytestmark = pytest.mark.usefixtures("nothing_in_memory")

KEPT = "a call on other operands returns the result of the first"


def doubling(a: Array, b: Array) -> Array:
    a *= 2
    b *= 2
    return product(a, b)


def changing_afterwards(a: Array, b: Array) -> Array:
    result = product(a, b)
    b[-1, -1] = np.nan
    return result


def one_buffer() -> Callable[..., Array]:
    buffer = np.empty((3, 3), np.float32)

    def compute(a: Array, b: Array) -> Array:
        buffer[...] = product(a, b)
        return buffer

    return compute


def by_number_of_call() -> Callable[..., Array]:
    calls = count()
    return lambda a, b: np.nextafter(product(a, b), np.float32(np.inf if next(calls) % 2 else -np.inf))


def not_all_written(a: Array, b: Array) -> Array:
    result = np.empty((3, 3), np.float32)
    result[:2] = product(a, b)[:2]
    return result


def raising_later(calls_before: int) -> Callable[..., Array]:
    calls = count()

    def compute(a: Array, b: Array) -> Array:
        if next(calls) >= calls_before:
            raise RuntimeError("handle is closed")
        return product(a, b)

    return compute


def right_until(last: int) -> Callable[..., Array]:
    calls = count(1)
    return lambda a, b: product(a, b) if next(calls) <= last else product(a, b) * np.float32(1.5)


def kept_by(key: Callable[[Array], object]) -> Callable[..., Array]:
    kept: dict[object, Array] = {}
    return lambda a, b: kept.setdefault((key(a), key(b)), product(a, b)).copy()


@pytest.fixture
def all_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CHEAP_SECONDS", 1.0)


@pytest.mark.usefixtures("all_are_cheap")
@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (doubling, "operand_0 was changed in place; operand_1 was changed in place"),
        (changing_afterwards, "operand_1 was changed in place"),
        (one_buffer(), "a later call returns its result in the memory of an earlier one"),
        (by_number_of_call(), "not the same bits twice: 9 of 9 values differ"),
        (right_until(2), "not the same bits twice: 9 of 9 values differ"),
        (right_until(3), "not the same bits twice: 9 of 9 values differ"),
        (raising_later(1), "a further call on equal operands raised RuntimeError: handle is closed"),
        (
            raising_later(2),
            "a further call on other operands raised RuntimeError: handle is closed; "
            "a further call on equal operands raised RuntimeError: handle is closed",
        ),
        (kept_by(lambda x: x.shape), KEPT),
        (kept_by(lambda x: x.ctypes.data), KEPT),
        (kept_by(lambda x: x.flat[0]), KEPT),
        (kept_by(lambda x: (x.flat[0], x.flat[-1])), KEPT),
        (kept_by(lambda x: x.sum(dtype=np.float64).round(6)), KEPT),
    ],
    ids=[
        *("doubling", "changing afterwards", "one buffer", "number of call", "twice right", "three times right"),
        *("raising the second time", "raising the third time"),
        *("kept by shape", "kept by address", "kept by first element", "kept by first and last", "kept by sum"),
    ],
)
def test_a_call_that_does_more_than_return_its_result_fails(compute: Callable[..., Array], reason: str) -> None:
    record = judge_product(Fake(compute))
    assert record.verdict == "fail"
    assert record.reason.endswith(reason)


@pytest.mark.usefixtures("all_are_cheap")
@pytest.mark.parametrize(
    ("fields", "compute"),
    [
        ({"equation": "ij->", "shapes": [[3, 3]], "data": "integers"}, lambda a: a.sum(dtype=a.dtype)),
        ({"shapes": None, "operands": [[[0, 0], [0, 1]], [[0, 0], [0, 1]]]}, product),
        ({"shapes": None, "operands": [[[2.0]], [[3.0]]], "expect": {"value": [[6.0]]}}, product),
        ({"shapes": [[3, 0], [0, 3]]}, product),
    ],
    ids=["a sum", "zeros", "scalars", "nothing"],
)
def test_a_result_may_stay_where_other_values_give_the_same(
    fields: dict[str, Any], compute: Callable[..., Array]
) -> None:
    record = judge_product(Fake(compute), make_config(**fields))
    assert (record.verdict, record.reason) == ("pass", "")


def test_memory_that_was_not_written_is_seen() -> None:
    record = judge_product(Fake(not_all_written))
    assert record.verdict == "fail"
    assert "NaN" in record.reason or "not the same bits twice" in record.reason


def test_a_doubled_operand_reaches_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference that is kept on disk is that of the operands as they were."""
    monkeypatch.setattr(cache, "EXPENSIVE_SECONDS", -1.0)
    record = judge_product(Fake(doubling), work=tmp_path)
    assert "9 of 9 values are outside the error bound" in record.reason
    assert list(tmp_path.iterdir())
    cache.clear()
    assert judge_product(RIGHT, work=tmp_path).verdict == "pass"


def test_an_operand_that_is_changed_by_a_refusal_is_no_refusal() -> None:
    def refuse(a: Array, b: Array) -> Array:
        a[0] = 0
        raise ValueError("sizes differ")

    record = judge_product(Fake(refuse), make_config(shapes=[[3, 8], [7, 3]], expect={"error": "size_mismatch"}))
    assert (record.verdict, record.reason) == (
        "fail",
        "operand_0 was changed in place, and then raised ValueError: sizes differ",
    )


def test_a_recorded_difference_excuses_no_side_effect() -> None:
    def zeros(a: Array, b: Array) -> Array:
        a[0] = 0
        return np.zeros((3, 3), np.float32)

    record = judge_product(Fake(zeros), entries=[make_entry({"value": "zeros"})])
    assert (record.verdict, record.reason, record.deviation) == ("fail", "operand_0 was changed in place", None)
    entries = [make_entry({"error": True})]
    assert judge_product(Fake(changing_afterwards), entries=entries).verdict == "fail"


# Declared -------------------------------------------------------------------------------------------------------------

TRANSPOSED = make_config(equation="ij->ji", shapes=[[3, 8]])


class View(Fake):
    def returns_view(self, check: Check) -> bool:
        return True


class Varying(Fake):
    def varies(self, check: Check) -> str | None:
        return "threads add to the result in the order in which they end"


def test_a_view_of_an_operand_fails_where_it_is_not_declared() -> None:
    record = judge_product(Fake(lambda a: a.T), TRANSPOSED)
    assert record.verdict == "fail"
    assert record.reason == (
        "the result is a view of operand_0, which the backend does not declare: it changes when operand_0 does"
    )
    assert judge_product(View(lambda a: a.T), TRANSPOSED).verdict == "pass"
    assert judge_product(Fake(lambda a: a.T.copy()), TRANSPOSED).verdict == "pass"


def test_a_result_may_vary_where_that_is_declared_and_the_record_says_that_it_did() -> None:
    record = judge_product(Varying(by_number_of_call()))
    assert (record.verdict, record.reason, record.repeatable) == ("pass", "", False)
    assert judge_product(RIGHT).repeatable is True


def test_bits_of_nan_do_not_count() -> None:
    config = make_config(shapes=None, operands=[[[float("nan")]], [[1.0]]])
    signs = count()
    record = judge_product(Fake(lambda a, b: np.copysign(a * b, (-1) ** next(signs))), config)
    assert (record.verdict, record.repeatable) == ("pass", True)


# Copies ---------------------------------------------------------------------------------------------------------------

GRID = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
LAYOUTS: Mapping[str, Array] = {
    "contiguous": GRID,
    "transposed": GRID.T,
    "strided": GRID[..., ::2],
    "reversed": GRID[:, ::-1],
    "broadcast": np.broadcast_to(GRID[0, 0], (5, 4)),
    "scalar": np.float32(3) + np.zeros((), np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "unaligned": memory.unaligned(GRID),
}


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_copy_lies_in_memory_of_its_own_as_the_array_does(array: Array) -> None:
    own = memory.copy(np.asarray(array))
    np.testing.assert_array_equal(own, array, strict=True)
    assert own.strides == np.asarray(array).strides
    assert own.flags.writeable
    assert not np.shares_memory(own, array)
    assert (own.ctypes.data - np.asarray(array).ctypes.data) % 64 == 0
    assert own.base is not None
    assert own.base.dtype == np.uint8
