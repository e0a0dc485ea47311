"""Gradients of einsum in checks: cotangents, which checks there are, and verdicts on wrong gradients."""

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
from specs.verdict.deviation import Deviation, Recorded
from specs.verdict.place import Place, checks
from specs.verdict.record import Record
from specs.verdict.verdict import judge

# Inputs and checks ----------------------------------------------------------------------------------------------------


def case(**fields: Any) -> Case:
    said = {"equation": "ij,jk->ik", "shapes": [[3, 8], [8, 5]]} | fields
    if "operands" in fields:
        del said["shapes"]
    return Case("einsum/t::c", "c", Path("t.yaml"), 3, EinsumConfig.model_validate(said))


def test_the_cotangent_has_the_outputs_shape_and_a_stream_of_its_own() -> None:
    made = inputs.cotangent(case(), "bfloat16")
    assert (made.shape, made.dtype) == ((3, 5), DTYPES["bfloat16"].numpy)
    assert not made.flags.writeable
    assert not np.array_equal(made.ravel()[:5], inputs.operands(case(), "bfloat16")["operand_0"].ravel()[:5])
    assert inputs.cotangent(case(shapes=[[3, 8], [8, 5]], data="large"), "float64").std() < 3
    assert np.iscomplexobj(inputs.cotangent(case(), "complex64"))


def test_the_cotangent_of_integers_is_integers_so_that_gradients_are_exact() -> None:
    said = case(data="integers")
    made = inputs.cotangent(said, "float32")
    assert np.array_equal(made, np.rint(made))
    operands = list(inputs.operands(said, "float32").values())
    found = einsum_gradient.reference(
        said.config, DTYPES["float32"], operands, made, 0, declared_precision(DTYPES["float32"]), random=False
    )
    assert found.facts["form"] == "exact"


def names(said: Case, directions: Any = ("forward", "grad")) -> list[str]:
    place = Place("fake", "cpu", {"einsum": ("einsum",), "attention": ("einsum",)}, ("eager",), directions)
    return [check.name for check in checks(said, [place])]


def test_checks_of_gradients_are_made_for_floats_where_the_backend_differentiates() -> None:
    said = case(dtypes=["float32", "complex64", "int32", "bool"])
    assert names(said) == [
        "c[fake-cpu-einsum-eager-float32]",
        "c[fake-cpu-einsum-eager-float32-grad]",
        "c[fake-cpu-einsum-eager-complex64]",
        "c[fake-cpu-einsum-eager-complex64-grad]",
        "c[fake-cpu-einsum-eager-int32]",
        "c[fake-cpu-einsum-eager-bool]",
    ]
    assert names(said, ("forward",)) == [name for name in names(said) if "grad" not in name]


def test_no_gradients_where_the_case_says_so_or_must_be_refused() -> None:
    assert names(case(dtypes=["float32"], gradient=False)) == ["c[fake-cpu-einsum-eager-float32]"]
    refused = case(dtypes=["float32"], shapes=[[3, 8], [7, 5]], expect={"error": "size_mismatch"})
    assert names(refused) == ["c[fake-cpu-einsum-eager-float32]"]


@pytest.mark.parametrize(
    ("fields", "checked"),
    [({}, True), ({"gradient": False}, False), ({"fully_masked": "nan"}, False), ({"masked_values": "spread"}, False)],
    ids=str,
)
def test_attention_has_gradients_unless_it_holds_nan_to_be_right(fields: dict[str, Any], checked: bool) -> None:
    config = AttentionConfig.model_validate({"q_len": 2, "head_dim": 4, "dtypes": ["float32"]} | fields)
    found = names(Case("a::c", "c", Path("t.yaml"), 1, config))
    assert found == ["c[fake-cpu-einsum-eager-float32]", "c[fake-cpu-einsum-eager-float32-grad]"][: 1 + checked]


# Verdicts -------------------------------------------------------------------------------------------------------------

Pulled = Callable[..., Mapping[str, Array]]


@dataclass
class Fake:
    """A backend whose gradients are a function of cotangent and operands."""

    pulled: Pulled | Exception
    formats: Mapping[str, str | bool] = field(default_factory=dict)

    def unsupported(self, check: Check) -> str | None:
        return None

    def precision(self, check: Check) -> Precision:
        return declared_precision(DTYPES[check.dtype], **self.formats)

    def run(self, *_: Any) -> Array:
        raise AssertionError("the result was not asked for")

    def gradient(self, check: Check, operands: Mapping[str, Array], cotangent: Array) -> Mapping[str, Array]:
        if isinstance(self.pulled, Exception):
            raise self.pulled
        return self.pulled(cotangent, *operands.values())


def right(c: Array, a: Array, b: Array) -> dict[str, Array]:
    wide = np.complex128 if c.dtype.kind == "c" else np.float64
    c, w, v = c.astype(wide), a.astype(wide), b.astype(wide)
    return {"operand_0": (c @ v.T).astype(a.dtype), "operand_1": (w.T @ c).astype(b.dtype)}


def altered(name: str, change: Callable[[Array], Array]) -> Fake:
    return Fake(lambda *arrays: right(*arrays) | {name: change(right(*arrays)[name])})


def verdict(backend: Fake, said: Case | None = None, dtype: str = "float32", entries: Any = ()) -> Record:
    check = Check(said or case(), "fake", "cpu", "einsum", "eager", dtype, "grad")
    return judge(check, backend, "t.yaml::c[x-grad]", "t.yaml", entries)


def recorded(observed: dict[str, Any], **match: Any) -> Recorded:
    said = {"match": {"case": "*"} | match, "observed": observed, "grade": "bug", "reason": "It is known to be wrong."}
    return Recorded(Deviation.model_validate(said), Path("x.yaml"), 1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_right_gradients_pass(dtype: str) -> None:
    # float64's own rounding in float64, which a matrix product of NumPy keeps to
    record = verdict(Fake(right), dtype=dtype)
    assert (record.verdict, record.reason, record.direction) == ("pass", "", "grad")
    assert record.measurement.bound["gradient_of"] in ("operand_0", "operand_1")


def test_the_reason_names_the_operand_and_the_measurement_is_that_of_the_worst() -> None:
    record = verdict(altered("operand_1", lambda g: np.where(np.arange(g.size).reshape(g.shape) < 3, 2 * g, g)))
    assert record.verdict == "fail"
    assert record.reason == "gradient of operand_1: 3 of 40 values are outside the error bound"
    assert record.measurement.bound["gradient_of"] == "operand_1"
    assert record.measurement.output_shape == (8, 5)


def test_a_missing_gradient_is_told_and_not_taken_for_zero() -> None:
    zeros = case(operands=[[[0.0, 0.0]], [[0.0], [0.0]]], dtypes=["float32"])
    record = verdict(Fake(lambda c, a, b: {"operand_0": right(c, a, b)["operand_0"]}), zeros)
    assert record.verdict == "fail"
    assert record.reason == "gradient of operand_1: missing: the framework sees no connection to the result"


def test_a_missing_gradient_can_be_recorded_where_nothing_else_is_wrong() -> None:
    said = [recorded({"disconnected": True})]
    one = Fake(lambda *arrays: {"operand_0": right(*arrays)["operand_0"]})
    wrong = Fake(lambda *arrays: {"operand_0": right(*arrays)["operand_0"] * 2})
    assert verdict(one, entries=said).verdict == "deviation"
    assert verdict(wrong, entries=said).verdict == "fail"
    assert verdict(Fake(right), entries=said).verdict == "fail"  # it is connected, so the entry is stale


def test_a_digest_tells_of_every_operand() -> None:
    digests = {
        verdict(fake).measurement.digest
        for fake in (Fake(right), altered("operand_0", lambda g: g * 2), altered("operand_1", lambda g: g * 2))
    }
    assert len(digests) == 3


WRONG: dict[str, Pulled] = {
    "conjugated": lambda *arrays: {name: np.conj(g) for name, g in right(*arrays).items()},
    "operands conjugated": lambda c, a, b: right(c, np.conj(a), np.conj(b)),
    "cotangent conjugated": lambda c, a, b: right(np.conj(c), a, b),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_conjugation_is_caught(fault: str) -> None:
    assert verdict(Fake(WRONG[fault]), dtype="complex64").verdict == "fail"


def test_swapped_gradients_are_caught() -> None:
    square = case(shapes=[[4, 4], [4, 4]])

    def swapped(c: Array, a: Array, b: Array) -> dict[str, Array]:
        found = right(c, a, b)
        return {"operand_0": found["operand_1"], "operand_1": found["operand_0"]}

    assert verdict(Fake(right), square).verdict == "pass"
    record = verdict(Fake(swapped), square)
    assert record.verdict == "fail"
    assert "gradient of operand_0" in record.reason
    assert "gradient of operand_1" in record.reason


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_forgotten_sum_over_a_broadcast_axis_is_caught(keepdims: bool) -> None:
    said = case(equation="ij,ij->ij", shapes=[[1, 4], [3, 4]])

    def summed(c: Array, a: Array, b: Array) -> dict[str, Array]:
        return {"operand_0": (c * b).sum(axis=0, keepdims=True), "operand_1": c * a}

    def forgotten(c: Array, a: Array, b: Array) -> dict[str, Array]:
        return {"operand_0": (c * b)[:1] if keepdims else c * b, "operand_1": c * a}

    assert verdict(Fake(summed), said).verdict == "pass"
    record = verdict(Fake(forgotten), said)
    assert record.verdict == "fail"
    assert record.reason.startswith("gradient of operand_0: ")
    assert "operand_1" not in record.reason


def test_deviations_apply_to_the_direction_that_they_name() -> None:
    nan = altered("operand_0", lambda g: np.full_like(g, np.nan))
    assert verdict(nan, entries=[recorded({"value": "nan"}, direction="grad")]).verdict == "deviation"
    assert verdict(nan, entries=[recorded({"value": "zeros"}, direction="grad")]).verdict == "fail"
    assert verdict(nan, entries=[recorded({"value": "nan"}, direction="forward")]).verdict == "fail"
    stale = verdict(Fake(right), entries=[recorded({"value": "nan"})])
    assert stale.verdict == "fail"
    assert stale.reason.startswith("stale: ")


def test_a_recorded_precision_must_explain_every_wrong_gradient() -> None:
    def halved(g: Array) -> Array:
        return g.astype(np.float16).astype(g.dtype)

    known = [recorded({"precision": {"accumulate": "float16"}})]
    assert verdict(altered("operand_0", halved), entries=known).verdict == "deviation"
    both = Fake(
        lambda *arrays: {"operand_0": halved(right(*arrays)["operand_0"]), "operand_1": -arrays[1].T @ arrays[0]}
    )
    assert verdict(both, entries=known).verdict == "fail"


def test_a_recorded_error_is_a_deviation_and_any_other_is_not() -> None:
    refuses = Fake(NotImplementedError("no gradient of einsum"))
    assert verdict(refuses).reason == "raised NotImplementedError: no gradient of einsum"
    assert verdict(refuses, entries=[recorded({"error": "no gradient"})]).verdict == "deviation"
    assert verdict(refuses, entries=[recorded({"error": "out of luck"})]).verdict == "fail"


def test_a_case_without_meaning_is_told_as_such() -> None:
    with pytest.raises(CaseError):
        verdict(Fake(right), case(shapes=[[3, 8], [7, 5]]))
