"""What torch.compile needs on a machine, what it costs, and where it may keep what it compiles."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from pathlib import Path

from specs.case.attention import AttentionConfig
from specs.case.features import features
from specs.verdict import processor
from specs.verdict.check import Check

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
SECONDS = 1.2  # of one graph
SECONDS_OF_A_FEATURE = 0.5  # by which the graph is larger
SECONDS_OF_FLEX = 3.2  # more: its kernel is a long template


def seconds(check: Check) -> float:
    """CPU seconds of a check: a gradient is a second graph."""
    config = check.case.config
    parts = len(features(config)) if isinstance(config, AttentionConfig) else 0
    graph = SECONDS + SECONDS_OF_A_FEATURE * parts + SECONDS_OF_FLEX * (check.implementation == "flex")
    return graph if check.direction == "forward" else 2 * graph


@cache
def missing() -> str | None:
    """What torch.compile lacks to compile for the CPU of this machine."""
    if not shutil.which(_compiler()):
        return f"torch.compile needs a compiler of C++ for the CPU, and there is no {_compiler()}"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "torch.compile needs the headers of Python for the CPU, and there is no Python.h"
    return None


def keep(folder: Path, *facts: object) -> None:
    """Let compiled programs be kept in a subfolder for these facts of the framework and for this machine.

    The compiler's own keys hold graphs, versions and settings, but of the processor only its kind of vectors, and of
    the compiler of C++ only its name.  What the user's environment states is left alone.
    """
    known = (*facts, processor.describe(), _describe_compiler())
    subfolder = folder / hashlib.sha256(repr(known).encode()).hexdigest()[:16]
    with suppress(OSError):  # without the folder everything is compiled where torch would do so itself
        subfolder.mkdir(parents=True, exist_ok=True)
    if os.access(subfolder, os.W_OK):
        os.environ.setdefault(FOLDER, str(subfolder.resolve()))


def _compiler() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def _describe_compiler() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        command = [_compiler(), "--version"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    return _compiler()
