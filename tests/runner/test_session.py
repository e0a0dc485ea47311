"""A session leaves all its results on disk and in the table, and fails where something must not go unnoticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest

from reports.read import read
from tests.support.project import PRODUCTS, Project, ids

# Results --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_check_ends_in_the_table_and_on_disk(project: Project, workers: str) -> None:
    project.write("cases/halves.yaml", PRODUCTS.replace("float64", "float16"))
    result = project.run("right wrong raising", "-n", workers, "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert {word: outcomes.get(word) for word in ("passed", "failed", "unsupported")} == {
        "passed": 4,
        "failed": 8,
        "unsupported": 12,
    }
    verdicts = {backend: {} for backend in ("right", "wrong", "raising")}
    for record in project.records().values():
        counts = verdicts[record["backend"]]
        counts[record["verdict"]] = counts.get(record["verdict"], 0) + 1
    assert verdicts == {
        "right": {"pass": 4, "unsupported": 4},
        "wrong": {"fail": 4, "unsupported": 4},
        "raising": {"fail": 4, "unsupported": 4},
    }
    facts = project.facts()
    assert facts["complete"]
    assert facts["exit_status"] == 1
    assert facts["verdicts"] == {"pass": 4, "deviation": 0, "unsupported": 12, "fail": 8, "error": 0}
    assert facts["packages"]["pytest"] == pytest.__version__
    assert facts["started"] <= facts["finished"]
    result.stdout.fnmatch_lines(
        [
            "backend *version *device *pass *deviation *unsupported *fail *error *worst ratio*",
            "right * cpu * 4 * 0 * 4 * 0 * 0 *",
            "wrong * cpu * 0 * 0 * 4 * 4 * 0 *",
            "unsupported",
            "page: *.conformance/runs/*-standard-right-wrong-raising/index.html",
        ]
    )
    suite = ElementTree.parse(project.path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("24", "8", "12")
    assert 'name="verdict" value="fail"' in (project.path / "junit.xml").read_text()


def test_integers_of_any_size_come_from_a_worker(project: Project) -> None:
    """execnet, which carries reports, cannot write an integer below -2**31."""
    smallest = (
        "kind: einsum\ncases: {sum: {equation: 'i->', operands: [[-9223372036854775808, 1.0]], dtypes: [float64]}}\n"
    )
    project.write("cases/smallest.yaml", smallest)
    assert project.run("right", "cases/smallest.yaml", "-n", "1").parseoutcomes()["passed"] == 2


def test_short_summaries(project: Project) -> None:
    project.run("right", "-q").stdout.fnmatch_lines(["backend *", "right *"])
    shortest = project.run("right", "-qq")
    assert "4 pass, 0 deviation, 0 unsupported, 0 fail, 0 error" in shortest.outlines
    assert "backend" not in shortest.stdout.str()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_session_that_stops_early_is_not_complete(project: Project, workers: str) -> None:
    project.run("wrong", "-x", "-n", workers)
    assert not project.facts()["complete"]
    assert 1 <= len(project.records()) < 4


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_killed_session_keeps_its_records(project: Project, workers: str) -> None:
    project.write("cases/more.yaml", PRODUCTS.replace("{i: 1}", ", ".join(f"{{i: {size}}}" for size in range(17, 77))))
    command = [sys.executable, "-m", "pytest", *project.arguments("slow", "-n", workers)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and sum(text.count("\n") for text in project.texts("records.jsonl")) < 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = project.records()
    assert 3 <= len(kept) < 60
    assert all(record["verdict"] == "pass" for record in kept.values())
    assert not project.facts()["complete"]


def test_a_run_replaces_only_one_whose_folder_is_named(project: Project) -> None:
    project.run("right")
    project.run("right", "-k", "transpose")
    assert sorted(text.count("\n") for text in project.texts("records.jsonl")) == [1, 4]
    for part in ("product", "transpose"):
        project.run("right", "-k", part, "--report=another")
    run = read(project.path / "another")
    assert [record["id"] for record in run.records()] == ids("transpose")
    assert run.facts["selection"]["keyword"] == "transpose"
    assert run.facts["complete"]


# What must not go unnoticed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "arguments", "failed"),
    [
        ("right absent", ["--backend", "right"], None),
        ("right", ["--require=right"], None),
        ("right absent", [], "absent had to run and could not: *absent*"),
        ("right broken", [], "broken had to run and could not: *undefined symbol*"),
        ("right homeless", [], "homeless had to run and could not: *no device*"),
        ("absent", [], "absent had to run and could not: *absent*"),
    ],
)
def test_required_backends(project: Project, names: str, arguments: list[str], failed: str | None) -> None:
    result = project.run(names, *arguments)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK)
    if failed:
        result.stdout.fnmatch_lines(["did not run", f"FAILED: {failed}"])
    if "right" in names:
        assert len(project.records()) == 4
        assert project.facts()["exit_status"] == result.ret


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["--dtype=float16"], 1, "all 4 checks are unsupported; of 4, right has no float16 on cpu"),
        (["--dtype=float16", "-n2"], 1, "all 4 checks are unsupported; of 4, right has no float16 on cpu"),
        (["--max-memory=1e-9"], 1, "all 4 checks are unsupported; of *, needs * GiB, and --max-memory is 1e-09 GiB*"),
        (["-k", "nothing"], 5, "no case has a check for --backend right -k 'nothing'"),
        (["--implementation=sdpa"], 5, "right has no implementation sdpa (it has einsum, einsum-again); *"),
    ],
    ids=str,
)
def test_a_session_in_which_nothing_was_computed_fails(
    project: Project, arguments: list[str], status: int, reason: str
) -> None:
    project.write("cases/products.yaml", PRODUCTS.replace("[float64]", "[float64, float16]"))
    if "float16" not in arguments[0]:
        project.write("cases/products.yaml", PRODUCTS)
    result = project.run("right", *arguments)
    assert result.ret == status
    result.stdout.fnmatch_lines([f"FAILED: nothing was computed: {reason.replace('[', '[[]')}"])
    if status == 1:
        assert '"color": "red"' in (project.folder / "badge.json").read_text()


def test_a_backend_that_was_asked_for_and_has_no_check_is_named(project: Project) -> None:
    text = (project.fakes / "right.py").read_text().replace('"right"', '"idle"')
    project.write("idle.py", text + "\n    directions = ()\n")
    result = project.run("right", "--adapter=idle.py", "--backend=idle")
    assert result.ret == pytest.ExitCode.OK
    assert "nothing was computed on idle: it states that it has no check of these cases" in result.outlines


def test_a_recorded_loss_of_precision_that_nothing_shows_is_stale_at_the_end_of_a_whole_run(project: Project) -> None:
    seen = project.run("lossy", "-n2")
    assert (seen.ret, seen.parseoutcomes()) == (pytest.ExitCode.OK, {"passed": 3, "deviation": 1})
    unseen = project.run("lossless", "-n2")
    assert (unseen.ret, unseen.parseoutcomes()) == (pytest.ExitCode.TESTS_FAILED, {"passed": 4})
    unseen.stdout.fnmatch_lines(["FAILED: stale deviation: *lossless.yaml:1 records *float32*remove it"])


@pytest.mark.parametrize(
    "part", [["-k", "not transpose"], ["cases/products.yaml::product"], ["--dtype=float64"]], ids=str
)
def test_a_part_of_a_run_says_nothing_about_stale_losses(project: Project, part: list[str]) -> None:
    assert project.run("lossless", *part).ret == pytest.ExitCode.OK


def test_a_deviation_of_a_case_that_is_gone_is_stale(project: Project) -> None:
    result = project.run("forgotten")
    assert (result.ret, result.parseoutcomes()) == (pytest.ExitCode.TESTS_FAILED, {"passed": 4})
    result.stdout.fnmatch_lines(["FAILED: stale deviation: *forgotten.yaml:1 names the case `products::renamed*`*"])
