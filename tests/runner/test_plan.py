"""A session runs what the command line leaves of what its backends offer."""

from __future__ import annotations

import re

import pytest

from tests.support.project import NAMES, PRODUCTS, Project, ids


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
    def is_distinct(cls, config, implementation, device):
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


def test_deviations_that_cannot_be_used_are_refused(project: Project) -> None:
    result = project.run("misrecorded")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*misrecorded.yaml:2:*grade*"])


def test_without_a_cache(project: Project) -> None:
    project.run("right", "-p", "no:cacheprovider").assert_outcomes(passed=4)
