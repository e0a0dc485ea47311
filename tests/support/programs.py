"""Programs that do not know the suite, each run in a process of its own that has its framework imported already.

To import a framework takes longer than most programs.  This file, run as a program itself, imports one, and then forks
for each request: a line of JSON with the program, its folder, the files of its output and the variables of its
environment.  The answer is the exit status.
"""

import json
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


class Programs:
    """Runs programs as a user does: in another folder, without access to the suite."""

    def __init__(self) -> None:
        self._servers: dict[str, subprocess.Popen[str]] = {}

    def run(self, framework: str, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """The program in a folder, with this framework imported before."""
        server = self._servers.get(framework) or self._start(framework)
        assert server.stdin
        assert server.stdout
        file, *files = (folder / name for name in ("program.py", "out", "err"))
        file.write_text(program)
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | QUIET
        request = {"program": str(file), "folder": str(folder), "files": list(map(str, files)), "variables": variables}
        print(json.dumps(request), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess([str(file)], status, *(output.read_text() for output in files))

    def close(self) -> None:
        for server in self._servers.values():
            server.kill()
            server.communicate()

    def _start(self, framework: str) -> "subprocess.Popen[str]":
        command, pipe = [sys.executable, "-I", __file__, framework], subprocess.PIPE
        environment = os.environ | QUIET
        server = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self._servers[framework] = server
        return server


def serve(framework: str) -> None:
    import_module(framework)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            return become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    return None


def become(program: str, folder: str, files: list[str], variables: dict[str, str]) -> None:
    """Do what a new interpreter would do."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (path, flags) in enumerate([(os.devnull, os.O_RDONLY), *((file, write) for file in files)]):
        os.dup2(os.open(path, flags), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
