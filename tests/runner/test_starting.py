"""Adapters that misbehave where they are imported or created: what they change there decides no verdict."""

from __future__ import annotations

import re
import time

import pytest

from tests.runner.test_misbehaviour import write_adapter
from tests.support.project import ADAPTER, NAMES, Project, ids

# Created ------------------------------------------------------------------------------------------------------------

WRONG_STARTS = {
    "replaces_what_compares": ("np.any = lambda *a, **k: False", "fail", ".*values are outside the error bound.*"),
    "rounds_upwards_from_the_start": (
        "import ctypes, platform; ctypes.CDLL(None).fesetround(0x800 if platform.machine() == 'x86_64' else 0x400000)",
        "error",
        ".* left the processor in a state in which it does not round to nearest, from `__init__`",
    ),
}


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("name", WRONG_STARTS)
def test_what_an_adapter_changes_where_it_is_created_makes_nothing_right(
    project: Project, name: str, workers: str
) -> None:
    start, verdict, reason = WRONG_STARTS[name]
    text = ADAPTER.format(name=name, distribution="numpy", start=start, body="right = right + 1", devices=["cpu"])
    project.write(f"{name}.py", text)
    result = project.run("right", f"--adapter={name}.py", f"--backend={name}", "--mode=eager", "-n", workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = project.records().values()
    assert {(record["backend"], record["verdict"]) for record in records} == {("right", "pass"), (name, verdict)}
    reasons = [record["reason"] for record in records if record["backend"] == name]
    assert all(re.fullmatch(reason, text) for text in reasons), reasons


def test_where_the_processors_state_cannot_be_put_back_nothing_passes_in_it(project: Project) -> None:
    project.write("helpless.py", "from specs.arithmetic import environment\nenvironment._STANDARD = None\n")
    start = WRONG_STARTS["rounds_upwards_from_the_start"][0]
    text = ADAPTER.format(name="first", distribution="numpy", start=start, body="", devices=["cpu"])
    project.write("first.py", text)
    project.run("right", "-p", "helpless", "--adapter=first.py", "--backend=first", "--mode=eager", "-n", "0")
    reasons = [record["reason"] for record in project.records().values() if record["verdict"] == "error"]
    assert len(reasons) == 2 * len(NAMES)
    assert reasons[-1].startswith("an earlier call left the processor in a state in which it does not round to nearest")


STARTS = {
    "starts_without_output": "os.close(1); sys.stdout.close()",
    "starts_a_process": "os.fork() or (time.sleep(60), os._exit(0))",
    "starts_a_process_that_comes_back": "os.fork()",
}


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("name", STARTS)
def test_an_adapter_may_change_its_process_where_it_is_created(project: Project, name: str, workers: str) -> None:
    text = ADAPTER.format(name=name, distribution="numpy", start=STARTS[name], body="", devices=["cpu"])
    project.write(f"{name}.py", "import sys\n" + text)
    started = time.monotonic()
    arguments = (f"--adapter={name}.py", f"--backend={name}", "--mode=eager", "-n", workers)
    result = project.prepared.pytest(project.path, "-o", f"cache_dir={project.fakes / 'cache'}", *arguments)
    assert result.ret == pytest.ExitCode.OK
    assert [record["verdict"] for record in project.records().values()] == ["pass"] * len(NAMES)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_adapter_may_close_its_output_where_it_is_imported(project: Project, workers: str) -> None:
    write_adapter(project.path, "mine")
    project.write("mine.py", "import os\n[os.close(n) for n in (0, 1, 2)]\n" + (project.path / "mine.py").read_text())
    result = project.run("right", "--adapter=mine.py", "--backend=mine", "--mode=eager", "-n", workers)
    assert result.ret == pytest.ExitCode.OK
    assert {record["verdict"] for record in project.records().values()} == {"pass"}
    assert len(project.records()) == 2 * len(NAMES)


# Imports --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(0)", "importing it failed: SystemExit: 0"),
        ("raise KeyboardInterrupt", "importing it failed: KeyboardInterrupt"),
        ("def broken(:", "importing it failed: SyntaxError: *"),
        ("import there_is_no_such_module", "importing it failed: ModuleNotFoundError: *"),
        ("class E(Exception):\n  def __str__(self): 1 / 0\nraise E", "importing it failed: E, whose text cannot be *"),
        (
            "import ctypes, platform\n"
            "ctypes.CDLL(None).fesetround(0x800 if platform.machine() == 'x86_64' else 0x400000)",
            "importing it left the processor in a state in which it does not round to nearest",
        ),
        ("x = 1", "it must define exactly one subclass of Backend, and defines none"),
        (
            "from backends.numpy import Numpy\nclass A(Numpy):\n  name = 'a-b'",
            "A states the name 'a-b', which is not letters, digits and underscores",
        ),
        (
            "from backends.numpy import Numpy\nclass A(Numpy):\n  name = 'a'\n  modes = 'eager'",
            "A states modes = 'eager', where a tuple of names is required",
        ),
        (
            "from backends.numpy import Numpy\nclass A(Numpy):\n  name = 'a'\n  modes = {'eager': 'eager'}",
            "A states modes = {'eager': 'eager'}, where a `Mode` of each name is required, or names alone",
        ),
        (
            "from backends.numpy import Numpy\nclass A(Numpy):\n  name = 'a'\n  implementations = None",
            "A states implementations = None, where the names of each kind of case are required, by kind",
        ),
    ],
)
def test_an_adapter_that_cannot_be_imported_is_refused_in_a_sentence(project: Project, text: str, message: str) -> None:
    project.write("mine.py", text)
    result = project.prepared.pytest(project.path, "--adapter=mine.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --adapter */mine.py: {message}"])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("os._exit(0)", "importing it ended the process (exit status 0)"),
        ("os.abort()", "importing it ended the process (SIGABRT)"),
        ("os.closerange(0, 1000)", "importing it ended the process (exit status 1)"),
        ("while True: pass", "importing it did not end within 1 s"),
    ],
    ids=str,
)
def test_an_adapter_that_takes_the_process_that_imports_it_is_a_broken_backend_and_the_others_run(
    project: Project, action: str, message: str, workers: str
) -> None:
    project.write("impatient.py", "from backends.discovery import importing\nimporting.LIMIT = 1.0\n")
    write_adapter(project.path, "mine")
    project.write("mine.py", f"import os\n{action}\n" + (project.path / "mine.py").read_text())
    mine = ("-p", "impatient", "--adapter=mine.py", "--backend=mine")
    result = project.run("right", *mine, "-n", workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    line = f"FAILED: mine had to run and could not: {project.path / 'mine.py'}: {message}"
    assert line in result.outlines
    assert list(project.records()) == ids(*NAMES)
    assert project.facts()["unmet"] == {"mine": f"{project.path / 'mine.py'}: {message}"}
