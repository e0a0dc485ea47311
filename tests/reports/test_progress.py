"""A long session says how far it is, and estimates what is left from what checks took before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reports import progress
from reports.progress import Progress


class Terminal:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text.strip())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"seconds": 1000.0}
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now["seconds"]))
    return now


def begin(plugin: Progress, *ids: str) -> None:
    plugin.pytest_collection_finish(SimpleNamespace(items=[SimpleNamespace(nodeid=id) for id in ids]))  # type: ignore[arg-type]


def finish(plugin: Progress, id: str, duration: float = 0.5) -> None:
    for when in ("setup", "call", "teardown"):
        report: Any = SimpleNamespace(nodeid=id, when=when, duration=duration)
        plugin.pytest_runtest_logreport(report)
    plugin.pytest_runtest_logfinish()


def test_the_line_weighs_checks_by_what_they_took_before(tmp_path: Path, clock: dict[str, float]) -> None:
    file, terminal = tmp_path / "durations.json", Terminal()
    file.write_text(json.dumps({"slow": 9.0, "fast": 1.0}))
    plugin = Progress(terminal, file)  # type: ignore[arg-type]
    begin(plugin, "slow", "fast")
    clock["seconds"] += 90
    finish(plugin, "slow")
    assert terminal.lines == ["1 of 2 checks after 1 min 30 s, about 10 s left"]


def test_an_unknown_check_counts_like_the_usual_one(tmp_path: Path, clock: dict[str, float]) -> None:
    terminal = Terminal()
    plugin = Progress(terminal, None)  # type: ignore[arg-type]
    begin(plugin, "a", "b", "c")
    clock["seconds"] += 60
    finish(plugin, "a")
    assert terminal.lines == ["1 of 3 checks after 1 min 0 s, about 2 min 0 s left"]


def test_a_line_comes_once_in_a_while_and_not_at_the_end(clock: dict[str, float]) -> None:
    terminal = Terminal()
    plugin = Progress(terminal, None)  # type: ignore[arg-type]
    begin(plugin, "a", "b", "c")
    finish(plugin, "a")
    assert terminal.lines == []
    clock["seconds"] += 70
    finish(plugin, "b")
    finish(plugin, "c")
    assert len(terminal.lines) == 1


def test_durations_are_kept_for_the_next_session(tmp_path: Path) -> None:
    file = tmp_path / "durations.json"
    file.write_text(json.dumps({"old": 2.0, "a": 9.0}))
    plugin = Progress(None, file)
    begin(plugin, "a", "b")
    finish(plugin, "a", 0.25)
    plugin.pytest_sessionfinish()
    assert json.loads(file.read_text()) == {"old": 2.0, "a": 0.25}


@pytest.mark.parametrize("text", ["", "[1]", '{"a": "x"}', '{"a": null}', '{"a": NaN}', '{"a": -1}', '{"a": 1e999}'])
def test_a_damaged_file_is_like_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "durations.json"
    file.write_text(text)
    assert Progress(None, file).earlier == {}
