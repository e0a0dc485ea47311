"""Probes of simulated arithmetic read the formats and the rounding that it has."""

from collections.abc import Callable

import numpy as np
import pytest

from specs.arithmetic.formats import BFLOAT16, DTYPES, FLOAT32, TF32, Array, cast, round_to
from tests.support.narrow_arithmetic import ORDERS
from tests.support.probes import FACTORS, SUMS, Arithmetic, probe, read_probe

pytestmark = pytest.mark.usefixtures("nothing_in_memory")

# Factors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize(
    ("dtype", "format", "expected"),
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
def test_the_format_of_factors_is_read(name: str, dtype: str, format: str, expected: str) -> None:
    assert read_probe(name, dtype, Arithmetic({"multiply": format})) == {"multiply": expected}


@pytest.mark.parametrize("side", [0, 1])
def test_the_format_of_either_factor_is_read(side: int) -> None:
    def one_sided(*operands: Array) -> Array:
        narrow = [round_to(x, BFLOAT16) if i == side else x.astype(np.float64) for i, x in enumerate(operands)]
        return (narrow[0] @ narrow[1]).astype(np.float32)

    assert read_probe("factors_of_matrices", "float32", Arithmetic(compute=one_sided)) == {"multiply": "bfloat16"}


def test_a_factor_split_in_two_parts_differs_from_one_and_from_three_parts() -> None:
    def split(parts: int) -> Callable[..., Array]:
        def product(a: Array, b: Array) -> Array:
            truncated = []
            for rest in (a.astype(np.float64), b.astype(np.float64)):
                total = np.zeros_like(rest)
                for _ in range(parts):
                    total = total + round_to(rest - total, BFLOAT16)
                truncated.append(total)
            return np.asarray(round_to(truncated[0] @ truncated[1], FLOAT32).astype(np.float32))

        return product

    formats = [
        read_probe("factors_of_matrices", "float32", Arithmetic(compute=split(n)))["multiply"] for n in (1, 2, 3)
    ]
    assert formats[0] == "bfloat16"
    assert formats[1] in ("16 bits", "17 bits")
    assert formats[2] == "float32"


# Sums -----------------------------------------------------------------------------------------------------------------


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
    observed = read_probe(name, dtype, Arithmetic({"accumulate": format, "intermediate": format}, order=order))
    assert observed == {"accumulate": format, "rounding": "nearest"}


def test_a_wider_accumulator_is_read_as_a_lower_limit_of_bits() -> None:
    assert read_probe("sums", "float32", Arithmetic({"accumulate": "float64"})) == {"accumulate": "45 bits or more"}


def test_a_truncating_accumulator_is_distinguished_from_a_rounding_one() -> None:
    def cut(a: Array, b: Array) -> Array:
        total = np.zeros(a.shape[:1] + b.shape[1:])
        for k in range(a.shape[1]):
            exact = total + a[:, k, None].astype(np.float64) * b[None, k].astype(np.float64)
            total = np.sign(exact) * round_to(np.abs(exact), FLOAT32, "down")
        return total.astype(np.float32)

    record = probe("sums_of_matrices", "float32", Arithmetic(compute=cut))
    assert record.observed == {"accumulate": "float32", "rounding": "truncated"}
    assert record.verdict == "fail"
    assert probe("sums_of_matrices", "float32", Arithmetic(formats={"truncates": True}, compute=cut)).verdict == "pass"


def test_a_truncated_result_is_distinguished_from_a_rounded_one() -> None:
    def cut(a: Array, b: Array) -> Array:
        exact = a.astype(np.float64) @ b.astype(np.float64)
        return cast(np.sign(exact) * round_to(np.abs(exact), BFLOAT16, "down"), DTYPES["bfloat16"])

    name = "rounded_sums_of_matrices"
    record = probe(name, "bfloat16", Arithmetic(compute=cut))
    assert (record.verdict, record.observed) == ("fail", {"rounding": "truncated"})
    assert probe(name, "bfloat16", Arithmetic(formats={"truncates": True}, compute=cut)).verdict == "pass"
    for dtype in ("float64", "float32", "bfloat16", "float16"):
        for rounds_twice in ({}, {"accumulate": dtype}):
            assert read_probe(name, dtype, Arithmetic(rounds_twice)) == {"rounding": "nearest"}


# Attention ------------------------------------------------------------------------------------------------------------


def attention(value: Callable[[Array], Array] = np.asarray, accumulator: str = "float64") -> Callable[..., Array]:
    """Softmax attention in the layout bshd, exact except for the values and their weighted sum."""

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
    ("name", "compute", "expected"),
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
def test_attention_is_read_through_its_values(
    name: str, compute: Callable[..., Array], expected: dict[str, str]
) -> None:
    assert read_probe(f"attention::{name}", "float32", Arithmetic(compute=compute)) == expected


def test_a_weight_that_is_off_by_a_rounding_is_not_taken_for_a_rounded_factor() -> None:
    off = attention(lambda v: v * (1 - 2.0**-24))
    assert read_probe("attention::factors", "float32", Arithmetic(compute=off)) == {"multiply": "float32"}
