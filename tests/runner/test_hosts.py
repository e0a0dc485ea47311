"""Workers on other hosts and interpreters: they compute a part of the run, or are refused in a sentence.

A script stands in for ssh: it runs the command here, in a folder of its own for each host.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.project import ADAPTER, NAMES, Project, ids

SSH = """\
#!/bin/sh
for command; do host=$before; before=$command; done
[ "$host" = unreachable -o -e {hosts}/$host.lost ] && exit 255
mkdir -p {hosts}/$host && cd {hosts}/$host && PYTHONPATH={hosts}/$host:$PYTHONPATH exec sh -c "$command"
"""
PYTHON = f"python={sys.executable}"
OTHER = "Metadata-Version: 2.1\nName: torch\nVersion: 0.0.1\n"


@pytest.fixture
def hosts(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders of the hosts; ssh reaches all of them, but for the one that is `unreachable`."""
    (tmp_path / "ssh").write_text(SSH.format(hosts=tmp_path))
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("right", "aborting"):
        shutil.copy(project.fakes / f"{name}.py", project.path)
    return tmp_path


def session(project: Project, *arguments: str, adapter: str = "right.py") -> pytest.RunResult:
    cache = f"cache_dir={project.fakes / 'cache'}"
    return project.prepared.pytest(
        project.path, "-o", cache, f"--adapter={adapter}", f"--backend={Path(adapter).stem}", *arguments
    )


def test_hosts_share_a_session_and_each_record_states_its_own(project: Project, hosts: Path) -> None:
    copied = (f"--rsyncdir={project.path}", str(project.path / "cases"))
    result = session(project, "--tx", f"ssh=me@alpha//{PYTHON}", "--tx", f"2*ssh=beta//{PYTHON}", *copied)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["workers: alpha: 1 on * with * cores, beta: 2 on * with * cores"])
    records, stated = project.records(), project.facts()["hosts"]
    assert sorted(records) == sorted(ids(*NAMES))
    assert {name: (host["workers"], bool(host["processor"])) for name, host in stated.items()} == {
        "alpha": (1, True),
        "beta": (2, True),
    }
    assert {record["host"] for record in records.values()} <= stated.keys()
    assert [record["again"] for record in records.values()] == [
        f"pytest '{id}' --adapter=right.py --backend=right" for id in records
    ]


def test_a_worker_that_dies_elsewhere_costs_one_check_and_names_its_host(project: Project, hosts: Path) -> None:
    copied = (f"--rsyncdir={project.path}", str(project.path / "cases"))
    session(project, "--tx", f"ssh=alpha//{PYTHON}", "--mode=eager", *copied, adapter="aborting.py")
    verdicts = {id: record["verdict"] for id, record in project.records().items()}
    (transpose,) = ids("transpose", backend="aborting")
    assert verdicts == dict.fromkeys(ids(*NAMES, backend="aborting"), "pass") | {transpose: "error"}
    assert "worker process on alpha died" in project.records()[transpose]["reason"]


LOSING = """
if 'alpha' in os.getcwd():
                open({lost!r}, 'w').close()
                os._exit(1)
            time.sleep(0.5)
"""


@pytest.mark.parametrize("others", [[], ["--tx", "popen"], ["--tx", f"ssh=beta//{PYTHON}"]], ids=str)
def test_a_host_that_is_lost_costs_one_check_or_the_session_says_that_none_is_left(
    project: Project, hosts: Path, others: list[str]
) -> None:
    body = LOSING.format(lost=str(hosts / "alpha.lost")).strip()
    text = ADAPTER.format(name="right", distribution="numpy", start="pass", body=body, devices=["cpu"])
    project.write("right.py", text)
    copied = (f"--rsyncdir={project.path}", str(project.path / "cases"))
    result = session(project, "--tx", f"ssh=alpha//{PYTHON}", *others, *copied, "--mode=eager")
    reasons = [record["reason"] for record in project.records().values() if record["verdict"] == "error"]
    assert reasons == ["its worker process on alpha died while running it (how is not known)"]
    printed = result.stdout.str() + result.stderr.str()
    assert "alpha is lost: no worker can be started there any more" in printed
    assert "INTERNALERROR" not in printed
    assert (result.ret, len(project.records()), project.facts()["complete"]) == (
        (pytest.ExitCode.TESTS_FAILED, 4, True) if others else (pytest.ExitCode.INTERRUPTED, 1, False)
    )


def test_a_lost_host_is_not_waited_for_again(project: Project, hosts: Path) -> None:
    body = LOSING.format(lost=str(hosts / "alpha.lost")).strip().replace("0.5", "0.1")
    text = ADAPTER.format(name="right", distribution="numpy", start="pass", body=body, devices=["cpu"])
    project.write("right.py", text)
    sizes = ", ".join(f"{{i: {size}}}" for size in range(1, 13))
    project.write("cases/sums.yaml", f"kind: einsum\ncases: {{sums: {{equation: 'i->', sweep: {{sizes: [{sizes}]}}}}}}")
    (hosts / "ssh").write_text((hosts / "ssh").read_text().replace("&& exit", f"&& echo >> {hosts}/failures && exit"))
    selected = ("--implementation=einsum", "--dtype=float64", "--mode=eager", str(project.path / "cases" / "sums.yaml"))
    workers = ("--tx", f"2*ssh=alpha//{PYTHON}", "--tx", "popen", f"--rsyncdir={project.path}")
    session(project, *workers, *selected)
    assert project.facts()["complete"]
    assert project.facts()["verdicts"]["error"] == 2
    assert (hosts / "failures").read_text() == "\n"


def test_ssh_ends_where_its_host_falls_silent(project: Project, hosts: Path) -> None:
    (hosts / "ssh").write_text((hosts / "ssh").read_text().replace("mkdir", f'echo "$*" >> {hosts}/calls; mkdir'))
    copied = (f"--rsyncdir={project.path}", str(project.path / "cases"))
    session(project, "--tx", f"ssh=alpha//{PYTHON}", *copied, "--mode=eager")
    assert "-o ServerAliveInterval=15 alpha" in (hosts / "calls").read_text().splitlines()[-1]


def test_a_copy_that_is_there_already_computes_too(project: Project, hosts: Path) -> None:
    shutil.copytree(project.path, hosts / "alpha" / "suite", ignore=shutil.ignore_patterns(".*"))
    arguments = ("--tx", "popen", "--tx", f"ssh=alpha//{PYTHON}//chdir=suite")
    assert session(project, *arguments).ret == pytest.ExitCode.OK
    assert project.facts()["hosts"].keys() == {"here", "alpha"}
    with (hosts / "alpha" / "suite" / "cases" / "products.yaml").open("a") as file:
        file.write("  one_more: {equation: i->, shapes: [[2]]}\n")
    refused = session(project, *arguments)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: --tx *: its copy of the project has other cases; make both the same, or *"])


def test_another_interpreter_of_the_same_versions_computes(project: Project, hosts: Path) -> None:
    assert session(project, "--tx", f"2*popen//{PYTHON}").ret == pytest.ExitCode.OK
    assert sorted(project.records()) == sorted(ids(*NAMES))
    assert "hosts" not in json.loads((project.folder / "run.json").read_text())  # there is one


def test_an_interpreter_of_other_versions_is_refused(project: Project, hosts: Path) -> None:
    (hosts / "torch-0.0.1.dist-info").mkdir()
    (hosts / "torch-0.0.1.dist-info" / "METADATA").write_text(OTHER)
    (hosts / "python").write_text(f'#!/bin/sh\nPYTHONPATH={hosts} exec {sys.executable} "$@"\n')
    (hosts / "python").chmod(0o755)
    result = session(project, "--tx", "popen", "--tx", f"popen//python={hosts / 'python'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --tx *: there torch is 0.0.1, not *.  A run has one environment: *"])
    assert not (project.path / ".conformance").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tx=ssh=unreachable"], "unreachable cannot be reached by ssh*"),
        (["--tx=popen//python=/nowhere/python"], "no Python answers as `/nowhere/python` on here (*)"),
        ([f"--tx=ssh=empty//{PYTHON}"], "the folder of its workers holds no copy of the project *"),
        ([f"--tx=ssh=alpha//{PYTHON}", "--rsyncdir=."], "name what is to run, */cases: *"),
        ([f"--tx=ssh=alpha//{PYTHON}", "--rsyncdir=.", "cases"], "cases is not known there: name it by its *"),
        ([f"--tx=ssh=alpha//{PYTHON}", "--adapter=../right.py"], "--adapter=../right.py is not there: put it into *"),
    ],
    ids=str,
)  # fmt: skip
def test_hosts_that_cannot_compute_are_refused_in_a_sentence(
    project: Project, hosts: Path, arguments: list[str], reason: str
) -> None:
    shutil.copy(project.fakes / "right.py", project.path.parent)
    adapter = "../right.py" if "--adapter=../right.py" in arguments else "right.py"
    result = session(project, *(word for word in arguments if "--adapter" not in word), adapter=adapter)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --tx {arguments[0].removeprefix('--tx=')}: {reason}"])
    assert "Traceback" not in result.stderr.str()
