"""A reference comes back from its file bit for bit, or not at all."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.inputs import inputs
from specs.reference.encoding import CHECKSUM_BYTES, decode, encode
from specs.reference.reference import Reference
from specs.verdict.direction import DIRECTIONS

KEY = "0123456789abcdef" * 4
FLOAT32 = DTYPES["float32"]


def identity(reference: Reference) -> list[Any]:
    """All of a reference, with its arrays as dtype, shape and bytes."""

    def bits(value: Any) -> Any:
        if isinstance(value, DoubleDouble):
            return [bits(value.hi), bits(value.lo)]
        return [value.dtype.str, value.shape, value.tobytes()] if isinstance(value, np.ndarray) else repr(value)

    return [bits(getattr(reference, field.name)) for field in fields(reference)]


def assert_same(reference: Reference) -> None:
    content = encode(KEY, reference)
    assert content is not None
    read = decode(KEY, content)
    assert read is not None
    assert identity(read) == identity(reference)


# Round trip -----------------------------------------------------------------------------------------------------------


def einsum(equation: str, *shapes: list[int], **fields: Any) -> EinsumConfig:
    return EinsumConfig.model_validate({"equation": equation, "shapes": list(shapes) or None, **fields})


ATTENTION = AttentionConfig(batch=2, q_len=3, kv_len=4, num_heads=2, head_dim=4, causal="top_left")
REFERENCES: list[tuple[Config, str]] = [
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "float64"),
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "bfloat16"),
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "complex64"),
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "complex128"),
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "int8"),
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "uint64"),
    (einsum("ij,jk->ik", [3, 8], [8, 3]), "bool"),
    (einsum("i,i->", [9], [9]), "float32"),
    (einsum("i,i->", [9], [9]), "bool"),
    (einsum("i,i->", [0], [0]), "float64"),
    (einsum("ij->ji", [0, 3]), "int32"),
    (einsum("ii->i", [3, 3]), "float32"),
    (einsum("i,j->ij", operands=[[np.inf, -np.inf, np.nan, -0.0], [1.0, -0.0]]), "float64"),
    (ATTENTION, "float64"),
    (ATTENTION, "float16"),
    (ATTENTION.model_copy(update={"kv_len": 0}), "float32"),
]


@pytest.mark.parametrize(("config", "dtype"), REFERENCES, ids=[f"{c.kind}-{d}" for c, d in REFERENCES])
def test_what_is_computed_comes_back_bit_for_bit(config: Config, dtype: str) -> None:
    case = Case("t/t::c", "c", Path("t.yaml"), 3, config)
    precision = declared_precision(DTYPES[dtype], truncates=True) if DTYPES[dtype].inexact else None
    operands = inputs.operands(case, dtype)
    assert_same(DIRECTIONS["forward"].reference(case, dtype, operands, precision))
    for name in inputs.differentiable(operands) if precision else ():
        assert_same(DIRECTIONS["grad"].reference(case, dtype, operands, precision, label=name))


UNUSUAL = [np.nan, np.inf, -np.inf, -0.0, 5e-324, -1e308, 0.1]
NAN_WITH_PAYLOAD = np.array([0x7FF8000000000123, 0xFFF0000000000001], np.uint64).view(np.float64)


@pytest.mark.parametrize(
    "array",
    [
        np.array(UNUSUAL),
        NAN_WITH_PAYLOAD,
        np.array(-0.0),
        np.empty((2, 0, 3)),
        np.eye(3, 4).T,
        np.ones((4, 6))[::2, 1::3],
    ],
    ids=["unusual", "payload", "0-d", "empty", "transposed", "strided"],
)
def test_any_array_comes_back_bit_for_bit(array: Any) -> None:
    dtype = DTYPES["float64"]
    precision = declared_precision(dtype, multiply="tf32", flushes=True)
    reference = Reference(
        dtype, array, array, precision, {"form": "any data", "share": 0.1, "terms": 10**30}, signed=True
    )
    assert_same(reference)
    assert_same(replace(reference, value=DoubleDouble(array, array), deviation=array, shared=array, direction=array))
    assert_same(replace(reference, correlated_elements=float("inf")))


@pytest.mark.parametrize(
    "changes",
    [
        {"value": np.array([2**70, 1], object)},
        {"value": np.array([1.0, 2.0], np.float32)},
        {"error": np.ones(3)},
        {"error": np.ones((1, 2))},
        {"facts": {"shape": (1, 2)}},
        {"facts": {"terms": np.int64(3)}},
        {"facts": {"share": float("nan")}},
        {"facts": {1: "one"}},
    ],
    ids=repr,
)
def test_what_would_not_come_back_the_same_has_no_file(changes: dict[str, Any]) -> None:
    reference = Reference(FLOAT32, np.ones(2), np.ones(2), declared_precision(FLOAT32))
    assert encode(KEY, reference) is not None
    assert encode(KEY, replace(reference, **changes)) is None


# Damage ---------------------------------------------------------------------------------------------------------------

WHOLE = Reference(
    FLOAT32, np.array(UNUSUAL), np.ones(7), declared_precision(FLOAT32), {"terms": 8}, deviation=np.full(7, 0.5)
)
FILE = encode(KEY, WHOLE) or b""


@settings(max_examples=300, deadline=None)
@given(st.sets(st.integers(0, 8 * len(FILE) - 1), min_size=1, max_size=20))
def test_flipped_bits_make_the_reference_absent(bits: set[int]) -> None:
    damaged = bytearray(FILE)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    assert decode(KEY, bytes(damaged)) is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(FILE) - 1), st.binary(max_size=40))
def test_a_cut_file_makes_the_reference_absent(length: int, rest: bytes) -> None:
    assert decode(KEY, FILE[:length]) is None
    assert FILE.startswith(FILE[:length] + rest) or decode(KEY, FILE[:length] + rest) is None
    assert decode(KEY, FILE + rest + b"\0") is None


def test_the_file_of_another_key_is_not_read() -> None:
    assert decode(KEY, FILE) is not None
    assert decode(KEY[::-1], FILE) is None


# Files that were made by others, with a right checksum ----------------------------------------------------------------


def checked(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def archive(members: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **members)
    return checked(file.getvalue())


def members() -> dict[str, Any]:
    with np.load(io.BytesIO(FILE[:-CHECKSUM_BYTES])) as file:
        return dict(file)


def stated(**changes: Any) -> bytes:
    """The file with some fields of its statement replaced."""
    statement = json.loads(members()["statement"].tobytes()) | changes
    return archive(members() | {"statement": np.frombuffer(json.dumps(statement).encode(), np.uint8)})


def compressed() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **members() | dict.fromkeys(("value", "error", "deviation"), np.zeros(10**6)))
    return checked(file.getvalue())


def endless() -> bytes:
    """A header that announces an array of a terabyte."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**37,)})
        target.writestr("value.npy", header.getvalue())
    return checked(file.getvalue())


STRANGE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "an empty archive": lambda: checked(b""),
    "text": lambda: checked(b"text"),
    "one array": lambda: checked(np.lib.format.magic(1, 0)),
    "missing value": lambda: archive({n: a for n, a in members().items() if n != "value"}),
    "missing error": lambda: archive({n: a for n, a in members().items() if n != "error"}),
    "missing statement": lambda: archive({n: a for n, a in members().items() if n != "statement"}),
    "extra member": lambda: archive(members() | {"shared": np.ones(7)}),
    "unknown array": lambda: stated(arrays=["deviation", "error", "more", "value"]),
    "another dtype": lambda: archive(members() | {"error": np.ones(7, np.float32)}),
    "another byte order": lambda: archive(members() | {"error": np.ones(7, ">f8")}),
    "another shape": lambda: archive(members() | {"error": np.ones(8)}),
    "objects": lambda: archive(members() | {"error": np.array([None] * 7, object)}),
    "lo of another shape": lambda: archive(members() | {"lo": np.ones(1)}),
    "another version": lambda: stated(version=2),
    "another key": lambda: stated(key=KEY[::-1]),
    "unknown dtype": lambda: stated(dtype="float7"),
    "dtype of an exact value": lambda: stated(dtype="int32"),
    "unknown precision": lambda: stated(precision={"storage": "float32"}),
    "unknown field": lambda: stated(more=1),
    "field of another type": lambda: stated(facts=[]),
    "compressed": compressed,
    "a terabyte": endless,
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_a_file_that_is_not_from_here_makes_the_reference_absent(content: Callable[[], bytes]) -> None:
    assert decode(KEY, content()) is None


def test_the_files_above_would_be_read_without_their_fault() -> None:
    read = decode(KEY, stated())
    assert read is not None
    assert identity(read) == identity(WHOLE)


class Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    objects = archive(members() | {"error": np.array([Trap(sprung)] * 7, object)})
    for content in (trap, checked(trap), objects):
        assert decode(KEY, content) is None
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists()
