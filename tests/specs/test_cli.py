"""`python -m specs`: its output, and the exit codes that scripts rely on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.discovery import registry
from specs import __main__
from specs.__main__ import main
from specs.case import schema
from tests.support import ROOT

GOOD = 'kind: einsum\ncases:\n  one: {equation: "i->", sizes: {i: 1}}\n  two: {equation: "i->", sizes: {i: 2}}\n'
BAD = 'kind: einsum\ncases:\n  one: {equaton: "i->", sizes: {i: -1}}\n'


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file in the working directory and returns its relative name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


def test_files_without_a_problem_are_counted(file, capsys):
    assert main(["check", file("good.yaml", GOOD)]) == 0
    assert capsys.readouterr().out == "2 cases in 1 file: no problem found\n"


def test_every_problem_is_a_line_and_the_exit_code_is_one(file, capsys):
    assert main(["check", file("bad.yaml", BAD), file("good.yaml", GOOD), file("worse.yaml", "")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "bad.yaml:3:3: missing field 'equation' (expected: An einsum equation, explicit (`ij,jk->ik`) or implicit "
        "(`ij,jk`))",
        "bad.yaml:3:9: unknown key 'equaton' (did you mean 'equation'?)",
        "bad.yaml:3:36: sizes.i is -1 (expected at least 0)",
        "worse.yaml:1:1: the file is empty (expected a mapping)",
        "4 problems in 2 files",
    ]


MODES = 'kind: einsum\ncases:\n  one: {equation: "i->", sizes: {i: 1}, modes: [%s], implementations: [%s]}\n'


def test_modes_and_implementations_are_those_that_backends_declare(file, capsys):
    assert main(["check", file("good.yaml", MODES % ("eager", "einsum-out"))]) == 0
    assert main(["check", file("bad.yaml", MODES % ("jti", "einsum-oout"))]) == 1
    mode, implementation = capsys.readouterr().out.splitlines()[1:3]
    assert mode.startswith("bad.yaml:3:49: modes[0] is the text 'jti' (expected 'eager', 'jit', ")
    assert mode.endswith("; did you mean 'jit'?)")
    assert implementation.startswith("bad.yaml:3:73: implementations[0] is the text 'einsum-oout' (expected ")
    assert implementation.endswith("; did you mean 'einsum-out'?)")


def test_names_that_an_adapter_declares_can_be_used(file, monkeypatch):
    monkeypatch.setattr(registry, "_adapters", {})
    adapter = file(
        "adapter.py",
        "from backends.numpy import Numpy\n\n\nclass Own(Numpy):\n    name = 'own'\n    modes = ('fast',)\n",
    )
    assert main(["check", file("own.yaml", MODES % ("fast", "einsum")), "--adapter", adapter]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(0)", "importing it failed: SystemExit: 0"),
        ("import os; os._exit(0)", "importing it ended the process (exit status 0)"),
        ("raise OSError('\\ud800')", "importing it failed: OSError: \\ud800"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused_in_a_sentence(file, capsys, text, message):
    with pytest.raises(SystemExit) as error:
        main(["check", file("own.yaml", GOOD), "--adapter", file("adapter.py", text)])
    assert error.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"adapter.py: {message}")


def test_deviations_beside_an_adapter_are_checked(file, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_adapters", {})
    adapter = file("adapter.py", "from backends.numpy import Numpy\n\n\nclass Own(Numpy):\n    name = 'own'\n")
    file("deviations/own.yaml", "- match: {case: '*'}\n  observed: {error: ''}\n")
    assert main(["check", file("own.yaml", GOOD), "--adapter", adapter]) == 1
    assert "deviations/own.yaml:2:21: observed.error: '' may be in any message (expected" in capsys.readouterr().out


def test_directories_are_searched(file, capsys):
    for name in ("some/b/one.yaml", "some/a/two.yaml"):
        file(name, GOOD)
    file("some/a/three.txt", BAD)
    assert main(["check", "some"]) == 0
    assert capsys.readouterr().out == "4 cases in 2 files: no problem found\n"


def test_without_paths_the_projects_cases_are_checked(file, capsys, monkeypatch, tmp_path):
    file("project/cases/einsum/bad.yaml", "kind: einsum\n")
    monkeypatch.setattr(__main__, "ROOT", tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    assert main(["check"]) == 1
    assert capsys.readouterr().out.startswith("cases/einsum/bad.yaml:1:1: missing field 'cases'")


def test_without_paths_elsewhere_the_current_folder_is_checked(file, capsys):
    with pytest.raises(SystemExit):
        main(["check"])
    assert "no file (*.yaml) found" in capsys.readouterr().err
    file("mine/good.yaml", GOOD)
    file("bad.yaml", BAD)
    assert main(["check"]) == 1
    assert "unknown key 'equaton'" in capsys.readouterr().out


def test_an_installation_has_no_cases_to_check(file, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(__main__, "ROOT", tmp_path)
    paths = [file("good.yaml", GOOD), file("deviations/some.yaml", DEVIATION % ("two", "float32", "numpy"))]
    assert main(["check", *paths]) == 1
    assert "'good::one' matches no case" not in capsys.readouterr().out


DEVIATION = """\
- match: {case: [good::one, %s], dtype: %s}
  versions: {%s: ">=1"}
  observed: {error: True}
  grade: bug
  reason: The cause is unknown.
"""


def test_deviations_are_checked_together_with_the_cases_that_they_match(file, capsys):
    paths = [file("good.yaml", GOOD), file("deviations/some.yaml", DEVIATION % ('"go*::t?o"', "float32", "numpy"))]
    assert main(["check", *paths]) == 0
    assert capsys.readouterr().out == "2 cases and 1 deviation in 2 files: no problem found\n"


def test_a_deviation_may_match_any_case_of_the_project(file, capsys):
    entry = DEVIATION.replace("good::one", "einsum/products::matrix_product") % ("einsum/*", '"*"', "jax")
    assert main(["check", file("deviations/some.yaml", entry)]) == 0
    assert capsys.readouterr().out == "1 deviation in 1 file: no problem found\n"


def test_names_in_a_deviation_must_exist(file, capsys):
    paths = [file("good.yaml", GOOD), file("deviations/some.yaml", DEVIATION % ('"good::t"', "float23", "nunpy"))]
    assert main(["check", *paths]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "deviations/some.yaml:1:3: match.case: 'good::t' matches no case; did you mean 'good::two'?",
        "deviations/some.yaml:1:3: match.dtype: 'float23' matches no dtype; did you mean 'float32'?",
        "deviations/some.yaml:1:3: versions: 'nunpy' is no package that is required or installed",
        "3 problems in 1 file",
    ]


def test_a_mistake_in_a_deviation_is_reported_at_its_position(file, capsys):
    entry = DEVIATION.replace("bug", "bugg") % ("good::two", "float32", "numpy")
    assert main(["check", file("deviations/some.yaml", entry)]) == 1
    assert "deviations/some.yaml:4:10: grade is the text 'bugg'" in capsys.readouterr().out


def test_a_wrong_key_of_a_mapping_is_reported_with_the_valid_ones(file, capsys):
    entry = DEVIATION.replace("error: True", "precision: {sum: float16}") % ("two", "float32", "numpy")
    assert main(["check", file("deviations/some.yaml", entry)]) == 1
    assert "deviations/some.yaml:3:26: unknown key 'sum' (expected 'multiply'" in capsys.readouterr().out


def test_cases_of_an_invalid_file_are_not_reported_as_missing(file, capsys):
    paths = [file("good.yaml", BAD), file("deviations/some.yaml", DEVIATION % ("good::two", "float32", "numpy"))]
    assert main(["check", *paths]) == 1
    assert "matches no" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere.yaml"], "no such file or directory: nowhere.yaml"),
        (["check", "."], "no file (*.yaml) found"),
        (["schema", "--chekc"], "unrecognized arguments"),
        ([], "the following arguments are required: command"),
    ],
)
@pytest.mark.usefixtures("file")
def test_a_wrong_command_line_is_exit_code_two(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_the_schema_is_written_and_then_up_to_date(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(schema, "SCHEMA_PATH", tmp_path / "case.schema.json")
    outdated = "case.schema.json is out of date: run `python -m specs schema`\n"
    assert main(["schema", "--check"]) == 1
    assert capsys.readouterr().out == outdated
    assert not schema.SCHEMA_PATH.exists()
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == "case.schema.json written\n"
    assert main(["schema", "--check"]) == 0
    assert capsys.readouterr().out == "case.schema.json is up to date\n"
    schema.SCHEMA_PATH.write_text("{}", encoding="utf-8")
    assert main(["schema", "--check"]) == 1
    assert capsys.readouterr().out == outdated


def test_checking_imports_no_framework_but_numpy(file):
    script = (
        "import sys; from specs.__main__ import main; code = main(['check', sys.argv[1]]);"
        "print(code, sorted({'torch', 'jax', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    path = Path(file("good.yaml", GOOD)).resolve()
    file("deviations/some.yaml", DEVIATION % ("good::two", "float32", "numpy"))
    result = subprocess.run(
        [sys.executable, "-c", script, path.parent], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "0 []"


def test_it_runs_as_a_module(file):
    path = Path(file("bad.yaml", BAD)).resolve()
    command = [sys.executable, "-m", "specs", "check", path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout.endswith("3 problems in 1 file\n")
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["specs reach", "backends", "reports --help", "runner --help"])
def test_a_command_ends_quietly_where_nobody_reads_its_output(command):
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", *command.split()]
    result = subprocess.run(words, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert result.stderr == ""
    assert result.returncode == 141 or "--help" in command  # of which argparse says that it was printed


def test_a_wrong_item_of_a_list_is_reported_with_the_description_of_its_field(file, capsys):
    entry = DEVIATION % ("two", "float32", "numpy") + '  processor: ["AVX2"]\n'
    assert main(["check", file("deviations/some.yaml", entry)]) == 1
    assert "processor[0] is the text 'AVX2' (expected: What the processor must have" in capsys.readouterr().out
