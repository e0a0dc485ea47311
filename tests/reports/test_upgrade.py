"""How an upgrade handles its arguments and the output of pip; nothing is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reports.upgrade import (
    UpgradeError,
    _backends,
    _must_be_its_own,
    explain_failure,
    parse_requirements,
    write_support,
)
from runner.selection import read_support
from tests.support import ROOT


def test_packages_select_their_backends_unless_others_are_requested() -> None:
    assert _backends(parse_requirements("jax==0.8.1"), []) == ["jax"]
    assert _backends(parse_requirements("keras==3.9.2"), []) == ["tensorflow"]
    assert _backends(parse_requirements("numpy==2.3.5 jax==0.8.1"), ["-n", "1"]) == ["jax", "numpy"]
    assert _backends(parse_requirements("numpy==2.3.5"), ["--backend=torch", "--backend", "jax"]) == ["torch", "jax"]


@pytest.mark.parametrize(("side", "message"), [("", "names no package"), ("jax=0.8", "is not a list of requirements")])
def test_an_invalid_side_is_an_error(side: str, message: str) -> None:
    with pytest.raises(UpgradeError, match=message):
        parse_requirements(side)


def test_a_package_of_no_backend_is_an_error() -> None:
    with pytest.raises(UpgradeError, match="no backend is known to depend on six"):
        _backends(parse_requirements("six==1.16.0"), [])


def test_the_output_of_pip_becomes_one_message() -> None:
    output = "ERROR: Could not find a version that satisfies the requirement jax==99 (from versions: 0.8.1, 0.8.2)\n"
    assert "jax==99 cannot be installed" in explain_failure(output, ["jax==99"])
    assert "there are 0.8.1, 0.8.2" in explain_failure(output, ["jax==99"])
    output = "The conflict is caused by:\n    The user requested a==1\n    b 2 depends on a>=2\n\nTo fix this\n"
    assert "The user requested a==1; b 2 depends on a>=2" in explain_failure(output, ["a==1", "b"])


def test_pip_never_installs_into_the_base_python(tmp_path: Path) -> None:
    with pytest.raises(UpgradeError, match="is not an environment of its own"):
        _must_be_its_own(Path(sys.executable), tmp_path)


def test_what_an_environment_does_not_support_is_written_for_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "new" / "support.json"
    write_support(Path(sys.executable), ["numpy"], file)
    lacking = read_support(str(file))["numpy"]
    names = lacking[str(ROOT / "cases" / "einsum" / "products.yaml")]
    assert "matrix_product[numpy-cpu-einsum-eager-bfloat16]" in names
    assert not any(name.endswith("float32]") for name in names)
