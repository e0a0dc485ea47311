"""Whole sessions of pytest, in a project of its own with backends that are tiny and known to be right or wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import time
import xml.etree.ElementTree as ElementTree

import pytest

from tests.support.project import BROKEN, NAMES, PRODUCTS, Project, ids

# Collection -----------------------------------------------------------------------------------------------------------


def test_collecting_imports_no_framework_and_writes_nothing(project: Project) -> None:
    project.run("right", "--collect-only")  # what can run is found out, in another process, and kept
    project.imported.unlink(missing_ok=True)
    assert project.collected("right") == ids(*NAMES)
    assert not project.imported.exists()
    assert not (project.path / ".conformance").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cases/products.yaml"], NAMES),
        (["cases/products.yaml::product"], ["product"]),
        (["cases/products.yaml::long_sums/16"], ["long_sums/16"]),
        ([*ids("transpose")], ["transpose"]),
        (["-k", "long_sums and right"], ["long_sums/1", "long_sums/16"]),
        (["--dtype=float64", "--device=cpu", "--implementation=einsum", "--direction=forward"], NAMES),
        (["--dtype=float32"], []),
        (["--direction=grad"], []),
        (["tests"], []),
    ],
)
def test_selection(project: Project, arguments: list[str], expected: list[str]) -> None:
    project.write("tests/elsewhere.yaml", PRODUCTS)
    assert project.collected("right", *arguments) == ids(*expected)


VARYING = """
    differentiates = True

    def pullback(self, computation, variables, mode):
        # An einsum is linear in each operand: the gradient is what each unit vector contributes
        def pulled(operands, cotangent):
            def along(name, unit):
                return np.sum(cotangent * computation({**operands, name: unit}))
            shapes = {name: operands[name].shape for name in variables}
            units = {name: np.eye(operands[name].size).reshape(-1, *shape) for name, shape in shapes.items()}
            return {name: np.array([along(name, u) for u in units[name]]).reshape(shapes[name]) for name in variables}
        return pulled
"""


def test_gradients_are_checked_where_the_backend_differentiates(project: Project) -> None:
    text = (project.fakes / "right.py").read_text().replace('name = "right"', 'name = "varying"')
    (project.fakes / "varying.py").write_text(text + VARYING)
    forward = ids(*NAMES, backend="varying")
    grad = [f"{name[:-1]}-grad]" for name in forward]
    assert project.collected("varying") == [name for both in zip(forward, grad, strict=True) for name in both]
    assert project.collected("varying", "--direction=forward") == forward
    project.run("varying", "--direction=grad").assert_outcomes(passed=len(grad))
    assert {
        key: (record["verdict"], record["direction"]) for key, record in project.records().items()
    } == dict.fromkeys(grad, ("pass", "grad"))


def test_a_mode_that_is_not_a_default_can_be_asked_for(project: Project) -> None:
    assert project.collected("right", "--mode=jit") == ids(*NAMES, mode="jit")


ON_REQUEST = """
    on_request = frozenset({"einsum-again"})

    @classmethod
    def distinct(cls, config, implementation, device):
        return implementation == "einsum" or config.equation != "ij->ji"
"""


def test_an_implementation_that_runs_on_request(project: Project) -> None:
    text = (project.fakes / "wrong.py").read_text().replace('name = "wrong"', 'name = "asked"')
    (project.fakes / "asked.py").write_text(text.replace("    modes =", ON_REQUEST + "    modes ="))
    project.write("cases/products.yaml", PRODUCTS.replace(", implementations: [einsum]", ""))
    again = [name.replace("einsum", "einsum-again") for name in ids(*NAMES, backend="asked") if "transpose" not in name]
    assert project.collected("asked") == ids(*NAMES, backend="asked")
    assert project.collected("asked", "--implementation=einsum-again") == again
    result = project.run("asked", "--implementation=einsum-again", "-k", "long_sums and not 16")
    (command,) = re.findall(r"^ +again +(pytest .*)$", result.stdout.str(), re.MULTILINE)
    assert "--implementation einsum-again" in command


def test_a_case_file_outside_the_cases_can_be_named(project: Project) -> None:
    project.write("elsewhere/more.yaml", PRODUCTS)
    assert project.collected("right", "elsewhere/more.yaml") == ids(*NAMES, file="elsewhere/more.yaml")


def test_python_tests_ask_no_framework(project: Project) -> None:
    project.write("tests/test_python.py", "def test_passes(): pass\n")
    project.write("tests/elsewhere.yaml", PRODUCTS)
    project.run("right", "-p", "no:cacheprovider", "tests").assert_outcomes(passed=1)
    assert not project.imported.exists()
    assert not (project.path / ".conformance").exists()


def test_backends_come_one_after_the_other(project: Project) -> None:
    assert project.collected("right wrong") == ids(*NAMES) + ids(*NAMES, backend="wrong")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--backend=rihgt", "*--backend rihgt: unknown (did you mean right?); known: *right*"),
        ("--require=rihgt", "*--require rihgt: unknown (did you mean right?); known: *right*all*"),
        ("--device=cuda:9", "*--device cuda:9: unknown; known: cpu"),
        ("--dtype=float23", "*--dtype float23: unknown (did you mean float32?)*"),
        ("--mode=lazy", "*--mode lazy: unknown*eager, jit*"),
        ("--implementation=einsun", "*--implementation einsun: unknown (did you mean einsum?)*"),
        ("--direction=back", "*--direction back: unknown; known: forward, grad"),
        ("--adapter=nowhere.py", "*--adapter *nowhere.py: there is no such file"),
    ],
)
def test_unknown_names_are_refused(project: Project, argument: str, message: str) -> None:
    result = project.run("right", argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_broken_file_fails_alone(project: Project) -> None:
    project.write("cases/broken.yaml", BROKEN)
    result = project.run("right")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["cases/broken.yaml:3:13: *equashun*", "*broken case files*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list(project.facts()["broken_case_files"]) == ["cases/broken.yaml"]
    assert len(project.facts()["broken_case_files"]["cases/broken.yaml"]) > 1


# Results --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_check_ends_in_the_table_and_on_disk(project: Project, workers: str) -> None:
    project.write("cases/halves.yaml", PRODUCTS.replace("float64", "float16"))
    result = project.run("right wrong raising", "-n", workers, "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert {word: outcomes.get(word) for word in ("passed", "failed", "unsupported")} == {
        "passed": 4,
        "failed": 8,
        "unsupported": 12,
    }
    verdicts = {backend: {} for backend in ("right", "wrong", "raising")}
    for record in project.records().values():
        counts = verdicts[record["backend"]]
        counts[record["verdict"]] = counts.get(record["verdict"], 0) + 1
    assert verdicts == {
        "right": {"pass": 4, "unsupported": 4},
        "wrong": {"fail": 4, "unsupported": 4},
        "raising": {"fail": 4, "unsupported": 4},
    }
    facts = project.facts()
    assert facts["complete"]
    assert facts["exit_status"] == 1
    assert facts["verdicts"] == {"pass": 4, "deviation": 0, "unsupported": 12, "fail": 8, "error": 0}
    assert facts["packages"]["pytest"] == pytest.__version__
    assert facts["started"] <= facts["finished"]
    result.stdout.fnmatch_lines(
        [
            "backend *version *device *pass *deviation *unsupported *fail *error *worst ratio*",
            "right * cpu * 4 * 0 * 4 * 0 * 0 *",
            "wrong * cpu * 0 * 0 * 4 * 4 * 0 *",
            "unsupported",
            "page: *.conformance/index.html",
        ]
    )
    suite = ElementTree.parse(project.path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("24", "8", "12")
    assert 'name="verdict" value="fail"' in (project.path / "junit.xml").read_text()


def test_a_failure_says_what_where_and_how_to_run_it_again(project: Project) -> None:
    result = project.run("right wrong", "--mode=jit", "-k", "wrong and not long_sums and not transpose")
    result.stdout.fnmatch_lines(
        [
            "cases/products.yaml:5: products::product",
            "*A matrix product.",
            '*equation: "ij,jk->ik", shapes: [[][[]2, 3], [[]3, 4]]',
            "*wrong * cpu: einsum, jit, float64, forward",
            "  fail *",
            "  worst *expected *got *bound *",
            "  ratio *times the bound",
            "  ULPs *at most",
            "FAILED cases/products.yaml::product[[]wrong-cpu-einsum-jit-float64] - *",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "NotPassed" not in result.stdout.str()
    (command,) = re.findall(r"^ +again +(pytest .*)$", result.stdout.str(), re.MULTILINE)
    quicker = ["--backend=wrong"]  # else the real frameworks would be looked for too
    again = project.pytester.runpytest_subprocess(*shlex.split(command)[1:], *quicker)
    again.assert_outcomes(failed=1)
    assert list(project.records()) == ids("product", backend="wrong", mode="jit")


def test_the_last_failures_can_be_run_again(project: Project) -> None:
    project.run("right wrong").assert_outcomes(passed=4, failed=4)
    project.run("right wrong", "--lf").assert_outcomes(failed=4)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_session_that_stops_early_is_not_complete(project: Project, workers: str) -> None:
    project.run("wrong", "-x", "-n", workers)
    assert not project.facts()["complete"]
    assert 1 <= len(project.records()) < 4


def test_short_summaries(project: Project) -> None:
    project.run("right", "-q").stdout.fnmatch_lines(["backend *", "right *"])
    shortest = project.run("right", "-qq")
    assert "4 pass, 0 deviation, 0 unsupported, 0 fail, 0 error" in shortest.outlines
    assert "backend" not in shortest.stdout.str()


def test_without_a_cache(project: Project) -> None:
    project.run("right", "-p", "no:cacheprovider").assert_outcomes(passed=4)


def test_deviations_are_expected_failures(project: Project) -> None:
    result = project.run("known", "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes() == {"deviation": 4}
    result.stdout.fnmatch_lines(["known * 0 * 4 * 0 * 0 * 0 *", "deviation", "*4  There is no such kernel."])
    assert ElementTree.parse(project.path / "junit.xml").getroot()[0].get("skipped") == "4"


def test_a_recorded_loss_of_precision_that_nothing_shows_is_stale_at_the_end_of_a_whole_run(project: Project) -> None:
    seen = project.run("lossy", "-n2")
    assert (seen.ret, seen.parseoutcomes()) == (pytest.ExitCode.OK, {"passed": 3, "deviation": 1})
    unseen = project.run("lossless", "-n2")
    assert (unseen.ret, unseen.parseoutcomes()) == (pytest.ExitCode.TESTS_FAILED, {"passed": 4})
    unseen.stdout.fnmatch_lines(["FAILED: stale deviation: *lossless.yaml:1 records *float32*remove it"])


def test_a_deviation_of_a_case_that_is_gone_is_stale(project: Project) -> None:
    result = project.run("forgotten")
    assert (result.ret, result.parseoutcomes()) == (pytest.ExitCode.TESTS_FAILED, {"passed": 4})
    result.stdout.fnmatch_lines(["FAILED: stale deviation: *forgotten.yaml:1 names the case `products::renamed*`*"])


@pytest.mark.parametrize("part", [["-k", "product"], ["cases/products.yaml::product"], ["--dtype=float64"]], ids=str)
def test_a_part_of_a_run_says_nothing_about_stale_losses(project: Project, part: list[str]) -> None:
    assert project.run("lossless", *part).ret == pytest.ExitCode.OK


def test_deviations_that_cannot_be_used_are_refused(project: Project) -> None:
    result = project.run("misrecorded")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*misrecorded.yaml:2:*grade*"])


def test_a_mistake_of_the_suite_is_loud(project: Project) -> None:
    project.write(
        "mistaken.py",
        """
def judge(*arguments):
    raise ValueError("a mistake of ours")

def pytest_configure():
    import runner.item
    runner.item.judge = judge
""",
    )
    result = project.run("right", "-p", "mistaken")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"errors": 4}
    result.stdout.fnmatch_lines(["Traceback (most recent call last):", "ValueError: a mistake of ours"])
    assert {record["verdict"] for record in project.records().values()} == {"error"}


# What must not go unnoticed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "arguments", "failed"),
    [
        ("right absent", ["--backend", "right"], None),
        ("right wrong", ["--backend", "right", "--require=wrong"], None),
        ("right absent", ["--backend", "right", "--require=absent"], "absent had to run and could not: *absent*"),
        ("right absent", [], "absent had to run and could not: *absent*"),
        ("right broken", [], "broken had to run and could not: *undefined symbol*"),
        ("right homeless", [], "homeless had to run and could not: *no device*"),
        ("absent", [], "absent had to run and could not: *absent*"),
    ],
)
def test_required_backends(project: Project, names: str, arguments: list[str], failed: str | None) -> None:
    result = project.run(names, *arguments)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK)
    if failed:
        result.stdout.fnmatch_lines(["did not run", f"FAILED: {failed}"])
    if "right" in names:
        assert len(project.records()) == 4
        assert project.facts()["exit_status"] == result.ret


def test_a_crash_is_recorded_and_the_rest_goes_on(project: Project) -> None:
    result = project.run("right aborting", "-n", "2", "--junit-xml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["passed"] == 7
    assert result.parseoutcomes()["errors"] == 1
    records = project.records()
    assert len(records) == 8
    crashed = records[ids("transpose", backend="aborting")[0]]
    assert crashed["verdict"] == "error"
    assert crashed["reason"] == "its worker process died while running it (SIGABRT)"
    assert (crashed["line"], crashed["kind"], crashed["dtype"]) == (6, "einsum", "float64")
    suite = ElementTree.parse(project.path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("8", "1")
    result.stdout.fnmatch_lines(
        ["cases/products.yaml:6: products::transpose", "  error *(SIGABRT)", "  again *pytest *transpose*"]
    )
    assert project.facts()["complete"]


def test_integers_of_any_size_come_from_a_worker(project: Project) -> None:
    """execnet, which carries reports, cannot write an integer below -2**31."""
    smallest = (
        "kind: einsum\ncases: {sum: {equation: 'i->', operands: [[-9223372036854775808, 1.0]], dtypes: [float64]}}\n"
    )
    project.write("cases/smallest.yaml", smallest)
    assert project.run("right", "cases/smallest.yaml", "-n", "1").parseoutcomes()["passed"] == 2


@pytest.mark.parametrize(("name", "told"), [("segfaulting", "SIGSEGV"), ("leaving", "exit status 3")])
def test_a_worker_can_end_in_other_ways_too(project: Project, name: str, told: str) -> None:
    assert project.run(name, "-n", "1").parseoutcomes()["passed"] == 3
    crashed = project.records()[ids("transpose", backend=name)[0]]
    assert (crashed["verdict"], crashed["reason"]) == ("error", f"its worker process died while running it ({told})")


def test_a_framework_that_aborts_every_time_costs_each_check_its_own_verdict_and_no_other(project: Project) -> None:
    result = project.run("always_aborting right", "-n", "1")
    assert (result.parseoutcomes()["passed"], result.parseoutcomes()["errors"]) == (4, 4)
    verdicts = {id: record["verdict"] for id, record in project.records().items()}
    assert verdicts == dict.fromkeys(ids(*NAMES), "pass") | dict.fromkeys(
        ids(*NAMES, backend="always_aborting"), "error"
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_hang_is_an_error(project: Project, workers: str) -> None:
    result = project.run("hanging", "-n", workers, "--timeout=1")
    assert result.parseoutcomes()["passed"] == 3
    assert result.parseoutcomes()["errors"] == 1
    record = project.records()[ids("transpose", backend="hanging")[0]]
    assert (record["verdict"], record["reason"]) == ("error", "no result after 1 s")


def test_a_hang_that_hears_no_signal_ends_its_worker(project: Project) -> None:
    result = project.run("stuck", "-n", "2", "--timeout=1", "-o", "faulthandler_timeout=2")
    assert result.parseoutcomes()["passed"] == 3
    assert project.records()[ids("transpose", backend="stuck")[0]]["verdict"] == "error"
    assert project.facts()["complete"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_killed_session_keeps_its_records(project: Project, workers: str) -> None:
    project.write("cases/more.yaml", PRODUCTS.replace("{i: 1}", ", ".join(f"{{i: {size}}}" for size in range(17, 77))))
    arguments = project.arguments("slow", "-n", workers)
    process = project.pytester.popen(
        [*project.pytester._getpytestargs(), *arguments], start_new_session=True, stdout=None, stderr=None
    )
    records = project.path / ".conformance" / "records.jsonl"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (records.exists() and records.read_text().count("\n") >= 3):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = project.records()
    assert 3 <= len(kept) < 60
    assert all(record["verdict"] == "pass" for record in kept.values())
    assert not project.facts()["complete"]


def test_a_run_replaces_the_one_before(project: Project) -> None:
    project.run("right")
    project.run("right", "-k", "transpose", "--report=.conformance")
    assert list(project.records()) == ids("transpose")
    assert project.facts()["selection"]["keyword"] == "transpose"
    project.run("right", "--report=another")
    assert json.loads((project.path / "another" / "run.json").read_text())["complete"]
