"""Whether a case can be computed as it is written: literal numbers that their dtypes hold, arrays that can be made.

A number that a dtype cannot hold would wrap around, be cut off or become infinite on its way to a backend, and the case
would compute something else than it says.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator, Sequence

import numpy as np

from specs.arithmetic.formats import DTYPES, DType, round_to
from specs.case import yaml12
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.common import Numbers
from specs.case.einsum import MAX_OPERANDS
from specs.case.equation import Shape, bind
from specs.case.error import CaseError
from specs.case.model import MAX_RANK
from specs.case.shapes import attention_output_shape, einsum_shapes, literal_shape

Misstatement = tuple[yaml12.Path, str]  # the path of a value within its case, and what is wrong with it
Scalar = int | float | bool | complex


def find_misstatements(config: Config) -> Iterator[Misstatement]:
    """What cannot be computed as it is written; of each literal array the first number that is wrong."""
    if not isinstance(config, AttentionConfig):
        if config.operand_count > MAX_OPERANDS:
            reason = f"expected at most {MAX_OPERANDS}, because the bound looks at every group of them"
            yield ("equation",), f"equation has {config.operand_count} operands ({reason})"
        if (rank := _highest_rank(config.equation)) > MAX_RANK:
            yield ("equation",), f"a term of the equation has {rank} axes (expected at most {MAX_RANK})"
    own = getattr(config, "operand_dtypes", None)
    for index, (path, literal) in enumerate(_literals(config)):
        names = config.dtypes if own is None or path[0] == "expect" else own[index : index + 1]
        yield from _misstatements(literal, path, names)
    yield from _wrong_shape(config)


def _highest_rank(equation: str) -> int:
    """The labels of the longest term."""
    return max(sum(map(str.isalpha, term)) for term in equation.replace("->", ",").split(","))


def _literals(config: Config) -> Iterator[tuple[yaml12.Path, Numbers]]:
    """The literal operands, in their order, and the expected value."""
    stated: list[tuple[yaml12.Path, Numbers | None]]
    if isinstance(config, AttentionConfig):
        stated = [((name,), getattr(config, name)) for name in ("query", "key", "value")]
    else:
        stated = [(("operands", index), operand) for index, operand in enumerate(config.operands or [])]
    if config.expect:
        stated.append((("expect", "value"), config.expect.value))
    yield from ((path, literal) for path, literal in stated if literal is not None)


def _misstatements(literal: Numbers, path: yaml12.Path, dtypes: Sequence[str]) -> Iterator[Misstatement]:
    try:
        rank = len(literal_shape(literal))
    except CaseError:
        yield path, "the rows of these nested lists differ in length (expected an array)"
        return
    if rank > MAX_RANK:
        yield path, f"this array has {rank} axes (expected at most {MAX_RANK})"
    for place, number in _scalars(literal, path):
        if problem := next(filter(None, (_problem(number, DTYPES[name]) for name in dtypes)), None):
            yield place, problem
            return


def _scalars(literal: Numbers, path: yaml12.Path) -> Iterator[tuple[yaml12.Path, Scalar]]:
    if isinstance(literal, list):
        for index, item in enumerate(literal):
            yield from _scalars(item, (*path, index))
    else:
        yield path, literal


def _problem(number: Scalar, dtype: DType) -> str | None:
    """Why an element of this dtype cannot be this number; None if it can, or is the nearest to it."""
    if isinstance(number, complex) and dtype.kind != "complex":
        text = str(number).strip("()")
        return f"{text} is a complex number, which {dtype.name} cannot hold (list complex dtypes only)"
    if dtype.format is not None:
        rounded = round_to([number.real, number.imag], dtype.format)
        if np.isinf(rounded).any() and cmath.isfinite(number):
            return f"{number} is beyond {dtype.name} (its largest number is {dtype.format.max:g})"
        return None
    assert not isinstance(number, complex)
    if dtype.kind == "boolean":
        return None if number in (0, 1) else f"{number} is no value of bool (expected true or false)"
    limits = np.iinfo(dtype.numpy)
    if not math.isfinite(number) or number != int(number):
        return f"{number} is not a whole number, and {dtype.name} has no others"
    if not limits.min <= number <= limits.max:
        return f"{number} is beyond {dtype.name} (expected {limits.min} to {limits.max})"
    return None


def _wrong_shape(config: Config) -> Iterator[Misstatement]:
    """An expected value of another shape than the result; of an invalid case nothing is known."""
    if config.expect is None or config.expect.value is None:
        return
    try:
        stated, shape = literal_shape(config.expect.value), _output_shape(config)
    except CaseError:
        return
    if stated != shape:
        yield ("expect", "value"), f"expect.value has shape {stated}, but the result has {shape}"


def _output_shape(config: Config) -> Shape:
    if isinstance(config, AttentionConfig):
        return attention_output_shape(config)
    return bind(config.equation, list(einsum_shapes(config).values())).output_shape
