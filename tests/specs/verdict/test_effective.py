"""Probes read simulated arithmetic, whose formats are known, and hold it against what a backend declares."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, DTYPES, FLOAT32, TF32, Array, cast, round_to
from specs.arithmetic.precision import Precision, declared
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.case.loading import load
from specs.inputs import inputs
from specs.reference import cache
from specs.verdict.check import Check
from specs.verdict.deviation import Deviation, Recorded
from specs.verdict.record import Record
from specs.verdict.verdict import judge
from tests.support import ROOT
from tests.support.narrow_arithmetic import ORDERS, Simulated

CASES = {case.id.removeprefix("precision/"): case for case in load(ROOT / "cases/precision/einsum.yaml", ROOT)}
CASES |= {case.id.removeprefix("precision/"): case for case in load(ROOT / "cases/precision/attention.yaml", ROOT)}
FACTORS = ["factors_of_matrices", "factors_of_batches", "factors_of_dot_products"]
SUMS = ["sums", "sums_across_rows", "sums_of_matrices", "sums_of_batches", "sums_of_dot_products"]
SUBNORMALS = ["subnormals_of_matrices", "subnormals_of_dot_products", "subnormals_of_sums"]

Compute = Callable[[Case, list[Array], Precision], Array]


@pytest.fixture(autouse=True)
def nothing_in_memory() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@dataclass
class Arithmetic:
    """A backend whose arithmetic is `real`, whatever it declares."""

    real: Mapping[str, str | bool] = field(default_factory=dict)
    said: Mapping[str, str | bool] = field(default_factory=dict)
    order: str = "sequential"
    compute: Callable[..., Array] | None = None

    def unsupported(self, *_: Any) -> None:
        return None

    def precision(self, kind: str, implementation: str, mode: str, dtype: str, device: str) -> Precision:
        return declared(DTYPES[dtype], **self.said)

    def run(self, case: Case, implementation: str, mode: str, operands: Mapping[str, Array], device: str) -> Array:
        dtype = next(name for name in case.config.dtypes if DTYPES[name].numpy == operands[min(operands)].dtype)
        if self.compute:
            return self.compute(*operands.values())
        assert isinstance(case.config, EinsumConfig)
        simulated = Simulated(declared(DTYPES[dtype], **self.real), self.order)
        wide = [operand.astype(np.float64) for operand in operands.values()]
        return cast(simulated(case.config.equation, wide), DTYPES[dtype])

    def gradient(self, *_: Any) -> Mapping[str, Array]:
        raise NotImplementedError


def probed(name: str, dtype: str, backend: Arithmetic, entries: list[Recorded] = []) -> Record:  # noqa: B006
    case = CASES[name if "::" in name else f"einsum::{name}"]
    check = Check(case, "simulated", "cpu", "einsum", "eager", dtype)
    return judge(check, backend, "t.yaml::c[x]", "t.yaml", entries)


def seen(name: str, dtype: str, backend: Arithmetic) -> dict[str, str]:
    observed = probed(name, dtype, backend).observed
    assert observed is not None
    return observed


# Reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize(
    ("dtype", "format", "read"),
    [
        ("float64", "float64", "float64"),
        ("float64", "float32", "float32"),
        ("float32", "float32", "float32"),
        ("float32", "tf32", "tf32"),
        ("float32", "bfloat16", "bfloat16"),
        ("float16", "float16", "float16"),
        ("float16", "bfloat16", "bfloat16"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_the_format_of_factors_is_read(name: str, dtype: str, format: str, read: str) -> None:
    assert seen(name, dtype, Arithmetic({"multiply": format})) == {"multiply": read}


@pytest.mark.parametrize("side", [0, 1])
def test_either_factor_is_seen(side: int) -> None:
    def one_sided(*operands: Array) -> Array:
        narrow = [round_to(x, BFLOAT16) if i == side else x.astype(np.float64) for i, x in enumerate(operands)]
        return (narrow[0] @ narrow[1]).astype(np.float32)

    assert seen("factors_of_matrices", "float32", Arithmetic(compute=one_sided)) == {"multiply": "bfloat16"}


def test_two_short_parts_of_a_factor_are_told_from_one_and_from_three() -> None:
    def split(parts: int) -> Callable[..., Array]:
        def product(a: Array, b: Array) -> Array:
            kept = []
            for rest in (a.astype(np.float64), b.astype(np.float64)):
                total = np.zeros_like(rest)
                for _ in range(parts):
                    total = total + round_to(rest - total, BFLOAT16)
                kept.append(total)
            return np.asarray(round_to(kept[0] @ kept[1], FLOAT32).astype(np.float32))

        return product

    read = [seen("factors_of_matrices", "float32", Arithmetic(compute=split(n)))["multiply"] for n in (1, 2, 3)]
    assert read[0] == "bfloat16"
    assert read[1] in ("16 bits", "17 bits")
    assert read[2] == "float32"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize(
    ("dtype", "format"),
    [
        ("float64", "float64"),
        ("float64", "float32"),
        ("float32", "float32"),
        ("float32", "float16"),
        ("float16", "float32"),
        ("float16", "float16"),
        ("bfloat16", "float32"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_the_accumulator_is_read_in_any_order_of_summation(name: str, dtype: str, format: str, order: str) -> None:
    read = seen(name, dtype, Arithmetic({"accumulate": format, "intermediate": format}, order=order))
    assert read == {"accumulate": format, "rounding": "nearest"}


def test_a_wider_accumulator_is_told_as_at_least_so_many_bits() -> None:
    assert seen("sums", "float32", Arithmetic({"accumulate": "float64"})) == {"accumulate": "45 bits or more"}


def test_an_accumulator_that_cuts_off_is_told_from_one_that_rounds() -> None:
    def cut(a: Array, b: Array) -> Array:
        total = np.zeros(a.shape[:1] + b.shape[1:])
        for k in range(a.shape[1]):
            exact = total + a[:, k, None].astype(np.float64) * b[None, k].astype(np.float64)
            total = np.sign(exact) * round_to(np.abs(exact), FLOAT32, "down")
        return total.astype(np.float32)

    record = probed("sums_of_matrices", "float32", Arithmetic(compute=cut))
    assert record.observed == {"accumulate": "float32", "rounding": "truncated"}
    assert record.verdict == "fail"
    assert probed("sums_of_matrices", "float32", Arithmetic(said={"truncates": True}, compute=cut)).verdict == "pass"


def test_a_result_that_is_cut_off_is_told_from_one_that_is_rounded() -> None:
    def cut(a: Array, b: Array) -> Array:
        exact = a.astype(np.float64) @ b.astype(np.float64)
        return cast(np.sign(exact) * round_to(np.abs(exact), BFLOAT16, "down"), DTYPES["bfloat16"])

    name = "rounded_sums_of_matrices"
    record = probed(name, "bfloat16", Arithmetic(compute=cut))
    assert (record.verdict, record.observed) == ("fail", {"rounding": "truncated"})
    assert probed(name, "bfloat16", Arithmetic(said={"truncates": True}, compute=cut)).verdict == "pass"
    for dtype in ("float64", "float32", "bfloat16", "float16"):
        for rounds_twice in ({}, {"accumulate": dtype}):
            assert seen(name, dtype, Arithmetic(rounds_twice)) == {"rounding": "nearest"}


def flushing(inputs_too: bool, results_too: bool) -> Callable[..., Array]:
    def normal(x: Array) -> Array:
        return np.where(np.abs(x) < FLOAT32.tiny, 0.0, x)

    def compute(*operands: Array) -> Array:
        wide = [normal(x.astype(np.float64)) if inputs_too else x.astype(np.float64) for x in operands]
        if len(wide) == 1:
            result = wide[0].sum(1)
        else:
            result = np.einsum("bi,bi->b" if operands[0].shape == operands[1].shape else "ij,jk->ik", *wide)
        return (normal(result) if results_too else result).astype(np.float32)

    return compute


@pytest.mark.parametrize("name", SUBNORMALS)
@pytest.mark.parametrize("where", [(True, False), (False, True), (True, True)], ids=["inputs", "results", "both"])
def test_flushed_subnormals_are_seen_and_fail_unless_declared(name: str, where: tuple[bool, bool]) -> None:
    kept = probed(name, "float32", Arithmetic(compute=flushing(False, False)))
    assert (kept.verdict, kept.observed) == ("pass", {"subnormals": "kept"})
    flushed = probed(name, "float32", Arithmetic(compute=flushing(*where)))
    assert (flushed.verdict, flushed.observed) == ("fail", {"subnormals": "flushed"})
    assert "subnormals is flushed, declared kept" in flushed.reason
    assert probed(name, "float32", Arithmetic(said={"flushes": True}, compute=flushing(*where))).verdict == "pass"


@pytest.mark.parametrize("name", [*FACTORS[:2], *SUBNORMALS[:2]])
def test_the_products_of_a_design_are_exact(name: str) -> None:
    """Where nothing is rounded nothing is lost: in each dtype every operand and every product is one of its numbers."""
    for dtype in CASES[f"einsum::{name}"].config.dtypes:
        a, b = (x.astype(np.float64) for x in inputs.operands(CASES[f"einsum::{name}"], dtype).values())
        config = CASES[f"einsum::{name}"].config
        assert isinstance(config, EinsumConfig)
        product = np.einsum(config.equation, a, b)
        storage = DTYPES[dtype].format
        assert storage is not None
        assert np.all(product != 0)
        assert np.array_equal(round_to(product, storage), product)


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


def test_another_order_in_each_run_is_seen_and_fails() -> None:
    changing = product_in_order(lambda call, a: np.random.default_rng(call).permutation(a.shape[1]))
    record = probed("bits_of_matrices", "float32", Arithmetic(compute=changing))
    assert (record.verdict, record.repeatable) == ("fail", False)
    assert record.observed == {"repeatable": "not bit for bit"}


def test_bits_that_depend_on_alignment_are_told_and_are_no_failure() -> None:
    ahead = product_in_order(lambda call, a: np.roll(np.arange(a.shape[1]), a.ctypes.data % 16 // 4))
    record = probed("bits_of_matrices", "float32", Arithmetic(compute=ahead))
    assert (record.verdict, record.repeatable) == ("pass", True)
    assert record.observed == {"repeatable": "where memory is aligned alike"}


def test_the_same_order_is_repeatable() -> None:
    record = probed("bits_of_matrices", "float32", Arithmetic(compute=product_in_order(lambda _, a: range(a.shape[1]))))
    assert (record.verdict, record.repeatable, record.observed) == ("pass", True, {"repeatable": "bit for bit"})


# Against what is declared -----------------------------------------------------------------------------------------


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
def test_what_is_coarser_than_declared_fails_and_what_is_declared_passes(
    name: str, dtype: str, real: dict[str, str | bool]
) -> None:
    lower, format = next(iter(real.items()))
    promised = getattr(declared(DTYPES[dtype]), lower).name
    record = probed(name, dtype, Arithmetic(real))
    assert record.verdict == "fail"
    assert f"{lower} is {format}, declared {promised}" in record.reason
    assert probed(name, dtype, Arithmetic(real, said=real)).verdict == "pass"
    finer = probed(name, dtype, Arithmetic(said=real))
    assert finer.verdict == "pass"
    assert (finer.observed or {})[lower] == promised


def test_a_recorded_deviation_answers_for_what_it_says_and_for_nothing_worse() -> None:
    def recorded(format: str) -> Recorded:
        said: dict[str, Any] = {"match": {"case": "*"}, "observed": {"precision": {"accumulate": format}}}
        return Recorded(Deviation.model_validate(said | {"grade": "bug", "reason": "It is known."}), Path("x.yaml"), 1)

    narrow = Arithmetic({"accumulate": "bfloat16"})
    assert probed("sums_of_matrices", "bfloat16", narrow, [recorded("bfloat16")]).verdict == "deviation"
    assert probed("sums_of_matrices", "bfloat16", narrow, [recorded("float16")]).verdict == "fail"


def test_what_a_probe_needs_is_asked_for() -> None:
    """A design that does not fit would read what is not there."""
    case = CASES["einsum::sums"]

    def operands(fields: dict[str, Any]) -> Mapping[str, Array]:
        said: Config = EinsumConfig.model_validate({"gradient": False, "probe": "accumulate"} | fields)
        return inputs.operands(Case(case.id, case.name, case.file, 1, said), "float32")

    for fields in (
        {"equation": "ij->i", "sizes": {"i": 9, "j": 67}},
        {"equation": "ij->i", "sizes": {"i": 960, "j": 2}},
        {"equation": "ij,jk,k->i", "sizes": {"i": 960, "j": 5, "k": 5}},
        {"equation": "ii->i", "sizes": {"i": 5}},
        {"equation": "ij,i->i", "sizes": {"i": 960, "j": 5}},
        {"equation": "ij->i", "sizes": {"i": 960, "j": 1}, "probe": "rounding"},
        {"equation": "ij->i", "sizes": {"i": 960, "j": 64}, "probe": "multiply"},
        {"equation": "ij,jk->ik", "sizes": {"i": 20, "j": 64, "k": 37}, "probe": "multiply"},
    ):
        with pytest.raises(CaseError):
            operands(fields)


# Attention ------------------------------------------------------------------------------------------------------------


def attention(value: Callable[[Array], Array] = np.asarray, accumulator: str = "float64") -> Callable[..., Array]:
    """Softmax attention in the layout bshd, exact but for what happens to values and to their weighted sum."""

    def compute(q: Array, k: Array, v: Array) -> Array:
        scores = np.einsum("bqhd,bkhd->bhqk", q.astype(np.float64), k.astype(np.float64))
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        values = np.asarray(value(v.astype(np.float64)))
        total = np.zeros(q.shape[:3] + v.shape[3:])
        for key in range(v.shape[1]):
            term = weights[..., key].transpose(0, 2, 1)[..., None] * values[:, None, key]
            total = round_to(total + term, DTYPES[accumulator].format or FLOAT32)
        return cast(total, DTYPES[q.dtype.name])

    return compute


@pytest.mark.parametrize(
    ("name", "compute", "read"),
    [
        ("factors", attention(), {"multiply": "float32"}),
        ("factors", attention(lambda v: round_to(v, TF32)), {"multiply": "tf32"}),
        ("factors", attention(lambda v: round_to(v, BFLOAT16)), {"multiply": "bfloat16"}),
        ("sums", attention(accumulator="float32"), {"accumulate": "float32", "rounding": "nearest"}),
        ("sums", attention(accumulator="float16"), {"accumulate": "float16", "rounding": "nearest"}),
        ("sums_of_one_query", attention(accumulator="bfloat16"), {"accumulate": "bfloat16", "rounding": "nearest"}),
        ("subnormals", attention(), {"subnormals": "kept"}),
        ("subnormals", attention(lambda v: np.where(np.abs(v) < FLOAT32.tiny, 0, v)), {"subnormals": "flushed"}),
    ],
)
def test_attention_is_read_through_its_values(name: str, compute: Callable[..., Array], read: dict[str, str]) -> None:
    assert seen(f"attention::{name}", "float32", Arithmetic(compute=compute)) == read


def test_a_weight_that_is_off_by_a_rounding_is_not_taken_for_a_rounded_factor() -> None:
    off = attention(lambda v: v * (1 - 2.0**-24))
    assert seen("attention::factors", "float32", Arithmetic(compute=off)) == {"multiply": "float32"}


@pytest.mark.parametrize(
    "fields",
    [
        {"probe": "accumulate", "kv_len": 17},
        {"probe": "accumulate", "batch": 1},
        {"probe": "multiply", "num_heads": 1},
        {"probe": "multiply", "head_dim": 3, "value_dim": 64},
        {"probe": "multiply", "layout": "bhsd"},
        {"probe": "multiply", "mask": {"type": "bool", "shape": "qk"}},
    ],
    ids=str,
)
def test_what_a_probe_of_attention_needs_is_asked_for(fields: dict[str, Any]) -> None:
    said = {"batch": 16, "q_len": 3, "kv_len": 16, "num_heads": 4, "head_dim": 16, "gradient": False} | fields
    fitting = said | {"kv_len": 16, "num_heads": 4, "batch": 16, "head_dim": 16, "layout": "bshd", "mask": None}
    case = CASES["attention::sums"]

    def made(said: dict[str, Any]) -> Mapping[str, Array]:
        return inputs.operands(Case(case.id, case.name, case.file, 1, AttentionConfig.model_validate(said)), "float32")

    assert set(made(fitting)) == {"query", "key", "value"}
    with pytest.raises(CaseError):
        made(said)
