"""A selection is the same in every process, and in every session that is asked for the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.selection import Selection, read_support, select, supported_by
from specs.verdict.place import iter_checks
from tests.runner.test_tiers import FILE, PLACE, supported

FILES = {"cases/attention/file.yaml": FILE}


def test_a_selection_is_handed_on_as_text() -> None:
    selection = select("standard", FILES, [PLACE], supported, lambda backend: ())
    handed = Selection.from_json(json.loads(json.dumps(selection.as_json())))
    assert handed == selection
    for case in FILE:
        chosen = list(handed.of(case, "cases/attention/file.yaml", [PLACE]))
        assert 0 < len(chosen) < len(list(iter_checks(case, [PLACE])))


def test_a_file_that_was_not_chosen_from_runs_in_full() -> None:
    selection = select("standard", FILES, [PLACE], supported, lambda backend: ())
    assert list(selection.of(FILE[0], "elsewhere.yaml", [PLACE])) == list(iter_checks(FILE[0], [PLACE]))


def test_full_leaves_nothing_out() -> None:
    selection = select("full", FILES, [PLACE], supported, lambda backend: ())
    assert list(selection.of(FILE[0], "cases/attention/file.yaml", [PLACE])) == list(iter_checks(FILE[0], [PLACE]))


class TestSupport:
    """What is supported is what one of several environments supports."""

    CHECK = next(iter_checks(FILE[0], [PLACE]))

    def table(self, *names: str) -> dict[str, dict[str, list[str]]]:
        return {"fake": {str(self.CHECK.case.file): list(names)}}

    def test_what_is_lacking_everywhere_is_not_supported(self) -> None:
        assert not supported_by([self.table(self.CHECK.name), self.table(self.CHECK.name)])(self.CHECK)

    def test_what_one_environment_has_is_supported(self) -> None:
        assert supported_by([self.table(self.CHECK.name), self.table("another")])(self.CHECK)

    def test_an_unknown_file_or_backend_is_supported(self) -> None:
        assert supported_by([{"fake": {}}])(self.CHECK)
        assert supported_by([{}])(self.CHECK)

    def test_a_table_is_what_an_inventory_prints(self, tmp_path: Path) -> None:
        file = tmp_path / "support.json"
        file.write_text(
            "\n" + json.dumps({"backend": "fake", "status": "ready", "lacking": self.table()["fake"]}) + "\n"
        )
        assert read_support(str(file)) == self.table()

    @pytest.mark.parametrize("text", ["[]", "{}", "no JSON", '"text"'])
    def test_anything_else_is_refused_with_its_name(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "support.json"
        file.write_text(text)
        with pytest.raises(ValueError, match=r"support\.json: not what an inventory prints"):
            read_support(str(file))
        with pytest.raises(ValueError, match=r"absent\.json"):
            read_support(str(tmp_path / "absent.json"))
