"""The reference of a case for one dtype and declared precision: computed once, shared, and kept on disk if it was dear.

All backends of a worker share what is in memory; all workers and later runs share what is on disk.  The key is a hash
of everything that enters: the case's own statement, the dtype, the declared precision and the source of this package.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from specs import attention_bound, attention_gradient_bound, einsum, gradient, inputs
from specs.bound import Reference, rounded
from specs.case import AttentionConfig, Case, CaseError, EinsumConfig
from specs.comparison import components
from specs.double_double import DoubleDouble
from specs.formats import DTYPES, Array, DType
from specs.precision import Precision, declared

DEAR_SECONDS = 0.05  # cheaper references are computed again rather than read from a file
MEMORY_BYTES = 512 * 2**20

_memory: LRUCache[str, Reference] = LRUCache(MEMORY_BYTES, getsizeof=lambda reference: _bytes(reference))


def reference(
    case: Case,
    dtype_name: str,
    operands: Mapping[str, Array],
    precision: Precision | None,
    folder: Path | None = None,
    gradient_of: str | None = None,
) -> Reference:
    """What the case's result must be for these operands, and how far it may be off; or the gradient of one of them.

    `folder` keeps dear references between runs.  Raises CaseError where the case has no meaning, or where its literal
    expectation contradicts the formula.
    """
    dtype = DTYPES[dtype_name]
    key = _key(case, dtype, precision, gradient_of)
    found = _memory.get(key) or _read(folder, key)
    if found is not None:
        _remember(key, found)
        return found
    started = time.perf_counter()
    made: dict[str | None, Reference]
    if gradient_of is None:
        made = {None: _evaluate(case, dtype, operands, precision)}
        if case.config.expect is not None and case.config.expect.value is not None:
            _check_literal(case, dtype, made[None])
    else:  # a check asks for all of them
        assert precision is not None
        made = dict(_gradients(case, dtype, operands, precision).items())
    dear = time.perf_counter() - started > DEAR_SECONDS
    for name, each in made.items():
        key = _key(case, dtype, precision, name)
        _remember(key, each)
        if dear:
            _write(folder, key, each)
    return made[gradient_of]


def _evaluate(case: Case, dtype: DType, operands: Mapping[str, Array], precision: Precision | None) -> Reference:
    random = inputs.random_terms(case)
    if isinstance(case.config, EinsumConfig):
        return einsum.reference(case.config, dtype, list(operands.values()), precision, random)
    assert isinstance(case.config, AttentionConfig)
    if precision is None:
        raise CaseError("dtype", f"attention is not defined for {dtype.name}")
    return attention_bound.reference(case.config, dtype, operands, precision, random)


def _gradients(case: Case, dtype: DType, operands: Mapping[str, Array], precision: Precision) -> dict[str, Reference]:
    """Of every operand that has one."""
    cotangent, random = inputs.cotangent(case, dtype.name), inputs.random_terms(case)
    if isinstance(case.config, AttentionConfig):
        return attention_gradient_bound.references(case.config, dtype, operands, cotangent, precision, random)
    arrays, names = list(operands.values()), list(operands)
    return {
        name: gradient.reference(case.config, dtype, arrays, cotangent, names.index(name), precision, random)
        for name in inputs.differentiable(operands)
    }


def _check_literal(case: Case, dtype: DType, computed: Reference) -> None:
    """A stated value must be what the formula gives: exactly for integers, to float64's accuracy for others.

    Literals are decimal, so for inexact dtypes they are held against the formula on float64 operands; the backends are
    held against the formula on the operands that they really receive.
    """
    assert case.config.expect is not None
    # Integers as such, for not every one of 64 bits fits a float
    stated = np.array(case.config.expect.value, dtype.wide.numpy if dtype.inexact else object)
    if dtype.inexact:
        if dtype != dtype.wide:
            wide = inputs.operands(case, dtype.wide.name)
            computed = _evaluate(case, dtype.wide, wide, declared(dtype.wide))
        stated, value = components(stated), rounded(computed.value)
    else:
        value = np.asarray(computed.value).astype(object)
    if stated.shape != value.shape:
        raise CaseError("shape_mismatch", f"expect.value has shape {stated.shape}, the result has {value.shape}")
    if computed.error is None:
        wrong = np.asarray(stated != value)
    else:
        with np.errstate(invalid="ignore"):
            far = np.abs(stated - value) > computed.error + 2.0**-52 * np.abs(stated)
        same = (stated == value) | (np.isnan(stated) & np.isnan(value))
        wrong = np.where(np.isfinite(stated) & np.isfinite(value), far, ~same)
    if np.any(wrong):
        index = tuple(int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
        message = f"expect.value at {list(index)} is {stated[index]}, but the formula gives {value[index]}"
        raise CaseError("syntax", message)


# Keeping ----------------------------------------------------------------------------------------------------------


def _key(case: Case, dtype: DType, precision: Precision | None, gradient_of: str | None) -> str:
    parts = (_statement(case), dtype.name, repr(precision), repr(gradient_of), _source_digest(), np.__version__)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@lru_cache(maxsize=256)  # the checks of a case ask for it many times in a row
def _statement(case: Case) -> str:
    """The id and all that the case says of its computation; not as JSON, where infinities and NaN are all null."""
    said = case.config.model_dump(exclude={"about", "source", "weak", "dtypes", "modes", "implementations"})
    return f"{case.id}\0{said!r}"


@cache
def _source_digest() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _bytes(reference: Reference) -> int:
    value = reference.value
    size = value.hi.nbytes + value.lo.nbytes if isinstance(value, DoubleDouble) else value.nbytes
    others = (reference.error, reference.deviation, reference.shared, reference.direction)
    return size + sum(0 if each is None else each.nbytes for each in others) + 1024


def _remember(key: str, found: Reference) -> None:
    with suppress(ValueError):  # larger than the whole cache
        _memory[key] = found


def _read(folder: Path | None, key: str) -> Reference | None:
    if folder is None:
        return None
    try:
        return pickle.loads((folder / key).read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError):  # not there, or another worker was stopped while writing
        return None


def _write(folder: Path | None, key: str, found: Reference) -> None:
    if folder is None:
        return
    with suppress(OSError):  # a full disk costs time, not the run
        unfinished = folder / f"{key}.{time.perf_counter_ns()}"
        unfinished.write_bytes(pickle.dumps(found))
        unfinished.replace(folder / key)
