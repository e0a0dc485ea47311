"""Shared by tests of several rooms: load cases or problems from text, and start with an empty cache of references."""

from collections.abc import Iterator
from textwrap import dedent

import pytest

from specs.case.case import Case
from specs.case.loading import load
from specs.case.problems import CaseFileError
from specs.reference import cache


@pytest.fixture
def cases_of(tmp_path):
    """A function that loads text as the file `cases/einsum/products.yaml` of a project."""

    def load_text(text: str) -> list[Case]:
        file = tmp_path / "cases" / "einsum" / "products.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return load(file, tmp_path)

    return load_text


@pytest.fixture
def problems_of(cases_of):
    """A function that returns the problems of a text as lines `line:column: message`."""

    def load_text(text: str) -> list[str]:
        with pytest.raises(CaseFileError) as raised:
            cases_of(text)
        return [f"{problem.line}:{problem.column}: {problem.message}" for problem in raised.value.problems]

    return load_text


@pytest.fixture
def nothing_in_memory() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()
