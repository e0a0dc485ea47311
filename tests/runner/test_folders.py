"""Where runs go: no run destroys another, an unusable folder is refused at once, and what is recorded stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports import folders
from reports.read import read
from tests.support.project import NAMES, Project, ids


@pytest.fixture
def alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which the only backends are fakes, so that a run of all of them is whole."""
    project.write(
        "only.py",
        """
def pytest_configure():
    from backends.discovery import registry
    registry._own_files = lambda: {}
""",
    )
    return project


def run_all(project: Project, *arguments: str, names: str = "right") -> pytest.RunResult:
    options = project.arguments(names, "-p", "only", *arguments)
    return project.prepared.pytest(project.path, *(word for word in options if word != f"--backend={names}"))


def runs(project: Project) -> list[str]:
    """The names of the runs that are kept, without their times."""
    kept = project.path / ".conformance" / "runs"
    return sorted(folder.name.partition("-")[2].partition(".")[0] for folder in kept.iterdir())


# Runs and the last whole one ------------------------------------------------------------------------------------------


def test_latest_is_the_last_whole_run_and_a_rerun_of_one_check_leaves_it(alone: Project) -> None:
    latest = alone.path / ".conformance" / "latest"
    run_all(alone, "-k", "product")
    assert not latest.exists()
    run_all(alone)
    whole = latest.resolve()
    assert len(list(read(latest).records())) == 4
    assert os.readlink(latest) == f"runs/{whole.name}"
    for part in (ids("product"), ["-k", "transpose"], ["--tier=smoke"], ["--shard=1/2"], ["--dtype=float64"], ["-x"]):
        run_all(alone, *part, names="wrong" if part == ["-x"] else "right")
        assert latest.resolve() == whole
        assert len(list(read(latest).records())) == 4
    run_all(alone, "--tier=full")
    assert latest.resolve() != whole


def test_names_say_what_ran(alone: Project) -> None:
    run_all(alone, "--tier=full", "--dtype=float64", "-k", "product or transpose", "--shard=1/1")
    run_all(alone, "cases/products.yaml")
    run_all(alone, ids("long_sums/16")[0])
    assert runs(alone) == [
        "full-float64-product_or_transpose-shard_1_1",
        "standard-long_sums_16_right_cpu_einsum_eager_float64",
        "standard-products",
    ]


def test_the_newest_runs_are_kept_and_always_the_latest(alone: Project) -> None:
    run_all(alone)
    whole = (alone.path / ".conformance" / "latest").resolve()
    old = whole.rename(whole.with_name("20010101T000000-standard"))
    (alone.path / ".conformance" / "latest").unlink()
    (alone.path / ".conformance" / "latest").symlink_to(f"runs/{old.name}")
    for day in range(10, 24):
        shutil.copytree(old, old.with_name(f"200201{day}T000000-standard"))
        shutil.copytree(old, old.with_name(f"200201{day}T000000-standard-product"))
    (old.with_name("20020110T000000-standard-product") / "notes.txt").write_text("mine")
    run_all(alone, "-k", "product")
    assert old.exists()
    assert (old.with_name("20020110T000000-standard-product") / "notes.txt").exists()
    kept = [name for name in runs(alone) if name == "standard"]
    parts = [name for name in runs(alone) if name == "standard-product"]
    assert (len(kept), len(parts)) == (folders.KEPT + 1, folders.KEPT + 1)


def test_two_sessions_at_once_share_no_folder(project: Project) -> None:
    command = [sys.executable, "-m", "pytest", *project.arguments("slow", "-n", "0")]
    sessions = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [session.wait(timeout=60) for session in sessions] == [0, 0]
    assert [text.count("\n") for text in project.texts("records.jsonl")] == [4, 4]


def test_a_folder_in_which_another_session_writes_is_refused(project: Project) -> None:
    command = [sys.executable, "-m", "pytest", *project.arguments("slow", "-n", "0", "--report=shared")]
    session = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (project.path / "shared" / "records.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    refused = project.run("right", "--report=shared")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: --report: *shared is being written by another session: name another folder"])
    assert session.wait(timeout=60) == 0
    assert len(list(read(project.path / "shared").records())) == 4


def test_a_session_that_fails_before_its_first_record_leaves_no_earlier_run_where_its_own_is_looked_for(
    project: Project,
) -> None:
    project.write("failing.py", "def pytest_collection_finish(): raise RuntimeError")
    for arguments, status in (
        (["-k", "nothing"], pytest.ExitCode.NO_TESTS_COLLECTED),
        (["-p", "failing", "-n", "0"], pytest.ExitCode.INTERNAL_ERROR),
        (["-p", "failing", "-n", "1"], pytest.ExitCode.INTERRUPTED),  # no worker is left
    ):
        assert project.run("right", "--report=mine").ret == pytest.ExitCode.OK
        assert project.run("right", "--report=mine", *arguments).ret == status
        run = read(project.path / "mine")
        assert (run.facts["complete"], run.facts["exit_status"], list(run.records())) == (False, status, [])
        assert '"color": "red"' in (project.path / "mine" / "badge.json").read_text()
    project.run("right", "--report=mine")
    assert project.run("right", "--report=mine", "--device=cuda:9").ret == pytest.ExitCode.USAGE_ERROR
    assert not list((project.path / "mine").iterdir())


@pytest.mark.parametrize("folder", [".conformance", ".conformance/latest", ".conformance/runs/mine", "link"])
def test_a_folder_among_those_that_sessions_keep_is_refused(alone: Project, folder: str) -> None:
    run_all(alone)
    (alone.path / "link").symlink_to(alone.path / ".conformance" / "latest")
    refused = run_all(alone, f"--report={folder}", "-k", "product")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: --report: * is where sessions keep runs by themselves: name a folder *"])
    assert len(list(read(alone.path / ".conformance" / "latest").records())) == 4


# Folders that cannot be used ------------------------------------------------------------------------------------------


def test_a_folder_that_holds_anything_else_is_never_cleared(project: Project) -> None:
    (project.path / "index.html").write_text("a web site")
    for folder in (".", "cases"):
        result = project.run("right", f"--report={folder}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: --report: * holds *, which is not of a run: name an empty folder, *"])
        assert not project.imported.exists()
    assert (project.path / "index.html").read_text() == "a web site"


@pytest.mark.parametrize("name", ["index.html", "run.json", "summary.md"])
def test_files_of_others_with_the_names_of_ours_are_kept(project: Project, name: str) -> None:
    (project.path / "site").mkdir()
    (project.path / "site" / name).write_text('{"name": "mine"}')
    assert project.run("right", "--report=site").ret == pytest.ExitCode.USAGE_ERROR
    assert (project.path / "site" / name).read_text() == '{"name": "mine"}'


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", "Not a directory|File exists"),
        ("file/below", "Not a directory|File exists"),
        ("/proc/report", "No such file.*"),
        ("x" * 300, "File name too long"),
    ],
    ids=["a file", "below a file", "where nothing can be made", "too long a name"],
)
def test_a_folder_that_cannot_be_made_is_told_before_the_first_check(
    project: Project, folder: str, reason: str
) -> None:
    (project.path / "file").touch()
    result = project.run("right", f"--report={folder}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([f"ERROR: --report: .* cannot be written: ({reason})"])
    assert not project.imported.exists()


@pytest.fixture
def small(project: Project) -> Iterator[Path]:
    """A file system of 256 KiB, mounted in the project; without the right to mount there is no test of it."""
    folder = project.path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_before_the_first_check(project: Project, small: Path) -> None:
    (small / "ballast").write_bytes(b"\0" * 250_000)
    result = project.run("right", "--report=small/run")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --report: *small/run cannot be written: No space left on device"])


FILLING = """
import errno
from reports.stream import Stream

write = Stream._write

def fill(self, report):
    if hasattr(report, "conformance") and self.verdicts.total() == 2:
        self.files[0].write('{"schema": 1, "id": "cut')
        raise OSError(errno.ENOSPC, "No space left on device")
    write(self, report)

Stream._write = fill
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_disk_that_fills_stops_the_session_and_what_is_recorded_is_readable(project: Project, workers: str) -> None:
    project.write("filling.py", FILLING)
    result = project.run("right", "-p", "filling", "-n", workers)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    message = "* cannot be written: No space left on device; what was recorded before is readable"
    result.stdout.fnmatch_lines([f"FAILED: {message}"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    run = read(project.folder)
    assert (len(list(run.records())), run.truncated, run.facts["complete"]) == (2, True, False)
    assert "its process died" not in project.run("right").stdout.str()


def test_a_file_system_that_really_fills(project: Project, small: Path) -> None:
    project.write("cases/more.yaml", (project.path / "cases" / "products.yaml").read_text().replace(
        "{i: 1}", ", ".join(f"{{i: {size}}}" for size in range(17, 400))))  # fmt: skip
    result = project.run("right", "--report=small/run", "-n", "0", "cases/more.yaml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["FAILED: *small/run cannot be written: No space left on device; what *"])
    result.stdout.fnmatch_lines(["FAILED to write index.html: No space left on device", "  what was recorded before *"])
    assert "complete" not in result.stdout.str()
    assert len(list(read(small / "run").records())) > 50


def test_a_case_file_whose_name_is_not_utf_8_is_told_before_the_first_check(project: Project) -> None:
    name = os.fsdecode(b"caf\xe9.yaml")
    shutil.copy(project.path / "cases" / "products.yaml", project.path / "cases" / name)
    result = project.run("right")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *cases/caf\\udce9.yaml: the name of this file is not printable UTF-8: *"])


def test_a_report_folder_whose_name_is_not_utf_8_works(project: Project) -> None:
    name = os.fsdecode(b"r\xe9port")
    assert project.run("right", f"--report={name}").ret == pytest.ExitCode.OK
    assert len(list(read(project.path / name).records())) == len(NAMES)


# Without what is usual ------------------------------------------------------------------------------------------------


def test_where_links_cannot_be_made_latest_is_a_file(alone: Project) -> None:
    alone.write("unlinked.py", "import pathlib\ndef no(*_): raise OSError\npathlib.Path.symlink_to = no\n")
    run_all(alone, "-p", "unlinked")
    latest = alone.path / ".conformance" / "latest"
    assert latest.is_file()
    assert len(list(read(latest).records())) == 4


def test_without_xdist_a_session_works_and_workers_are_refused(project: Project) -> None:
    assert project.run("right", "-p", "no:xdist").ret == pytest.ExitCode.OK
    for words in ("-n 2", "--tx popen"):
        result = project.run("right", "-p", "no:xdist", *words.split())
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        expected = f"ERROR: {words} needs pytest-xdist, installed and not turned off by -p no:xdist"
        result.stderr.fnmatch_lines([expected])


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_users_own_interrupt_stops_the_session(project: Project, workers: str) -> None:
    command = [sys.executable, "-m", "pytest", *project.arguments("slow", "-n", workers)]
    session = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and sum(text.count("\n") for text in project.texts("records.jsonl")) < 1:
        time.sleep(0.02)
    os.killpg(session.pid, signal.SIGINT)
    session.communicate(timeout=60)
    assert session.returncode == pytest.ExitCode.INTERRUPTED
    assert not project.facts()["complete"]
    assert all(record["verdict"] == "pass" for record in project.records().values())
