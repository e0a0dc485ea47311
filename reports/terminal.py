"""The summary at the end of a session: one row for each backend and device, and everything that did not run.

It is printed after pytest's own summaries, so it is visible without scrolling.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from reports.arithmetic import collect_rows
from reports.notices import describe_absence
from specs.verdict.record import VERDICTS

TOP = 5  # reasons listed; the run's records have all of them
COLOURS = {"pass": "green", "deviation": "cyan", "unsupported": "yellow", "fail": "red", "error": "red"}

Row = tuple[str, str]  # backend and device


class Summary:
    """pytest plugin that counts records as they arrive and prints the table.

    facts      of the run, as they are when the session ends
    places     where checks could run (backend and device), in the order of the rows
    """

    def __init__(self, facts: Mapping[str, Any], places: list[Row]) -> None:
        self.facts, self.backends, self.unmet = facts, facts["backends"], facts["unmet"]
        self.verdicts: dict[Row, Counter[str]] = {place: Counter() for place in places}
        self.worst: dict[Row, tuple[float, str]] = {}  # of finite ratios
        self.infinite: dict[Row, str] = {}  # a case with an error where the bound is 0
        self.reasons: dict[str, Counter[str]] = {"unsupported": Counter(), "deviation": Counter()}
        self.weak: Counter[str] = Counter()
        self.broken: dict[str, list[str]] = {}
        self.probed: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if problems := getattr(report, "case_file_problems", None):
            self.broken[report.nodeid.partition("::")[0]] = problems
        for backend, device, verdict, _ in getattr(report, "fuzz", {"checks": ()})["checks"]:
            self.verdicts.setdefault((backend, device), Counter())[verdict] += 1
        if not (record := getattr(report, "conformance", None)):
            return
        if record["observed"]:
            self.probed.append(record)
        row, verdict = (record["backend"], record["device"]), record["verdict"]
        self.verdicts.setdefault(row, Counter())[verdict] += 1
        if record["weak"] and not record["weak"]["mark"]:
            self.weak[record["case"]] += 1
        if verdict in self.reasons:
            self.reasons[verdict][record["reason"]] += 1
        # The ratio of a deviation is expected to be large and would hide how close the others are to the bound
        elif record["error_ratio"] is not None:
            ratio = float(record["error_ratio"])
            if math.isfinite(ratio):
                self.worst[row] = max(self.worst.get(row, (-1.0, "")), (ratio, record["case"]))
            else:
                self.infinite.setdefault(row, record["case"])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if terminalreporter.config.get_verbosity() < -1:
            counts = sum(self.verdicts.values(), Counter())
            terminalreporter.write_line(", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
            return
        terminalreporter.write_sep("=", f"conformance, {self.facts['tier']} tier", bold=True)
        self._table(terminalreporter)
        self._not_run(terminalreporter)
        self._broken_files(terminalreporter)
        self._arithmetic(terminalreporter)
        for verdict, counted in self.reasons.items():
            _most_common(terminalreporter, verdict, counted)
        _most_common(terminalreporter, "checks that prove little, without a reason in their case", self.weak, "cases")
        for name, reason in self.unmet.items():
            terminalreporter.write_line(f"FAILED: {name} had to run and could not: {reason}", red=True, bold=True)

    def _table(self, out: pytest.TerminalReporter) -> None:
        heads = ["backend", "version", "device", *VERDICTS, "worst ratio"]
        rows = []
        for row, counts in self.verdicts.items():
            backend, device = row
            ratios = [f"{self.worst[row][0]:.3g}"] if row in self.worst else []
            ratio = ", ".join([*ratios, *(["inf"] if row in self.infinite else [])]) or "-"
            version = self.backends.get(backend, {}).get("version") or ""
            rows.append([backend, version, device, *(str(counts[verdict]) for verdict in VERDICTS), ratio])
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        room = shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths)
        out.write_line("  ".join(_aligned(heads, widths)), bold=True)
        for row, cells in zip(self.verdicts, rows, strict=True):
            for head, cell, text in zip(heads, cells, _aligned(cells, widths), strict=True):
                out.write(text, **({COLOURS[head]: True} if head in COLOURS and cell != "0" else {}))
                out.write("  " if head != heads[-1] else "")
            case = self.infinite.get(row) or self.worst.get(row, (0.0, ""))[1]
            out.write_line(f"  {case}" if case and len(case) <= room else "")

    def _not_run(self, out: pytest.TerminalReporter) -> None:
        ran = {backend for backend, _ in self.verdicts}
        if not_run := {name: facts for name, facts in self.backends.items() if name not in ran}:
            out.write_line("did not run", bold=True)
        for name, facts in not_run.items():
            reason, is_unmet = describe_absence(name, self.facts), name in self.unmet
            out.write_line(f"  {name}: {reason}", red=is_unmet, yellow=not is_unmet)
            if facts.get("next_step"):
                out.write_line(f"    {facts['next_step']}")

    def _broken_files(self, out: pytest.TerminalReporter) -> None:
        if self.broken:
            out.write_line("broken case files", bold=True)
        for problems in self.broken.values():
            for problem in problems[:TOP]:
                out.write_line(f"  {problem}", red=True)
            if len(problems) > TOP:
                out.write_line(f"  … and {len(problems) - TOP} more problems", red=True)

    def _arithmetic(self, out: pytest.TerminalReporter) -> None:
        """Observations of probes that are coarser than declared and not recorded as a deviation."""
        lines = [
            f"  {' '.join(row.names)}: {name} is {cell}"
            for row in collect_rows(self.probed)
            for name, cell in row.cells.items()
            if cell.status == "fail"
        ]
        if lines:
            out.write_line("precision below what is declared", bold=True)
        for line in lines[:TOP]:
            out.write_line(line, red=True)
        if len(lines) > TOP:
            out.write_line(f"  … and {len(lines) - TOP} more")


def _aligned(cells: list[str], widths: list[int]) -> list[str]:
    """Cells padded to the width of their columns: the three names left-aligned, numbers right-aligned."""
    padded = enumerate(zip(cells, widths, strict=True))
    return [cell.ljust(width) if index < 3 else cell.rjust(width) for index, (cell, width) in padded]


def _most_common(out: pytest.TerminalReporter, title: str, counted: Counter[str], noun: str = "reasons") -> None:
    if not counted:
        return
    out.write_line(title, bold=True)
    for reason, count in counted.most_common(TOP):
        out.write_line(f"  {count:>6}  {reason.splitlines()[0] if reason else '(no reason given)'}")
    if len(counted) > TOP:
        rest = counted.total() - sum(count for _, count in counted.most_common(TOP))
        out.write_line(f"  {rest:>6}  … and {len(counted) - TOP} more {noun}")
