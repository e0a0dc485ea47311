"""Checks of gradients of einsum: cotangents, the checks of a case, and verdicts on wrong gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import DTYPES, Array
from specs.arithmetic.precision import Precision, declared_precision
from specs.bound import einsum_gradient
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.inputs import inputs
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, DeviationEntry
from specs.verdict.place import Place, iter_checks
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support.fake_backend import Plain

# Inputs and checks ----------------------------------------------------------------------------------------------------


def case(**fields: Any) -> Case:
    defaults = {"equation": "ij,jk->ik", "shapes": [[3, 8], [8, 5]]} | fields
    if "operands" in fields:
        del defaults["shapes"]
    return Case("einsum/t::c", "c", Path("t.yaml"), 3, EinsumConfig.model_validate(defaults))


def test_the_cotangent_has_the_outputs_shape_and_a_stream_of_its_own() -> None:
    cotangent = inputs.cotangent(case(), "bfloat16")
    assert (cotangent.shape, cotangent.dtype) == ((3, 5), DTYPES["bfloat16"].numpy)
    assert not cotangent.flags.writeable
    assert not np.array_equal(cotangent.ravel()[:5], inputs.operands(case(), "bfloat16")["operand_0"].ravel()[:5])
    assert inputs.cotangent(case(shapes=[[3, 8], [8, 5]], data="large"), "float64").std() < 3
    assert np.iscomplexobj(inputs.cotangent(case(), "complex64"))


def test_the_cotangent_of_integers_is_integers_so_that_gradients_are_exact() -> None:
    integers = case(data="integers")
    cotangent = inputs.cotangent(integers, "float32")
    assert np.array_equal(cotangent, np.rint(cotangent))
    operands = list(inputs.operands(integers, "float32").values())
    reference = einsum_gradient.reference(
        integers.config, DTYPES["float32"], operands, cotangent, 0, declared_precision(DTYPES["float32"]), random=False
    )
    assert reference.facts["form"] == "exact"


def names(of_case: Case, directions: Any = ("forward", "grad")) -> list[str]:
    place = Place("fake", "cpu", {"einsum": ("einsum",), "attention": ("einsum",)}, ("eager",), directions)
    return [check.name for check in iter_checks(of_case, [place])]


def test_there_are_checks_of_gradients_for_floats_where_the_backend_differentiates() -> None:
    several_dtypes = case(dtypes=["float32", "complex64", "int32", "bool"])
    assert names(several_dtypes) == [
        "c[fake-cpu-einsum-eager-float32]",
        "c[fake-cpu-einsum-eager-float32-grad]",
        "c[fake-cpu-einsum-eager-complex64]",
        "c[fake-cpu-einsum-eager-complex64-grad]",
        "c[fake-cpu-einsum-eager-int32]",
        "c[fake-cpu-einsum-eager-bool]",
    ]
    assert names(several_dtypes, ("forward",)) == [name for name in names(several_dtypes) if "grad" not in name]


def test_a_case_without_gradients_or_with_an_error_has_no_checks_of_gradients() -> None:
    assert names(case(dtypes=["float32"], gradient=False)) == ["c[fake-cpu-einsum-eager-float32]"]
    refused = case(dtypes=["float32"], shapes=[[3, 8], [7, 5]], expect={"error": "size_mismatch"})
    assert names(refused) == ["c[fake-cpu-einsum-eager-float32]"]


@pytest.mark.parametrize(
    ("fields", "checked"),
    [({}, True), ({"gradient": False}, False), ({"fully_masked": "nan"}, False), ({"masked_values": "spread"}, False)],
    ids=str,
)
def test_attention_has_gradients_unless_its_case_expects_nan(fields: dict[str, Any], checked: bool) -> None:
    config = AttentionConfig.model_validate({"q_len": 2, "head_dim": 4, "dtypes": ["float32"]} | fields)
    check_names = names(Case("a::c", "c", Path("t.yaml"), 1, config))
    assert check_names == ["c[fake-cpu-einsum-eager-float32]", "c[fake-cpu-einsum-eager-float32-grad]"][: 1 + checked]


# Verdicts -------------------------------------------------------------------------------------------------------------

GradientFunction = Callable[..., Mapping[str, Array]]


@dataclass
class Fake(Plain):
    """A backend whose gradients are a function of cotangent and operands."""

    gradients: GradientFunction | Exception
    formats: Mapping[str, str | bool] = field(default_factory=dict)

    def unsupported(self, check: Check) -> str | None:
        return None

    def precision(self, check: Check) -> Precision:
        return declared_precision(DTYPES[check.dtype], **self.formats)

    def run(self, *_: Any) -> Array:
        raise AssertionError("the result was not asked for")

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]:
        if isinstance(self.gradients, Exception):
            raise self.gradients
        return self.gradients(cotangent, *operands.values())


def right_gradients(c: Array, a: Array, b: Array) -> dict[str, Array]:
    wide = np.complex128 if c.dtype.kind == "c" else np.float64
    c, w, v = c.astype(wide), a.astype(wide), b.astype(wide)
    return {"operand_0": (c @ v.T).astype(a.dtype), "operand_1": (w.T @ c).astype(b.dtype)}


def altered(name: str, change: Callable[[Array], Array]) -> Fake:
    return Fake(lambda *arrays: right_gradients(*arrays) | {name: change(right_gradients(*arrays)[name])})


def judge_gradient(backend: Fake, of_case: Case | None = None, dtype: str = "float32", entries: Any = ()) -> Record:
    check = Check(of_case or case(), "fake", "cpu", "einsum", "eager", dtype, "grad")
    return judge(check, backend, "t.yaml::c[x-grad]", "t.yaml", entries)


def recorded(observed: dict[str, Any], **match: Any) -> DeviationEntry:
    fields = {
        "match": {"case": "*"} | match,
        "observed": observed,
        "grade": "bug",
        "reason": "It is known to be wrong.",
    }
    return DeviationEntry(Deviation.model_validate(fields), Path("x.yaml"), 1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_right_gradients_pass(dtype: str) -> None:
    # float64's own rounding in float64, which a matrix product of NumPy keeps to
    record = judge_gradient(Fake(right_gradients), dtype=dtype)
    assert (record.verdict, record.reason, record.direction) == ("pass", "", "grad")
    assert record.measurement.bound["gradient_of"] in ("operand_0", "operand_1")


def test_a_gradient_for_which_nothing_asked_fails() -> None:
    record = judge_gradient(Fake(lambda c, a, b: right_gradients(c, a, b) | {"operand_2": c.copy()}))
    assert (record.verdict, record.reason) == ("fail", "'operand_2' was returned, for which nothing asked")


def test_the_reason_names_the_operand_and_the_measurement_is_that_of_the_worst() -> None:
    record = judge_gradient(altered("operand_1", lambda g: np.where(np.arange(g.size).reshape(g.shape) < 3, 2 * g, g)))
    assert record.verdict == "fail"
    assert record.reason == "gradient of operand_1: 3 of 40 values are outside the error bound"
    assert record.measurement.bound["gradient_of"] == "operand_1"
    assert record.measurement.output_shape == (8, 5)


def test_a_missing_gradient_fails_and_is_not_taken_for_zero() -> None:
    zeros = case(operands=[[[0.0, 0.0]], [[0.0], [0.0]]], dtypes=["float32"])
    record = judge_gradient(Fake(lambda c, a, b: {"operand_0": right_gradients(c, a, b)["operand_0"]}), zeros)
    assert record.verdict == "fail"
    assert record.reason == "gradient of operand_1: missing: the framework sees no connection to the result"


def test_a_missing_gradient_can_be_recorded_where_nothing_else_is_wrong() -> None:
    entries = [recorded({"disconnected": True})]
    one = Fake(lambda *arrays: {"operand_0": right_gradients(*arrays)["operand_0"]})
    wrong = Fake(lambda *arrays: {"operand_0": right_gradients(*arrays)["operand_0"] * 2})
    assert judge_gradient(one, entries=entries).verdict == "deviation"
    assert judge_gradient(wrong, entries=entries).verdict == "fail"
    assert (
        judge_gradient(Fake(right_gradients), entries=entries).verdict == "fail"
    )  # it is connected, so the entry is stale


def test_a_digest_depends_on_every_operand() -> None:
    digests = {
        judge_gradient(fake).measurement.digest
        for fake in (
            Fake(right_gradients),
            altered("operand_0", lambda g: g * 2),
            altered("operand_1", lambda g: g * 2),
        )
    }
    assert len(digests) == 3


WRONG: dict[str, GradientFunction] = {
    "conjugated": lambda *arrays: {name: np.conj(g) for name, g in right_gradients(*arrays).items()},
    "operands conjugated": lambda c, a, b: right_gradients(c, np.conj(a), np.conj(b)),
    "cotangent conjugated": lambda c, a, b: right_gradients(np.conj(c), a, b),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_conjugation_is_caught(fault: str) -> None:
    assert judge_gradient(Fake(WRONG[fault]), dtype="complex64").verdict == "fail"


def test_swapped_gradients_are_caught() -> None:
    square = case(shapes=[[4, 4], [4, 4]])

    def swapped(c: Array, a: Array, b: Array) -> dict[str, Array]:
        gradients = right_gradients(c, a, b)
        return {"operand_0": gradients["operand_1"], "operand_1": gradients["operand_0"]}

    assert judge_gradient(Fake(right_gradients), square).verdict == "pass"
    record = judge_gradient(Fake(swapped), square)
    assert record.verdict == "fail"
    assert "gradient of operand_0" in record.reason
    assert "gradient of operand_1" in record.reason


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_forgotten_sum_over_a_broadcast_axis_is_caught(keepdims: bool) -> None:
    broadcast = case(equation="ij,ij->ij", shapes=[[1, 4], [3, 4]])

    def summed(c: Array, a: Array, b: Array) -> dict[str, Array]:
        return {"operand_0": (c * b).sum(axis=0, keepdims=True), "operand_1": c * a}

    def forgotten(c: Array, a: Array, b: Array) -> dict[str, Array]:
        return {"operand_0": (c * b)[:1] if keepdims else c * b, "operand_1": c * a}

    assert judge_gradient(Fake(summed), broadcast).verdict == "pass"
    record = judge_gradient(Fake(forgotten), broadcast)
    assert record.verdict == "fail"
    assert record.reason.startswith("gradient of operand_0: ")
    assert "operand_1" not in record.reason


def test_deviations_apply_to_the_direction_that_they_name() -> None:
    nan = altered("operand_0", lambda g: np.full_like(g, np.nan))
    assert judge_gradient(nan, entries=[recorded({"value": "nan"}, direction="grad")]).verdict == "deviation"
    assert judge_gradient(nan, entries=[recorded({"value": "zeros"}, direction="grad")]).verdict == "fail"
    assert judge_gradient(nan, entries=[recorded({"value": "nan"}, direction="forward")]).verdict == "fail"
    stale = judge_gradient(Fake(right_gradients), entries=[recorded({"value": "nan"})])
    assert stale.verdict == "fail"
    assert stale.reason.startswith("stale: ")


def test_a_recorded_precision_must_explain_every_wrong_gradient() -> None:
    def halved(g: Array) -> Array:
        return g.astype(np.float16).astype(g.dtype)

    entries = [recorded({"precision": {"accumulate": "float16"}})]
    assert judge_gradient(altered("operand_0", halved), entries=entries).verdict == "deviation"
    both = Fake(
        lambda *arrays: {
            "operand_0": halved(right_gradients(*arrays)["operand_0"]),
            "operand_1": -arrays[1].T @ arrays[0],
        }
    )
    assert judge_gradient(both, entries=entries).verdict == "fail"


def test_a_recorded_error_is_a_deviation_and_any_other_is_not() -> None:
    refuses = Fake(NotImplementedError("no gradient of einsum"))
    assert judge_gradient(refuses).reason == "raised NotImplementedError: no gradient of einsum"
    assert judge_gradient(refuses, entries=[recorded({"error": "no gradient"})]).verdict == "deviation"
    assert judge_gradient(refuses, entries=[recorded({"error": "out of luck"})]).verdict == "fail"


def test_a_case_that_contradicts_itself_raises() -> None:
    with pytest.raises(CaseError):
        judge_gradient(Fake(right_gradients), case(shapes=[[3, 8], [7, 5]]))
