"""Designed inputs reveal the faults they are designed for, and every check with normal data uses them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.double_double import to_float64
from specs.arithmetic.formats import DTYPES, TF32, Array, cast, round_to
from specs.arithmetic.precision import declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.case.layout import to_heads
from specs.case.visibility import allowed_keys
from specs.inputs import inputs
from specs.inputs.designed import applicable_recipes, with_recipe
from specs.reference.reference import Reference
from specs.verdict import execution
from specs.verdict.check import Check
from specs.verdict.comparison import compare
from specs.verdict.direction import DIRECTIONS
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support.fake_backend import Plain
from tests.support.narrow_arithmetic import pairwise, sequential

FLOATS = ["float64", "float32", "float16", "bfloat16"]


def case_of(config: Config) -> Case:
    return Case("designed/t::c", "c", Path("t.yaml"), 1, config)


def einsum(equation: str, *shapes: list[int], **fields: Any) -> Case:
    return case_of(EinsumConfig(equation=equation, shapes=list(shapes), **fields))


def attention(**fields: Any) -> Case:
    usual = {"batch": 2, "num_heads": 2, "q_len": 6, "kv_len": 9, "head_dim": 4}
    return case_of(AttentionConfig.model_validate(usual | fields))


def expected(case: Case, dtype: str) -> Reference:
    return DIRECTIONS["forward"].reference(case, dtype, inputs.operands(case, dtype), declared_precision(DTYPES[dtype]))


# Which recipes apply --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "names"),
    [
        (einsum("ij,jk->ik", [3, 4], [4, 2]), ("exact",)),
        (einsum("ij,jk->ik", [3, 4], [4, 2], data="uniform"), ()),
        (einsum("ij->ji", [3, 4]), ()),  # copies are exact on any data
        (einsum("ij,jk->ik", [3, 0], [0, 2]), ()),
        (einsum("ij,jk->ik", [3, 4], [5, 2], expect={"error": "size_mismatch"}), ()),
        (case_of(EinsumConfig(equation="i,i->", operands=[[1, 2], [3, 4]])), ()),
        (attention(), ("ramp", "equal")),
        (attention(data="large"), ()),
        (attention(softcap=1.5), ("equal",)),
        (attention(rotary={}), ("equal",)),
        (attention(scale=0.0), ("equal",)),
        (attention(kv_len=1), ("equal",)),
        (attention(layout="bsd", projections={"kind": "linear"}), ()),
        (attention(kv_len=0), ("equal",)),
        (attention(q_len=0), ()),
    ],
    ids=lambda x: "" if isinstance(x, Case) else "-".join(x) or "none",
)
def test_a_case_of_normal_data_has_the_designed_recipes_that_apply(case: Case, names: tuple[str, ...]) -> None:
    assert applicable_recipes(case, "float32") == names


def test_arithmetic_of_integers_is_exact_on_any_data() -> None:
    assert applicable_recipes(einsum("i,i->", [4], [4], dtypes=["int32"]), "int32") == ()


def test_a_recipe_that_does_not_apply_is_refused() -> None:
    with pytest.raises(CaseError, match="projections turn a query"):
        inputs.operands(attention(layout="bsd", projections={"kind": "linear"}, data="equal"), "float32")
    with pytest.raises(CaseError, match="holds no 300 positions in one feature"):
        inputs.operands(attention(head_dim=1, kv_len=300, data="ramp"), "bfloat16")
    with pytest.raises(CaseError, match="no sums of float16 that are exact"):
        inputs.operands(einsum("i,i,i->", [4096], [4096], [4096], data="exact"), "float16")


# Exact sums -----------------------------------------------------------------------------------------------------------

CONTRACTIONS: dict[str, list[list[int]]] = {
    "i->": [[100]],
    "ij,jk->ik": [[5, 64], [64, 3]],
    "i,i->": [[4096], [4096]],
    "ab,bc,cd->ad": [[3, 8], [8, 5], [5, 2]],
    "ij,ij->i": [[7, 33], [7, 33]],
    "i,j->ij": [[5], [4]],
}


@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("equation", CONTRACTIONS)
def test_a_contraction_of_exact_inputs_has_one_right_result(equation: str, dtype: str) -> None:
    case = with_recipe(einsum(equation, *CONTRACTIONS[equation]), "exact")
    assert not np.any(expected(case, dtype).error)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("total", [sequential, pairwise])
def test_every_order_of_summation_gives_the_exact_result(dtype: str, total: Callable[..., Array]) -> None:
    case = with_recipe(einsum("i,i->", [1000], [1000]), "exact")
    a, b = (x.astype(np.float64) for x in inputs.operands(case, dtype).values())
    accumulator = declared_precision(DTYPES[dtype]).accumulate
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(1000)
        result = total((a * b)[order], lambda x: round_to(x, accumulator))
        assert not compare(cast(np.asarray(result), DTYPES[dtype]), expected(case, dtype)).problem


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,ij->i"])
def test_one_lost_digit_of_an_operand_is_outside_the_bound(equation: str) -> None:
    case = with_recipe(einsum(equation, *CONTRACTIONS[equation]), "exact")
    operands = [round_to(x, TF32) for x in inputs.operands(case, "float32").values()]
    result = np.einsum(equation, *operands).astype(np.float32)
    assert compare(result, expected(case, "float32")).problem


def test_the_wide_operand_is_not_always_the_same() -> None:
    cases = [replace(einsum("ij,jk->ik", [3, 8], [8, 3]), id=f"c{number}") for number in range(20)]
    wide = {
        int(
            np.argmax(
                [len(np.unique(np.abs(x))) for x in inputs.operands(with_recipe(case, "exact"), "float32").values()]
            )
        )
        for case in cases
    }
    assert wide == {0, 1}


# Attention ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"causal": "bottom_right"},
        {"window": {"left": 2, "right": 1}, "scale": -0.3},
        {"mask": {"type": "bool", "shape": "bhqk"}, "head_dim": 1},
        {"kv_lengths": [3, 8], "num_heads": 4, "num_kv_heads": 2, "layout": "bhsd"},
        {"past": 4, "causal": "bottom_right", "sink": True, "bias": "random"},
        {"kv_len": 200, "layout": "sbhd"},
    ],
    ids=lambda fields: "-".join(fields) or "plain",
)
def test_on_a_ramp_each_query_takes_the_first_or_the_last_key_that_it_sees(dtype: str, fields: dict[str, Any]) -> None:
    case = with_recipe(attention(**fields), "ramp")
    c, operands = case.config, inputs.operands(case, dtype)
    assert isinstance(c, AttentionConfig)
    value = np.concatenate(
        [to_heads(c, operands[name], c.num_kv_heads) for name in ("past_value", "value") if name in operands], axis=2
    ).astype(np.float64)
    allowed = np.broadcast_to(allowed_keys(c, operands), (c.batch, c.num_heads, c.q_len, c.kv_len))
    output = to_heads(c, to_float64(expected(case, dtype).value), c.num_heads)
    for b, h, i in np.ndindex(allowed.shape[:3]):
        visible = np.flatnonzero(allowed[b, h, i])
        chosen = visible[0 if (b + h + i) % 2 else -1]
        if chosen or not c.sink:  # the first key has a score of 0, as the sink may have
            np.testing.assert_allclose(output[b, h, i], value[b, h * c.num_kv_heads // c.num_heads, chosen], rtol=1e-6)


def test_with_equal_scores_every_key_has_the_same_weight() -> None:
    case = with_recipe(attention(rotary={}, softcap=2.0), "equal")
    operands = inputs.operands(case, "float64")
    assert set(np.unique(operands["value"])) == {-1.0, 1.0}
    mean = operands["value"].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        to_float64(expected(case, "float64").value), np.broadcast_to(mean, (2, 6, 2, 4)), atol=1e-15
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("recipe", ["ramp", "equal"])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_window_that_is_off_by_one_is_outside_the_bound(dtype: str, recipe: str, off: int) -> None:
    right, wrong = (
        with_recipe(attention(kv_len=64, q_len=32, window={"left": 9 + d, "right": 9}), recipe) for d in (0, off)
    )
    result = cast(to_float64(expected(wrong, dtype).value), DTYPES[dtype])
    assert compare(result, expected(right, dtype)).problem


# In a check -----------------------------------------------------------------------------------------------------------


class Product(Plain):
    """A backend that computes a product rightly, and by `faulty` on designed inputs."""

    def __init__(self, faulty: Callable[[Array, Array], Array]) -> None:
        self.faulty = faulty
        self.runs = 0

    def unsupported(self, *_: object) -> None:
        return None

    def precision(self, check: Check) -> Any:
        return declared_precision(DTYPES[check.dtype])

    def run(self, check: Check, operands: Any) -> Array:
        self.runs += 1
        a, b = operands.values()
        designed = bool(np.all(np.abs(a) == 1) or np.all(np.abs(b) == 1))
        right = (a.astype(np.float64) @ b.astype(np.float64)).astype(a.dtype)
        return self.faulty(a, b) if designed else right


def verdict(backend: Any) -> Record:
    check = Check(einsum("ij,jk->ik", [3, 8], [8, 3]), "t", "cpu", "einsum", "eager", "float32")
    return judge(check, backend, "x", "t.yaml")


def test_a_check_runs_on_its_own_data_and_on_each_designed_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CHEAP_SECONDS", 1.0)
    backend = Product(lambda a, b: (a.astype(np.float64) @ b.astype(np.float64)).astype(a.dtype))
    assert verdict(backend).verdict == "pass"
    assert backend.runs == 6  # each twice; then on other values, and on its own again


def test_a_wrong_result_on_designed_inputs_fails_with_their_name_in_the_reason() -> None:
    record = verdict(Product(lambda a, b: (round_to(a, TF32) @ round_to(b, TF32)).astype(a.dtype)))
    assert record.verdict == "fail"
    assert record.reason.startswith("on exact inputs: ")
    assert record.reason.endswith("consistent with operands rounded to TF32")
    assert record.measurement.bound["data"] == "exact"


def test_an_exception_on_designed_inputs_fails_with_their_name_in_the_reason() -> None:
    def refuse(a: Array, b: Array) -> Array:
        raise ValueError("odd numbers")

    record = verdict(Product(refuse))
    assert record.verdict == "fail"
    assert record.reason == "raised DesignedError: on exact inputs ValueError: odd numbers"
