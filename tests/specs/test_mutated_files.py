"""Whatever is in a case file or a file of deviations: it is read, or its mistakes are answered with their lines."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from random import Random

import pytest

from backends.discovery import registry
from specs.case import loading
from specs.case.loading import discover
from specs.case.problems import LONGEST_MESSAGE, CaseFileError
from specs.verdict import deviation
from specs.verdict.place import Place, iter_checks
from specs.verdict.statement import make_statement
from tests.support import ROOT
from tests.support.mutation import excerpt, mutate

PARTS, FILES = 10, 250  # of each part; a part that fails is run again alone
MOST_SECONDS = 5.0  # of CPU time, for one file
MOST_MEMORY = 2**20  # KiB that a part may add to the peak of the process
# What a line may end with, for a parser or an editor
LINE_ENDS = tuple(end.encode() for end in ("\n", "\r", "\x85", "\u2028", "\u2029"))


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return [registry.load_class(name).place("cpu") for name in registry.names()]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutated_file_is_read_or_its_mistakes_have_lines(part: int, places: list[Place], tmp_path: Path) -> None:
    sources = discover([ROOT / "cases", ROOT / "backends/deviations"], ROOT)
    random, answered, peak = Random(part), 0, _peak_memory()
    for _ in range(FILES):
        source = random.choice(sources)
        content = mutate(excerpt(source, random), random)
        file = tmp_path / source.parent.name / source.name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)  # after a failure it is still there
        started = time.process_time()
        try:
            _use(file, places)
        except CaseFileError as error:
            _check_answer(error, 1 + sum(map(content.count, LINE_ENDS)))
            answered += 1
        assert time.process_time() - started < MOST_SECONDS
    assert _peak_memory() - peak < MOST_MEMORY
    assert 0 < answered < FILES  # some edits change nothing that matters


def _use(file: Path, places: list[Place]) -> None:
    """Read a file as a session does, up to the checks of its cases."""
    if file.parent.name == "deviations":
        deviation.load(file)
        return
    for case in loading.load(file, file.parents[1], registry.declared_names()):
        list(iter_checks(case, places))
        make_statement(case)


def _check_answer(error: CaseFileError, last_line: int) -> None:
    assert error.problems
    for problem in error.problems:
        assert 1 <= problem.line <= last_line + 1  # the end of a file is after its last line
        assert problem.column >= 1
        assert 0 < len(problem.message) <= LONGEST_MESSAGE + 1


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
