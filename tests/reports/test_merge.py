"""Shards and their union, with made-up records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from reports.read import read
from runner.sharding import Shard, parse
from tests.support.planted_runs import record, write

RECORDS = [record(f"sums::{number}", seconds=0.01 * number) for number in range(30)]


def shards(folder: Path, count: int = 3, **changed_facts: Any) -> list[str]:
    folders = []
    for index in range(1, count + 1):
        records = [record for record in RECORDS if Shard(index, count).has(record["id"])]
        selection = {"paths": ["cases"], "shard": f"{index}/{count}"}
        folders.append(str(write(folder / str(index), *records, selection=selection, **changed_facts)))
    return folders


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_check_is_in_exactly_one_shard(count: int) -> None:
    division = [Shard(index, count) for index in range(1, count + 1)]
    assert all(sum(shard.has(record["id"]) for shard in division) == 1 for record in RECORDS)


def test_shards_are_about_equal() -> None:
    sizes = [sum(Shard(index, 4).has(f"check {number}") for number in range(10_000)) for index in range(1, 5)]
    assert all(2350 < size < 2650 for size in sizes)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3"])
def test_an_invalid_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a shard is I/N"):
        parse(text)


def test_shards_become_the_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(tmp_path / "whole"), *shards(tmp_path)]) == 0
    whole = read(tmp_path / "whole")
    assert sorted(record["id"] for record in whole.records()) == sorted(record["id"] for record in RECORDS)
    assert whole.facts["complete"]
    assert "shard" not in whole.facts["selection"]
    assert whole.facts["verdicts"]["pass"] == 30
    assert [shard["shard"] for shard in whole.facts["shards"]] == ["1/3", "2/3", "3/3"]
    assert "30 pass" in capsys.readouterr().out


def test_a_missing_shard_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _, third = shards(tmp_path)
    assert main(["merge", str(tmp_path / "part"), first, third]) == 1
    assert "shard 2/3 is missing" in capsys.readouterr().out
    assert not read(tmp_path / "part").facts["complete"]


def test_a_shard_that_is_there_twice_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = shards(tmp_path)
    again = shutil.copytree(first, tmp_path / "again")
    assert main(["merge", str(tmp_path / "whole"), first, second, third, str(again)]) == 0
    expected = f"note: shard 1/3 is there 2 times, with the same results: {first}, {again}"
    assert expected in capsys.readouterr().out
    assert main(["merge", str(tmp_path / "part"), first, third, str(again)]) == 1
    assert "not whole: shard 2/3 is missing" in capsys.readouterr().out


def test_shards_on_different_processors_are_joined_and_each_record_states_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = shards(tmp_path, 2, processor="Zen")
    facts = json.loads((tmp_path / "2" / "run.json").read_text())
    facts["backends"]["jax"]["settings"] = {"simd": ["AVX512"]}
    (tmp_path / "2" / "run.json").write_text(json.dumps(facts | {"processor": "Xeon"}))
    assert main(["merge", str(tmp_path / "whole"), *folders]) == 0
    note = "note: bits may differ between processors: shard 1/2 on Zen, shard 2/2 on Xeon"
    assert note in capsys.readouterr().out
    whole = read(tmp_path / "whole")
    assert {name: host["processor"] for name, host in whole.facts["hosts"].items()} == {
        "shard 1/2": "Zen",
        "shard 2/2": "Xeon",
    }
    assert all(Shard(int(record["host"][6]), 2).has(record["id"]) for record in whole.records())


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"exit_status": 1}, {}, "shard 1/2 ended with exit status 1"),
        ({"silent_deviations": {"x": False}}, {"silent_deviations": {"x": False}}, "stale deviation: x; remove it"),
        ({"silent_deviations": {"x": False}}, {"silent_deviations": {"x": True}}, None),
    ],
)
def test_a_joined_run_fails_where_the_whole_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: dict, second: dict, reason: str | None
) -> None:
    folders = shards(tmp_path, 2)
    for folder, changes in zip(folders, (first, second), strict=True):
        facts = json.loads((Path(folder) / "run.json").read_text())
        (Path(folder) / "run.json").write_text(json.dumps(facts | changes))
    assert main(["merge", str(tmp_path / "whole"), *folders]) == bool(reason)
    assert read(tmp_path / "whole").facts["exit_status"] == bool(reason)
    printed = capsys.readouterr().out
    assert f"FAILED: {reason}" in printed if reason else "FAILED" not in printed


def test_a_shard_that_stopped_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = shards(tmp_path, complete=False)
    assert main(["merge", str(tmp_path / "part"), *folders]) == 1
    assert f"{folders[0]}: it is not complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"packages": {"jax": "0.8.2"}}, "packages.jax is '0.8.1' in one and '0.8.2' in the other"),
        ({"python": "3.12.0"}, "python is '3.11.7'"),
        ({"suite": {"cases": "b"}}, "suite"),
        ({"backends": {}}, "backends.jax is in one, and not in the other; a run has one environment"),
        ({"selection": {"paths": ["cases/a.yaml"], "shard": "2/2"}}, "selection.paths"),
        ({"selection": {"paths": ["cases"], "shard": "2/3"}}, "shards of different divisions: 1/2, 2/3"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: dict[str, Any], message: str
) -> None:
    one = write(tmp_path / "one", record(), selection={"paths": ["cases"], "shard": "1/2"})
    changed_facts = {"selection": {"paths": ["cases"], "shard": "2/2"}} | other
    another = write(tmp_path / "another", record("sums::2"), **changed_facts)
    with pytest.raises(SystemExit) as error:
        main(["merge", str(tmp_path / "out"), str(one), str(another)])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_overlapping_checks_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, same = write(tmp_path / "one", record()), write(tmp_path / "same", record(seconds=5.0))
    assert main(["merge", str(tmp_path / "out"), str(one), str(same)]) == 0
    assert len(list(read(tmp_path / "out").records())) == 1
    other = write(tmp_path / "other", record(digest="zz"))
    with pytest.raises(SystemExit):
        main(["merge", str(tmp_path / "again"), str(one), str(other)])
    assert "disagree on cases/products.yaml::matrix" in capsys.readouterr().err


def test_a_run_is_not_joined_into_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one", record())
    with pytest.raises(SystemExit):
        main(["merge", str(one), str(one)])
    assert "give another folder" in capsys.readouterr().err
    assert json.loads((one / "records.jsonl").read_text())["id"] == record()["id"]
