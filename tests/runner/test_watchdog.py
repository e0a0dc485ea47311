"""The watchdog leaves alone what returns to Python in time (that it ends the rest: `test_crash.py`)."""

from __future__ import annotations

import pytest

from tests.support.project import Project

HOLD = "sum(itertools.repeat(0, 5 * 10**7))"  # no thread runs meanwhile, and so nobody sets the timer


@pytest.mark.parametrize(
    "tests",
    [["time.sleep(0.7)"] * 4, ["time.sleep(1.5)"] * 2, ["time.sleep(1.5)", HOLD]],
    ids=["many", "long", "after a long one"],
)
def test_a_test_has_the_whole_time_whatever_was_before_it(project: Project, tests: list[str]) -> None:
    lines = (f"def test_{index}():\n    {test}\n" for index, test in enumerate(tests))
    project.write("test_some.py", "import itertools, time\n" + "".join(lines))
    result = project.prepared.pytest(project.path, "test_some.py", "--timeout=4", "-o", "hang_factor=0.5")
    result.assert_outcomes(passed=len(tests))
