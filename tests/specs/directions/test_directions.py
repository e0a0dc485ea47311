"""A direction is found by its file, and run on the backends that define its method."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import specs.directions
from backends.numpy import Numpy
from specs.case.einsum import EinsumConfig
from specs.verdict import direction
from specs.verdict.direction import DIRECTIONS
from specs.verdict.verdict import judge
from tests.support.checks import case_of, check_of

NEGATIVE = """
from dataclasses import replace

from specs.case.common import RESULT
from specs.directions.forward import _evaluate
from specs.arithmetic.formats import DTYPES
from specs.verdict.direction import Direction, Output


class Negative(Direction):
    method = "negate"

    def exists(self, case, dtype):
        return DTYPES[dtype].kind == "float"

    def outputs(self, check):
        return [Output(RESULT, check.case, role="negative of")]

    def references(self, case, dtype, operands, extra, precision):
        result = _evaluate(case, DTYPES[dtype], operands, precision)[RESULT]
        return {RESULT: replace(result, value=-result.value)}
"""


@pytest.fixture
def negative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more direction, `negative`."""
    (tmp_path / "negative.py").write_text(NEGATIVE)
    for name in ("forward", "grad"):
        (tmp_path / f"{name}.py").write_bytes((direction.FOLDER / f"{name}.py").read_bytes())
    monkeypatch.setattr(direction, "FOLDER", tmp_path)
    monkeypatch.setattr(specs.directions, "__path__", [*specs.directions.__path__, str(tmp_path)])
    direction._names.cache_clear()
    yield
    direction._names.cache_clear()


def negating(factor: float) -> type[Numpy]:
    class Negating(Numpy):
        def negate(self, computation: Callable[..., Any], *_: Any) -> Callable[..., Any]:
            return lambda operands: factor * computation(operands)

    return Negating


@pytest.mark.usefixtures("negative")
def test_a_new_file_is_a_direction_of_the_backends_that_define_its_method() -> None:
    assert list(DIRECTIONS) == ["forward", "grad", "negative"]
    assert Numpy.directions == ("forward",)
    assert negating(-1.0).directions == ("forward", "negative")
    check = check_of(case_of(EinsumConfig(equation="ij,jk->ik", shapes=[[2, 3], [3, 4]])), direction="negative")
    assert judge(check, negating(-1.0)(), "id", "again", ()).verdict == "pass"
    wrong = judge(check, negating(1.0)(), "id", "again", ())
    assert wrong.verdict == "fail"
    assert wrong.reason.startswith("negative of result: 8 of 8 values are outside the error bound")


def test_a_direction_may_be_stated_to_be_lacking() -> None:
    class Stated(negating(1.0)):  # type: ignore[misc]
        directions = ("forward",)

    assert Stated.directions == ("forward",)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_direction_is_called_like_its_file(name: str) -> None:
    assert DIRECTIONS[name].name == name
