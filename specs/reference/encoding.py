"""A reference as the bytes of a file: an npz archive of plain arrays, and behind it a checksum of the archive.

Nothing in such a file is executed.  Its arrays are `value` (of a double-double number `hi`, with `lo` beside it) and
those of error, deviation, shared and direction that the reference has; `statement` is JSON in UTF-8 and says the rest.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from specs.arithmetic.double_double import DoubleDouble
from specs.arithmetic.formats import DTYPES, Array, DType
from specs.arithmetic.precision import Precision
from specs.reference.reference import Reference

CHECKSUM_BYTES = hashlib.sha256().digest_size
BOUNDS = ("error", "deviation", "shared", "direction")


class Statement(BaseModel):
    """What a file says of a reference besides its arrays, whose names are `arrays`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    version: Literal[1] = 1
    key: str
    arrays: list[str]
    dtype: str
    precision: dict[str, str | bool] | None
    facts: dict[str, Any]
    signed: bool
    correlated_elements: float


def encode(key: str, reference: Reference) -> bytes | None:
    """The file of a reference; None if `decode` would not make the same reference of it."""
    arrays, precision = _arrays(reference), reference.precision
    try:
        statement = Statement(
            key=key,
            arrays=sorted(arrays),
            dtype=reference.dtype.name,
            precision=None if precision is None else precision.as_json(),
            facts=reference.facts,
            signed=reference.signed,
            correlated_elements=reference.correlated_elements,
        )
        text = json.dumps(statement.model_dump())
        is_same = Statement.model_validate(json.loads(text)) == statement  # of a tuple JSON makes a list
        if not is_same or not _fit(reference.dtype, arrays):
            return None
    except (TypeError, ValueError):  # facts that JSON does not know, bounds of another shape
        return None
    members: dict[str, Any] = {"statement": np.frombuffer(text.encode(), np.uint8), **arrays}
    archive = io.BytesIO()
    np.savez(archive, **members)
    return archive.getvalue() + hashlib.sha256(archive.getbuffer()).digest()


def decode(key: str, content: bytes) -> Reference | None:
    """The reference with this key that `encode` made a file of; None for any other content."""
    archive, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if hashlib.sha256(archive).digest() != checksum:
        return None
    try:
        return _decode(key, archive)
    except Exception:  # a right checksum over anything: zip, npy and JSON have no common error
        return None


def _decode(key: str, content: bytes) -> Reference | None:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        if sum(member.file_size for member in archive.zip.infolist()) > len(content):  # compressed: not from here
            return None
        arrays: dict[str, Array] = dict(archive)
    statement = Statement.model_validate(json.loads(arrays.pop("statement").tobytes()))
    dtype = DTYPES[statement.dtype]
    if statement.key != key or statement.arrays != sorted(arrays) or not _fit(dtype, arrays):
        return None
    value = arrays["value"]
    return Reference(
        dtype,
        DoubleDouble(value, arrays["lo"]) if "lo" in arrays else value,
        precision=None if statement.precision is None else Precision.from_json(statement.precision),
        facts=statement.facts,
        signed=statement.signed,
        correlated_elements=statement.correlated_elements,
        **{name: arrays.get(name) for name in BOUNDS},
    )


def _arrays(reference: Reference) -> dict[str, Array]:
    value = reference.value
    parts = {"value": value.hi, "lo": value.lo} if isinstance(value, DoubleDouble) else {"value": value}
    parts |= {name: getattr(reference, name) for name in BOUNDS}
    return {name: np.asarray(array) for name, array in parts.items() if array is not None}


def _fit(dtype: DType, arrays: dict[str, Array]) -> bool:
    """Whether they can be the arrays of a reference: of an exact dtype the value alone; else all float64, with bounds
    that broadcast to the value's shape.
    """
    value = arrays["value"]
    if not dtype.inexact:
        return set(arrays) == {"value"} and value.dtype == dtype.numpy
    return set(arrays) <= {"value", "lo", *BOUNDS} and all(
        array.dtype == np.float64 and np.broadcast_shapes(array.shape, value.shape) == value.shape
        for array in arrays.values()
    )
