"""Tests for each CPU second, of this suite and of test suites that installed packages bring."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.benchmarks.session import PYTEST, Settings, measure, run_selection
from tests.benchmarks.table import print_table

# Name → the package that must be installed, and what pytest is given
PEERS = {
    "opt_einsum": ("opt_einsum.tests", ["--pyargs", "opt_einsum.tests"]),
    "NumPy, test_einsum": ("numpy._core.tests.test_einsum", ["--pyargs", "numpy._core.tests.test_einsum"]),
    "ONNX, attention and einsum": ("onnx", [str(Path(__file__).with_name("onnx_backend.py"))]),
}


def print_peers(settings: Settings) -> None:
    """A row for each backend of this suite and for each other suite, all in one process."""
    rows = [*_this_suite(settings), *_peers(settings)]
    print_table("Tests for each CPU second, in one process", ("suite", "tests", "CPU s", "tests per CPU s"), rows)


def _this_suite(settings: Settings) -> Iterator[Sequence[object]]:
    for name in settings.backends:
        session = run_selection(settings, (name,), 0)
        checks = len(session.executed)
        yield f"this suite, {name}, {settings.tier}", checks, session.cost.cpu, checks / session.cost.cpu


def _peers(settings: Settings) -> Iterator[Sequence[object]]:
    """Tests that are skipped do not count."""
    for name, (module, arguments) in PEERS.items():
        if not _is_installed(module):
            yield f"{name}: not installed", None, None, None
            continue
        folder = Path(tempfile.mkdtemp(dir=settings.work))
        report, settings_file = folder / "report.xml", folder / "pytest.ini"
        settings_file.write_text("[pytest]\n")  # theirs, not this project's
        options = ["-q", "-p", "no:cacheprovider", "-n", "0", "-c", str(settings_file), f"--junitxml={report}"]
        cost = measure([*PYTEST, *arguments, *options], folder)
        counts = next(ElementTree.parse(report).iter("testsuite")).attrib
        tests = int(counts["tests"]) - int(counts["skipped"])
        yield name, tests, cost.cpu, tests / cost.cpu


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
