"""`python -m MODULE …` in a process of its own that does not import the suite: it is forked from one that has.

A small session of pytest is mostly imports.  This program imports pytest and the suite, no framework but NumPy, and
then forks for each request.  A request is a line of JSON on its input: the module, its arguments, the folder, the files
of the output and the variables of the environment.  The answer is the exit status.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from reports.html import ENVIRONMENT
from tests.support import ROOT

MODULES = (
    "backends.numpy",
    "execnet",  # but not xdist, which remembers the import path for its workers
    "fuzzing.search",
    "pytest_timeout",
    "reports.views",
    "runner.collection",
    "runner.crash",
    "runner.session",
)
# Modules that are imported already cannot have their assertions rewritten; these have none
PLAIN = "--assert=plain"


class Prepared:
    """The program, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, module: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m module` in a folder, in the present environment."""
        if self._process is None:
            command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdin
        assert self._process.stdout
        with TemporaryDirectory() as temporary:
            files = [f"{temporary}/{name}" for name in ("out", "err")]
            request = {"module": module, "arguments": arguments, "folder": str(folder), "files": files}
            try:
                print(json.dumps(request | {"variables": dict(os.environ)}), file=self._process.stdin, flush=True)
                status = int(self._process.stdout.readline())
            except BaseException:  # also a timeout of the test: a late answer must not be taken for the next one
                self.close()
                raise
            output = [Path(file).read_text(encoding="utf-8", errors="replace") for file in files]
        print(*output)  # for the report of a test that fails
        return subprocess.CompletedProcess([module, *arguments], status, *output)

    def pytest(self, folder: Path, *arguments: str) -> pytest.RunResult:
        """A session of pytest in a folder; its duration is not measured."""
        with TemporaryDirectory() as temporary:
            ended = self.run("pytest", folder, PLAIN, f"--basetemp={temporary}/base", *arguments)
        lines = [text.splitlines() for text in (ended.stdout, ended.stderr)]
        known = ended.returncode in list(pytest.ExitCode)
        return pytest.RunResult(pytest.ExitCode(ended.returncode) if known else ended.returncode, *lines, duration=0.0)

    def examine(self, cache: Path, case_file: Path, adapters: Iterable[Path]) -> None:
        """Let sessions with this folder of pytest's cache know what they would ask each adapter for in a process."""
        file = cache / "d" / "conformance-inventory" / "findings.json"
        self.run("tests.support.inventory", ROOT, str(file), str(case_file), *map(str, adapters)).check_returncode()

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main() -> None:
    for name in MODULES:
        import_module(name)
    for template in ENVIRONMENT.list_templates():
        ENVIRONMENT.get_template(template)  # compiles it
    gc.freeze()  # what is imported need not be searched again at the end of each session
    for line in sys.stdin:
        process = os.fork()
        if not process:
            return become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Do what a new interpreter would do."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    out, err = request["files"]
    for number, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), (out, write), (err, write)]):
        os.dup2(os.open(path, flags), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    sys.path[:1] = [request["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
