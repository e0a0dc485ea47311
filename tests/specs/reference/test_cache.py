"""A reference is evaluated once, and again when anything that it depends on changes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import specs
from specs.arithmetic.formats import DTYPES
from specs.arithmetic.precision import declared_precision
from specs.case.case import Case
from specs.directions import forward
from specs.reference import cache
from specs.reference.encoding import decode
from specs.reference.reference import Reference
from specs.verdict import execution
from tests.support.fake_backend import Fake
from tests.support.small_product import RIGHT, judge_product, make_config, product

pytestmark = pytest.mark.usefixtures("nothing_in_memory")

# In memory and on disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each evaluation of a reference; all count as expensive."""
    counted: list[str] = []
    evaluate = forward._evaluate
    monkeypatch.setattr(cache, "EXPENSIVE_SECONDS", -1.0)
    monkeypatch.setattr(execution, "CHEAP_SECONDS", -1.0)  # no call is made on other values
    monkeypatch.setattr(forward, "_evaluate", lambda case, *rest: (counted.append(case.id), evaluate(case, *rest))[1])
    return counted


def test_a_reference_is_evaluated_once_in_memory(evaluations: list[str]) -> None:
    assert [judge_product(b).verdict for b in (RIGHT, RIGHT)] == ["pass", "pass"]
    assert len(evaluations) == 1
    judge_product(RIGHT, dtype="float64")
    judge_product(Fake(product, formats={"multiply": "tf32"}))
    assert len(evaluations) == 3


def test_a_reference_on_disk_is_read_by_the_next_process(evaluations: list[str], tmp_path: Path) -> None:
    first = judge_product(RIGHT, work=tmp_path)
    cache.clear()
    second = judge_product(RIGHT, work=tmp_path)
    assert len(evaluations) == 1
    assert second.measurement == first.measurement
    assert len(list(tmp_path.iterdir())) == 1


def test_another_statement_of_the_case_has_another_reference(evaluations: list[str], tmp_path: Path) -> None:
    for number in (np.inf, -np.inf, np.nan, 1.0):
        changed = make_config(equation="i->i", shapes=None, operands=[[number]])
        assert judge_product(Fake(np.copy), changed, work=tmp_path).verdict == "pass"
        cache.clear()
    assert len(evaluations) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_damaged_file_is_evaluated_anew(evaluations: list[str], tmp_path: Path, dtype: str) -> None:
    judge_product(RIGHT, dtype=dtype, work=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 97)] + [b"no archive at all", whole[1:], b"\xff" * 99]
    for content in damaged:
        cache.clear()
        file.write_bytes(content)
        assert judge_product(RIGHT, dtype=dtype, work=tmp_path).verdict == "pass"
        assert file.read_bytes() == whole
    assert len(evaluations) == 1 + len(damaged)
    assert decode(file.stem, whole) is not None


def test_a_damaged_file_is_gone_even_if_nothing_takes_its_place(
    evaluations: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_product(RIGHT, work=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"no archive at all")
    cache.clear()
    monkeypatch.setattr(cache, "EXPENSIVE_SECONDS", 1e9)
    assert judge_product(RIGHT, work=tmp_path).verdict == "pass"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "megabytes", "stored"),
    [(0.04, 0.001, False), (0.06, 0.001, True), (0.06, 2, False), (0.08, 2, True), (60, 15, True), (60, 17, False)],
)
def test_a_reference_is_on_disk_if_reading_is_faster_than_computing(
    tmp_path: Path, seconds: float, megabytes: float, stored: bool
) -> None:
    dtype = DTYPES["float32"]
    value = np.zeros(int(megabytes * 2**20 / 8) - 128)
    cache.store({"ab" * 32: Reference(dtype, value, precision=declared_precision(dtype))}, seconds, tmp_path)
    assert bool(list(tmp_path.iterdir())) is stored
    cache.clear()
    assert (cache.find("ab" * 32, tmp_path) is not None) is stored


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(evaluations: list[str], tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    for folder in (tmp_path / "not there", tmp_path / "a file"):
        assert judge_product(RIGHT, work=folder).verdict == "pass"
        cache.clear()
    assert len(evaluations) == 2


# Another source -------------------------------------------------------------------------------------------------------

ROOMS = ("arithmetic", "bound", "case", "directions", "inputs", "reach", "reference", "verdict")


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    """A copy of all rooms, to be edited."""
    yield shutil.copytree(cache.SPECS, tmp_path / "specs", ignore=shutil.ignore_patterns("__pycache__"))
    cache.source_digest.cache_clear()


def digest(folder: Path) -> str:
    """As a process makes it that starts now."""
    cache.source_digest.cache_clear()
    return cache.source_digest(folder)


def key() -> str:
    """Of one reference, in a process that starts now."""
    cache.source_digest.cache_clear()
    case, dtype = Case("einsum/t::c", "c", Path("t.yaml"), 3, make_config()), DTYPES["float32"]
    return cache.key(case, dtype, declared_precision(dtype), "forward")


def edit(file: Path) -> None:
    with file.open("a") as source:
        source.write("# edited\n")


def test_every_room_is_among_those_that_are_edited_here() -> None:
    assert sorted(ROOMS) == sorted(file.parent.name for file in cache.SPECS.glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_an_edit_of_any_file_in_a_room_changes_the_digest(copied: Path, room: str) -> None:
    files = sorted((copied / room).rglob("*.py"))
    digests = {digest(copied)}
    for file in files:
        whole = file.read_bytes()
        edit(file)
        digests.add(digest(copied))
        file.write_bytes(whole)
    assert len(digests) == 1 + len(files) > 2
    assert digest(copied) in digests


@pytest.mark.parametrize("room", ROOMS)
def test_a_file_that_is_added_renamed_or_removed_changes_the_digest(copied: Path, room: str) -> None:
    before = digest(copied)
    added = copied / room / "added.py"
    added.touch()
    assert digest(copied) != before
    added.unlink()
    assert digest(copied) == before
    file = next(file for file in sorted((copied / room).glob("*.py")) if file.stat().st_size)
    renamed = file.rename(file.with_stem(f"{file.stem}_"))  # which keeps its place in the sorted order
    assert digest(copied) != before
    renamed.unlink()
    assert digest(copied) != before


def test_the_key_covers_the_package_that_runs(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(str(specs.__file__)).resolve().parent == cache.SPECS
    keys = [key()]
    monkeypatch.setattr(cache, "SPECS", copied)
    assert key() == keys[0]  # the same source, wherever it lies
    for room in ROOMS:
        edit(copied / room / "__init__.py")
        keys.append(key())
    assert len(set(keys)) == 1 + len(ROOMS)


def test_a_reference_that_another_source_made_is_evaluated_anew(
    evaluations: list[str], copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work, edited = tmp_path / "work", copied / "bound" / "einsum.py"
    work.mkdir()
    monkeypatch.setattr(cache, "SPECS", copied)

    def in_another_process() -> int:
        cache.clear()
        cache.source_digest.cache_clear()
        assert judge_product(RIGHT, work=work).verdict == "pass"
        return len(evaluations)

    whole = edited.read_bytes()
    assert [in_another_process(), in_another_process()] == [1, 1]
    edit(edited)
    assert in_another_process() == 2
    edited.write_bytes(whole)
    assert in_another_process() == 2  # the first one is still there
