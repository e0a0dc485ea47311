"""From a check to its record, with backends that are a function."""

import json
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, TF32, Array, Format, round_to
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.error import CaseError
from tests.support.fake_backend import Fake, make_entry
from tests.support.small_product import RIGHT, judge_product, make_config, product

pytestmark = pytest.mark.usefixtures("nothing_in_memory")


def through_float16(a: Array, b: Array) -> Array:
    return product(a.astype(np.float16).astype(a.dtype), b.astype(np.float16).astype(b.dtype))


DOUBLED = Fake(lambda a, b: product(a, b) * 2)
NAN = Fake(lambda a, b: np.full_like(product(a, b), np.nan))
REFUSED = make_config(shapes=[[3, 8], [7, 3]], expect={"error": "size_mismatch"})


def test_a_right_result_passes_and_the_record_names_the_check() -> None:
    record = judge_product(RIGHT)
    assert (record.verdict, record.reason) == ("pass", "")
    assert 0 <= record.measurement.error_ratio <= 1
    assert record.id == "t.yaml::c[x]"
    assert (record.file, record.line, record.case, record.kind) == ("t.yaml", 3, "einsum/t::c", "einsum")
    assert (record.backend, record.device, record.dtype, record.direction) == ("fake", "cpu", "float32", "forward")
    assert record.seconds > 0


def test_a_wrong_result_fails_with_its_ratio() -> None:
    record = judge_product(DOUBLED)
    assert record.verdict == "fail"
    assert record.measurement.error_ratio > 1
    assert "outside the error bound" in record.reason


def test_a_pass_beyond_the_bound_is_refused_whatever_called_it_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "any", lambda *arguments, **named: np.False_)  # as an adapter can, in the same process
    with pytest.raises(ValueError, match=r"a check cannot pass with an error of .* times its bound"):
        judge_product(DOUBLED)


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64", "bfloat16", "float64"])
def test_every_kind_of_dtype_can_pass_and_fail(dtype: str) -> None:
    outer = Fake(lambda a, b: a[:, 0, None] * b[0] if a.dtype != bool else a[:, :1] & b[:1])
    single = make_config(shapes=[[3, 1], [1, 3]])
    assert judge_product(outer, single, dtype).verdict == "pass"
    zeros = Fake(lambda a, b: np.full((3, 3), dtype == "bool").astype(a.dtype))
    assert judge_product(zeros, single, dtype).verdict == "fail"


def test_the_declared_precision_decides() -> None:
    assert judge_product(Fake(through_float16)).verdict == "fail"
    assert judge_product(Fake(through_float16, formats={"multiply": "float16"})).verdict == "pass"


@pytest.mark.parametrize(
    "error", [ValueError("no"), TypeError(), RuntimeError("x" * 5000)], ids=lambda e: type(e).__name__
)
def test_an_exception_fails_with_a_reason_of_one_short_line(error: Exception) -> None:
    record = judge_product(Fake(error))
    assert record.verdict == "fail"
    assert record.reason.startswith(f"raised {type(error).__name__}")
    assert len(record.reason) < 600
    assert "\n" not in judge_product(Fake(ValueError("a\nb"))).reason


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried"), RuntimeError("RESOURCE_EXHAUSTED: OOM when")],
    ids=str,
)
@pytest.mark.parametrize("case_config", [None, REFUSED], ids=["valid", "to be refused"])
def test_out_of_memory_is_an_error_of_the_check_and_never_a_refusal(
    error: Exception, case_config: Config | None
) -> None:
    record = judge_product(Fake(error), case_config, entries=[make_entry({"error": True})])
    assert record.verdict == "error"
    assert record.reason.startswith("out of memory")


def test_an_unsupported_check_is_not_run() -> None:
    record = judge_product(Fake(AssertionError("was run"), missing="no such thing"))
    assert (record.verdict, record.reason) == ("unsupported", "no such thing")


def test_an_invalid_case_passes_when_it_is_refused_and_fails_when_it_is_computed() -> None:
    assert judge_product(Fake(ValueError("sizes differ")), REFUSED).verdict == "pass"
    assert judge_product(Fake(ValueError("sizes differ")), REFUSED).reason == "refused: ValueError: sizes differ"
    accepted = judge_product(Fake(lambda a, b: np.zeros((3, 3))), REFUSED)
    assert accepted.verdict == "fail"
    assert "size_mismatch" in accepted.reason


def test_a_case_that_contradicts_itself_raises() -> None:
    with pytest.raises(CaseError):
        judge_product(RIGHT, make_config(shapes=[[3, 8], [7, 3]]))


def test_a_literal_expectation_must_be_what_the_formula_gives() -> None:
    literal = {"equation": "i,i->", "shapes": None, "operands": [[1, 2], [3, 4]]}
    dot = Fake(lambda a, b: np.sum(a * b, dtype=a.dtype))
    assert judge_product(dot, make_config(**literal, expect={"value": 11}), "int32").verdict == "pass"
    assert judge_product(dot, make_config(**literal, expect={"value": 11.0}), "float32").verdict == "pass"
    for wrong in (12, [11]):
        with pytest.raises(CaseError):
            judge_product(dot, make_config(**literal, expect={"value": wrong}), "int32")


# Deviations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "observed", "case_config"),
    [
        (Fake(ValueError("no such thing")), {"error": True}, None),
        (Fake(ValueError("no such thing")), {"error": "no such"}, None),
        (Fake(lambda a, b: np.zeros((3, 3))), {"accepts": True}, REFUSED),
        (Fake(lambda a, b: through_float16(a, b).astype(np.float16)), {"dtype": "float16"}, None),
        (NAN, {"value": "nan"}, None),
        (Fake(lambda a, b: product(a, b) * 0), {"value": "zeros"}, None),
        (Fake(through_float16), {"precision": {"multiply": "float16"}}, None),
    ],
    ids=["error", "text", "accepts", "dtype", "nan", "zeros", "precision"],
)  # fmt: skip
def test_a_recorded_difference_that_is_observed_is_a_deviation(backend: Fake, observed: dict, case_config: Any) -> None:
    assert judge_product(backend, case_config).verdict == "fail"
    record = judge_product(backend, case_config, entries=[make_entry(observed, 9)])
    assert (record.verdict, record.reason) == ("deviation", "It is known to be wrong.")
    assert record.deviation["observed"] == observed
    assert (record.deviation["place"], record.deviation["grade"]) == ("x.yaml:9", "bug")


@pytest.mark.parametrize("field", ["fully_masked", "causal"])
def test_another_reading_of_attention_can_be_recorded(field: str) -> None:
    masked = {"mask": {"type": "bool", "pattern": "masked_row"}}
    shape = {"q_len": 2, "kv_len": 2, "head_dim": 1, "query": [[[[0.0]], [[0.0]]]], "key": [[[[0.0]], [[0.0]]]]}
    attention = AttentionConfig.model_validate(shape | (masked if field == "fully_masked" else {"causal": "top_left"}))
    mean = Fake(lambda q, k, v, *mask: np.broadcast_to(v.mean(axis=1, keepdims=True, dtype=v.dtype), v.shape))
    other = {"fully_masked": "mean", "causal": "none"}[field]
    if field == "fully_masked":
        attention = attention.model_copy(update={"mask": attention.mask.model_copy(update={"shape": "1k"})})
    assert judge_product(mean, attention).verdict == "fail"
    assert judge_product(mean, attention, entries=[make_entry({field: other})]).verdict == "deviation"


def test_a_recorded_difference_that_is_gone_is_stale_and_fails() -> None:
    record = judge_product(RIGHT, entries=[make_entry({"value": "nan"}, 4)])
    assert record.verdict == "fail"
    assert record.reason.startswith("stale: x.yaml:4 records `value: nan`")
    assert record.deviation is None
    assert judge_product(Fake(ValueError()), REFUSED, entries=[make_entry({"accepts": True})]).verdict == "fail"


def test_a_recorded_lower_precision_may_be_right_by_luck() -> None:
    assert judge_product(RIGHT, entries=[make_entry({"precision": {"multiply": "float16"}})]).verdict == "pass"
    entries = [make_entry({"precision": {"multiply": "float16"}}), make_entry({"value": "nan"})]
    assert judge_product(RIGHT, entries=entries).verdict == "fail"


def test_a_difference_other_than_the_recorded_one_fails_and_names_both() -> None:
    record = judge_product(DOUBLED, entries=[make_entry({"value": "nan"}, 4)])
    assert record.verdict == "fail"
    assert "outside the error bound" in record.reason
    assert "recorded is `value: nan` (x.yaml:4)" in record.reason


def test_one_of_several_entries_is_enough() -> None:
    record = judge_product(NAN, entries=[make_entry({"error": True}, 1), make_entry({"value": "nan"}, 2)])
    assert (record.verdict, record.deviation["place"]) == ("deviation", "x.yaml:2")


@pytest.mark.parametrize("fields", [{"versions": {"numpy": "<1"}}, {"match": {"case": "other"}}], ids=str)
def test_an_entry_for_other_checks_or_versions_does_not_count(fields: dict[str, Any]) -> None:
    entry = make_entry({"value": "nan"}, **fields)
    assert judge_product(NAN, entries=[entry]).verdict == "fail"
    assert judge_product(RIGHT, entries=[entry]).verdict == "pass"


# What a loss of precision looks like ------------------------------------------------------------------------------


def lossy(format: Format) -> Fake:
    return Fake(lambda *operands: product(*(round_to(x, format).astype(x.dtype) for x in operands)))


@pytest.mark.parametrize(("format", "expected"), [(TF32, "TF32"), (BFLOAT16, "bfloat16")], ids=str)
def test_a_failure_that_rounded_operands_explain_names_their_format(format: Format, expected: str) -> None:
    record = judge_product(lossy(format))
    assert record.verdict == "fail"
    assert record.reason.endswith(f"consistent with operands rounded to {expected}")


def test_a_failure_that_no_loss_of_precision_explains_blames_none() -> None:
    assert "consistent with" not in judge_product(DOUBLED).reason


# Records ------------------------------------------------------------------------------------------------------------


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(k) is str and plain(v) for k, v in value.items())
    if type(value) is list:
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "complex64", "int32", "bool"])
@pytest.mark.parametrize(
    "backend",
    [
        RIGHT,
        NAN,
        Fake(ValueError("no")),
        Fake(lambda a, b: np.zeros(3)),
        Fake(lambda a, b: a[:, :3]),
        Fake(product, "no"),
    ],
    ids=["right", "nan", "raises", "shape", "wrong", "unsupported"],
)
def test_a_record_is_plain_json(backend: Fake, dtype: str) -> None:
    if backend is NAN and dtype in ("int32", "bool"):
        backend = Fake(lambda a, b: np.zeros((3, 3), a.dtype))
    for entries in ([], [make_entry({"value": "nan"})]):
        fields = judge_product(backend, dtype=dtype, entries=entries).as_json()
        assert plain(fields), fields
        assert json.loads(json.dumps(fields, allow_nan=False)) == fields


def test_values_that_json_lacks_become_text() -> None:
    off = make_config(equation="i->i", shapes=[[3]])
    fields = judge_product(Fake(lambda a: a * 2), off).as_json()
    assert fields["error_ratio"] == "inf"
    assert fields["worst"]["index"] in ([0], [1], [2])
