"""Adapters that misbehave in one check: what becomes of it, that the others run, and whom the record blames.

`SURVIVED` share one session for each number of workers; each of `KILLED` ends its process, so it has its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.read import Run, read
from tests.support.prepared import Prepared
from tests.support.project import ADAPTER, NAMES, Project, environment, examine, ids, last_run

HEADER = """
import asyncio, ctypes, dataclasses, hashlib, json, math, multiprocessing, pathlib, platform, resource, sys, threading
import unittest, warnings
import pytest

FORKS = multiprocessing.get_context("fork")
UPWARDS = 0x800 if platform.machine() == "x86_64" else 0x400000

def limit(number, soft):
    resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))

class Panic(BaseException): ...

class Unreadable(Exception):
    def __str__(self):
        {text}

def misbehave(right):
    {action}
    return right
"""
BODY = "if config.equation == 'ij->ji': return misbehave(right)"

# What the adapter does in the check of `ij->ji`: verdict, and a pattern of the whole reason
SURVIVED = {
    "exits": ("sys.exit(3)", "error", r"raised SystemExit: 3, from `run` \(exits.py:\d+ in misbehave, called by .*"),
    "exits_well": ("sys.exit(0)", "error", r"raised SystemExit: 0, from `run`.*"),
    "panics": ("raise Panic('index out of range')", "error", r"raised Panic: index out of range, from `run` .*"),
    "cancels": ("raise asyncio.CancelledError()", "error", r"raised CancelledError, from `run` .*"),
    "interrupts": ("raise KeyboardInterrupt", "error", r"raised KeyboardInterrupt, from `run` .*"),
    "closes": ("raise GeneratorExit", "error", r"raised GeneratorExit, from `run` .*"),
    "groups": ("raise BaseExceptionGroup('two', [Panic(), Panic()])", "error", r"raised BaseExceptionGroup: two .*"),
    "skips": ("pytest.skip('not today')", "error", r"raised Skipped: not today, from `run` .*"),
    "fails": ("pytest.fail('so it is')", "error", r"raised Failed: so it is, from `run` .*"),
    "expects_to_fail": ("pytest.xfail('known')", "error", r"raised XFailed: known, from `run` .*"),
    "ends_the_session": ("pytest.exit('enough')", "error", r"raised Exit: enough, from `run` .*"),
    "unreadable": ("raise Unreadable", "error", r"raised Unreadable, whose text cannot be made \(ValueError\) .*"),
    "text_exits": ("raise Unreadable", "error", r"raised Unreadable, whose text cannot be made \(SystemExit\) .*"),
    "text_of_none": ("raise Unreadable", "error", r"raised Unreadable, whose text cannot be made \(TypeError\) .*"),
    "returns_none": ("return None", "error", r"returned None, where a NumPy array is required, from `run`"),
    "returns_list": ("return [1.0]", "error", r"returned a value of type list, where a NumPy array .*"),
    "returns_text": ("return '1.0'", "error", r"returned a value of type str, where a NumPy array .*"),
    "returns_dict": ("return {'wrong': right}", "error", r"returned outputs without 'result'"),
    "returns_objects": ("return right.astype(object)", "error", r"returned an array of object, where numbers .*"),
    "returns_dates": ("return right.astype('M8[s]')", "error", r"returned an array of datetime64\[s\], where .*"),
    "awaits": ("return asyncio.sleep(0)", "error", r"returned a value of type coroutine, where .*"),
    "hangs": ("while True: time.sleep(0.01)", "error", r"no result after 1 s"),
    "is_loud": ("print('x\\n' * 10**5); os.write(1, b'y' * 10**5); os.write(2, b'z\\n' * 10**5)", "pass", ""),
    "moves": ("os.chdir('/')", "pass", ""),
    "empties_the_environment": ("os.environ.clear()", "pass", ""),
    "handles_signals": ("[signal.signal(n, signal.SIG_IGN) for n in (2, signal.SIGALRM, 15)]", "pass", ""),
    "closes_its_output": ("[os.close(n) for n in (0, 1, 2)]", "pass", ""),
    "closes_its_streams": ("sys.stdout.close(); sys.stderr.close()", "pass", ""),
    "has_no_streams": ("sys.stdout = sys.stderr = None", "pass", ""),
    "forgets_all_modules": ("sys.modules.clear()", "pass", ""),
    "replaces_a_module": ("sys.modules['json'] = sys.modules['runner.item'] = None", "pass", ""),
    "forgets_how_modules_are_found": ("sys.path.clear(); sys.meta_path = []; sys.path_hooks.clear()", "pass", ""),
    "replaces_functions": ("np.any = len = lambda *a, **k: False; json.dumps = lambda *a, **k: '{{}}'", "pass", ""),
    "stops_the_clock": ("time.time = time.perf_counter = lambda: float('nan')", "pass", ""),
    "replaces_functions_elsewhere": (
        "math.isfinite = hashlib.sha256 = dataclasses.replace = lambda *a: 1 / 0", "pass", ""
    ),
    "replaces_methods": ("pathlib.Path.open = json.JSONEncoder.encode = lambda *a, **k: '{{}}'", "pass", ""),
    "lowers_limits": ("limit(resource.RLIMIT_NOFILE, 5); limit(resource.RLIMIT_FSIZE, 0)", "pass", ""),
    "rounds_upwards": (
        *("ctypes.CDLL(None).fesetround(UPWARDS)", "error"),
        "left the processor in a state in which it does not round to nearest, from `run`",
    ),
    "removes_functions": ("del json.dumps, os.getpid", "pass", ""),
    "traces": ("sys.settrace(lambda *a: 1 / 0)", "fail", r"raised ZeroDivisionError: .*"),
    "lowers_the_recursion_limit": ("sys.setrecursionlimit(200)", "pass", ""),
    "is_strict": ("np.seterr(all='raise'); warnings.simplefilter('error')", "pass", ""),
    "has_a_thread_that_raises": ("t = threading.Thread(target=sys.exit, args='x'); t.start(); t.join()", "pass", ""),
    "forks_and_waits": ("os.waitpid(os.fork(), 0)", "pass", ""),
    "forks_and_goes_on_twice": ("os.fork()", "pass", ""),
    "forks_and_raises_twice": ("os.fork(); raise ValueError('twice')", "fail", r"raised ValueError: twice"),
    "has_a_process": ("p = FORKS.Process(target=id, args='x'); p.start(); p.join()", "pass", ""),
    "leaves_a_process": ("os.fork() or (time.sleep(60), os._exit(0))", "pass", ""),
    "recurs": ("misbehave(right)", "fail", r"raised RecursionError: maximum recursion depth exceeded.*"),
    "is_wordy": ("raise RuntimeError('x' * 10**7)", "fail", r"raised RuntimeError: x{400,600}"),
    "commands_a_terminal": (r"raise OSError('\0 \x1b[2J \x9b \u202e')", "fail", r"raised .*\\x1b\[2J \\x9b \\u202e"),
    "skips_as_unittest": ("raise unittest.SkipTest('x')", "fail", r"raised SkipTest: x"),
    "says_it_is_out_of_memory": ("raise MemoryError", "error", r"out of memory: MemoryError"),
}  # fmt: skip
TEXTS = {"unreadable": "raise ValueError", "text_exits": "sys.exit(1)", "text_of_none": "return None"}

# Methods that are wrong in themselves, so that every check of the backend is an error
METHODS = {
    "run_takes_nothing": ("def run(self): ...", r"has another signature: .*run\(\) takes 1 positional .*"),
    "einsum_takes_less": ("def einsum(self, config): ...", r"has another signature: .*einsum\(\) takes 2 .*"),
    "gives_lists": ("def to_numpy(self, tensor): return tensor.tolist()", r"returned a value of type .*"),
    "refuses_badly": ("def unsupported(self, check): 1 / 0", r"raised ZeroDivisionError: .*, from `unsupported`.*"),
    "refuses_and_exits": ("def unsupported(self, check): sys.exit(1)", r"raised SystemExit: 1, from `unsupported`.*"),
    "refuses_by_a_number": ("def unsupported(self, check): return 5", r"returned a value of type int, where a .*"),
    "has_no_precision": ("def precision(self, check): return None", r"returned None, where a precision is required.*"),
    "starts_badly": ("def keep_compiled(self, folder): sys.exit(1)", r"raised SystemExit: 1, from `keep_compiled`.*"),
    "starts_only_where_it_is_examined": (
        "def __init__(self):\n        if not sys.argv[0].endswith('inventory.py'): sys.exit(9)",
        r"raised SystemExit: 9, from `__init__`.*",
    ),
}
ADAPTERS = [*SURVIVED, *METHODS]

KILLED = {
    "leaves": ("os._exit(3)", "exit status 3", 3),
    "leaves_well": ("os._exit(0)", "exit status 0", 0),
    "aborts": ("os.abort()", "SIGABRT", -6),
    "is_killed": ("os.kill(os.getpid(), 9)", "SIGKILL", -9),
    "has_a_bad_pointer": ("import ctypes; ctypes.string_at(0)", "SIGSEGV", -11),
    "hangs_and_hears_nothing": (
        "signal.signal(signal.SIGALRM, signal.SIG_IGN); [time.sleep(0.1) for _ in itertools.repeat(0)]",
        *("exit status 1", 1),
    ),
    "hangs_in_c": ("sum(itertools.repeat(0))", "exit status 1", 1),
}


def write_adapter(folder: Path, name: str) -> None:
    action = (KILLED.get(name) or SURVIVED.get(name) or ("pass",))[0]
    body = BODY if name in KILLED or name in SURVIVED else ""
    text = ADAPTER.format(name=name, distribution="numpy", start="pass", body=body, devices=["cpu"])
    method = f"\n    {METHODS[name][0]}\n" if name in METHODS else ""
    header = HEADER.format(action=action, text=TEXTS.get(name, "pass"))
    (folder / f"{name}.py").write_text(header + text + method)


# Survived -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, fakes: Path, prepared: Prepared) -> Path:
    """A folder with all adapters, and the one that is right; all are examined."""
    folder = tmp_path_factory.mktemp("adapters")
    for name in (*ADAPTERS, *KILLED):
        write_adapter(folder, name)
    for name in ("right.py", "fake_framework.py"):
        shutil.copy(fakes / name, folder)
    with environment(folder):
        examine(folder, [*ADAPTERS, "right"], prepared)
    return folder


@pytest.fixture(scope="module", params=["0", "1", "2"], ids="-n {}".format)
def session(
    request: pytest.FixtureRequest, adapters: Path, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[pytest.RunResult, Run]]:
    """A session of all of them, with this number of workers: what it printed, and its run."""
    path = tmp_path_factory.mktemp("misbehaving")
    with environment(adapters, path) as patch:
        patch.chdir(path)
        project = Project(path, adapters, prepared)
        result = project.run(" ".join([*ADAPTERS, "right"]), "-n", request.param, "--timeout=1", "--mode=eager")
        yield result, read(last_run(path))


@pytest.mark.parametrize("name", SURVIVED)
def test_one_check_has_the_outcome_and_the_others_pass(name: str, session: tuple[pytest.RunResult, Run]) -> None:
    _, verdict, reason = SURVIVED[name]
    records = {record["id"]: record for record in session[1].records() if record["backend"] == name}
    (transpose,) = ids("transpose", backend=name)
    blamed = (
        f"the adapter {name}.py " if reason.startswith(("raised", "returned", "left")) and verdict == "error" else ""
    )
    assert records[transpose]["verdict"] == verdict
    assert re.fullmatch(blamed + reason, records[transpose]["reason"]), records[transpose]["reason"]
    others = {record["verdict"] for id, record in records.items() if id != transpose}
    assert (len(records), others) == (len(NAMES), {"pass"})


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_wrong_is_an_error_of_each_check(name: str, session: tuple[pytest.RunResult, Run]) -> None:
    records = [record for record in session[1].records() if record["backend"] == name]
    assert [record["verdict"] for record in records] == ["error"] * len(NAMES)
    assert re.fullmatch(f"the adapter {name}.py {METHODS[name][1]}", records[0]["reason"]), records[0]["reason"]


def test_the_session_is_whole_and_blames_nothing_else(session: tuple[pytest.RunResult, Run]) -> None:
    result, run = session
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert run.facts["complete"]
    assert [record["verdict"] for record in run.records() if record["backend"] == "right"] == ["pass"] * len(NAMES)
    printed = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in printed
    assert "the suite itself failed" not in printed


def test_no_report_commands_a_terminal(session: tuple[pytest.RunResult, Run]) -> None:
    result, run = session
    for text in (result.stdout.str(), *((run.folder / name).read_text() for name in ("summary.md", "index.html"))):
        assert not set("\0\x1b\x9b\u202e") & set(text)


# Threads that do not end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_thread_that_never_ends_does_not_keep_the_session_from_ending(project: Project, workers: str) -> None:
    action = "threading.Thread(target=lambda: [time.sleep(0.1) for _ in itertools.repeat(0)]).start()"
    text = ADAPTER.format(name="staying", distribution="numpy", start="pass", body=BODY, devices=["cpu"])
    (project.path / "staying.py").write_text(HEADER.format(action=action, text="pass") + text)
    arguments = ("--adapter=staying.py", "--backend=staying", "--mode=eager", "-n", workers)
    result = project.prepared.pytest(project.path, "-o", f"cache_dir={project.fakes / 'cache'}", *arguments)
    assert result.ret == pytest.ExitCode.OK
    assert {record["verdict"] for record in project.records().values()} == {"pass"}
    assert project.facts()["complete"]
    assert "ended without waiting for a thread that an adapter left running: Thread-" in result.stderr.str()


def test_a_session_whose_last_worker_is_broken_ends_with_a_sentence(project: Project) -> None:
    text = ADAPTER.format(name="breaking", distribution="numpy", start="pass", body=BODY, devices=["cpu"])
    project.write("breaking.py", HEADER.format(action="pytest.CallInfo.from_call = None", text="pass") + text)
    arguments = ("--adapter=breaking.py", "--backend=breaking", "--mode=eager", "-n", "1")
    result = project.prepared.pytest(project.path, "-o", f"cache_dir={project.fakes / 'cache'}", *arguments)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*no worker is left; what was recorded before is readable*"])
    assert {record["verdict"] for record in project.records().values()} == {"pass"}


# Killed ---------------------------------------------------------------------------------------------------------------

QUICKLY = ("--timeout=1", "-o", "hang_factor=2", "--mode=eager")


@pytest.mark.parametrize("name", KILLED)
def test_a_worker_that_dies_costs_one_check(project: Project, name: str) -> None:
    write_adapter(project.fakes, name)
    result = project.run(name, "-n", "1", *QUICKLY)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = project.records()
    died = records.pop(ids("transpose", backend=name)[0])
    assert (died["verdict"], died["reason"]) == (
        "error",
        f"its worker process died while running it ({KILLED[name][1]})",
    )
    assert [record["verdict"] for record in records.values()] == ["pass"] * 3
    assert project.facts()["complete"]


def test_an_interrupt_that_a_thread_sends_costs_a_worker_one_check(project: Project) -> None:
    action = "threading.Timer(0.1, __import__('_thread').interrupt_main).start(); time.sleep(10)"
    text = ADAPTER.format(name="interrupting", distribution="numpy", start="pass", body=BODY, devices=["cpu"])
    project.write("interrupting.py", HEADER.format(action=action, text="pass") + text)
    arguments = ("--adapter=interrupting.py", "--backend=interrupting", "--mode=eager", "-n", "1")
    result = project.prepared.pytest(project.path, "-o", f"cache_dir={project.fakes / 'cache'}", *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = project.records()
    died = records.pop(ids("transpose", backend="interrupting")[0])
    assert died["reason"] == "its worker process died while running it (exit status 130)"
    assert [record["verdict"] for record in records.values()] == ["pass"] * 3


@pytest.mark.parametrize("name", KILLED)
def test_without_workers_the_run_is_readable_and_the_next_session_says_where_it_ended(
    project: Project, name: str
) -> None:
    write_adapter(project.fakes, name)
    result = project.run(name, "-n", "0", *QUICKLY)
    assert result.ret == KILLED[name][2]
    assert [record["verdict"] for record in project.records().values()] == ["pass"]
    assert not project.facts()["complete"]
    (id,) = ids("transpose", backend=name)
    ended = f"-standard-{name}-eager ended while it ran {id}: its process died.  With -n 1 "
    assert ended in project.run("right", "-k", "product").stdout.str()
    assert "its process died" not in project.run("right", "-k", "product").stdout.str()
    assert [read(path.parent).facts.get("ended_in") for path in project.path.glob("**/run.json")].count(id) == 1


def test_where_a_run_in_a_named_folder_ended_is_said_by_whoever_reads_it_and_by_the_next_session_there(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("right", "--report=whole")
    project.run("right aborting", "--report=mine", "-n", "0", "-k", "right or transpose")
    (id,) = ids("transpose", backend="aborting")
    commands = {"compare": ["whole", "mine"], "merge": ["merged", "mine"], "ran": ["mine"]}
    for command, folders in commands.items():
        assert main([command, *(str(project.path / folder) for folder in folders)]) == 1
        assert f"its process died while it ran {id}" in capsys.readouterr().out
    assert main(["page", str(project.path / "mine")]) == 0
    assert f"Its process died while it ran {id}" in (project.path / "mine" / "summary.md").read_text()
    ended = f"mine ended while it ran {id}: its process died."
    assert ended in project.run("right", "--report=mine").stdout.str()
    assert "its process died" not in project.run("right", "--report=mine").stdout.str()
