"""Operands have the same bits for the same case everywhere, are read-only, and count as random or not."""

import hashlib
from typing import Any

import numpy as np
import pytest

from specs.arithmetic.formats import Array
from specs.inputs import inputs
from tests.support.sample_cases import attention_case, einsum_case


def bits(arrays: dict[str, Array]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("make", [einsum_case, attention_case])
def test_the_same_id_gives_the_same_bits_and_another_id_others(make: Any) -> None:
    first, again, other = (bits(inputs.operands(make(id), "float32")) for id in ("a::x", "a::x", "a::y"))
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_each_operand_has_a_stream_of_its_own() -> None:
    case = attention_case(kv_len=6, bias="random")
    drawn = inputs.operands(case, "float64")
    assert len({array.tobytes() for array in drawn.values()}) == len(drawn) == 4
    plain = inputs.operands(attention_case(kv_len=6), "float64")
    assert all(plain[name].tobytes() == drawn[name].tobytes() for name in plain)


def test_narrower_dtypes_are_the_float64_operands_rounded() -> None:
    wide = inputs.operands(einsum_case(), "float64")["operand_0"]
    np.testing.assert_array_equal(inputs.operands(einsum_case(), "float32")["operand_0"], wide.astype(np.float32))
    np.testing.assert_array_equal(inputs.operands(einsum_case(), "float16")["operand_0"], wide.astype(np.float16))


GOLDEN = {
    ("einsum", "normal", "float64"): "572e4e63",
    ("einsum", "normal", "bfloat16"): "7b90e8cf",
    ("einsum", "normal", "complex64"): "9b7904c9",
    ("einsum", "normal", "int32"): "1949e083",
    ("einsum", "normal", "uint8"): "72479b39",
    ("einsum", "normal", "bool"): "b9c00b8a",
    ("einsum", "uniform", "float64"): "d9cc706d",
    ("einsum", "integers", "float32"): "71819936",
    ("einsum", "wide", "float64"): "45f087e2",
    ("einsum", "cancelling", "float64"): "7385aa4a",
    ("einsum", "large", "float64"): "1d66dd39",
    ("einsum", "sparse", "float64"): "29e0a648",
    ("einsum", "nonfinite", "float64"): "73b283d1",
    ("attention", "normal", "float32"): "aead7b4f",
    ("attention", "large", "float64"): "eb5d3853",
}


@pytest.mark.parametrize(("kind", "recipe", "dtype"), GOLDEN)
def test_operands_have_the_recorded_digests(kind: str, recipe: str, dtype: str) -> None:
    """A change here changes every recorded digest and error ratio, so it must be intended."""
    masked = {"mask": {"type": "bool"}, "bias": "alibi"}
    case = einsum_case(data=recipe, dtypes=[dtype]) if kind == "einsum" else attention_case(data=recipe, **masked)
    digest = hashlib.sha256(b"".join(bits(inputs.operands(case, dtype)).values())).hexdigest()[:8]
    assert digest == GOLDEN[kind, recipe, dtype]


def test_the_first_numbers_are_the_recorded_ones() -> None:
    numbers = inputs.operands(einsum_case(shapes=[[1, 2], [2, 1]]), "float64")["operand_0"].tolist()
    assert numbers == [[1.1067061882989528, 0.12740842182866152]]


def test_operands_cannot_be_written_to() -> None:
    for case in (einsum_case(), attention_case(mask={"type": "bool"}, kv_lengths=[1, 2])):
        for array in inputs.operands(case, "float32").values():
            assert not array.flags.writeable


def test_random_terms_are_those_of_independent_random_recipes() -> None:
    yes = [einsum_case(), einsum_case(data="uniform"), attention_case()]
    no = [einsum_case(data=r) for r in ("integers", "wide", "cancelling", "large", "sparse", "nonfinite")]
    no.append(einsum_case(equation="i", shapes=None, operands=[[1.0]]))
    no += [attention_case(**{name: [1.0]}) for name in ("query", "key", "value")]
    assert [inputs.has_random_terms(case) for case in yes + no] == [True] * 3 + [False] * 10
