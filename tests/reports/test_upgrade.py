"""What an upgrade makes of its arguments, and of what pip says; nothing is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reports.upgrade import UpgradeError, _backends, _must_be_its_own, explained, requirements


def test_packages_lead_to_their_backends_unless_others_are_asked_for() -> None:
    assert _backends(requirements("jax==0.8.1"), []) == ["jax"]
    assert _backends(requirements("keras==3.9.2"), []) == ["tensorflow"]
    assert _backends(requirements("numpy==2.3.5 jax==0.8.1"), ["-n", "1"]) == ["jax", "numpy"]
    assert _backends(requirements("numpy==2.3.5"), ["--backend=torch", "--backend", "jax"]) == ["torch", "jax"]


@pytest.mark.parametrize(("side", "told"), [("", "names no package"), ("jax=0.8", "is not a list of requirements")])
def test_a_side_that_is_no_list_of_requirements_is_told(side: str, told: str) -> None:
    with pytest.raises(UpgradeError, match=told):
        requirements(side)


def test_a_package_that_no_backend_knows_is_told() -> None:
    with pytest.raises(UpgradeError, match="no backend is known to depend on six"):
        _backends(requirements("six==1.16.0"), [])


def test_what_pip_says_becomes_one_message() -> None:
    said = "ERROR: Could not find a version that satisfies the requirement jax==99 (from versions: 0.8.1, 0.8.2)\n"
    assert "jax==99 cannot be installed" in explained(said, ["jax==99"])
    assert "there are 0.8.1, 0.8.2" in explained(said, ["jax==99"])
    said = "The conflict is caused by:\n    The user requested a==1\n    b 2 depends on a>=2\n\nTo fix this\n"
    assert "The user requested a==1; b 2 depends on a>=2" in explained(said, ["a==1", "b"])


def test_nothing_is_installed_into_a_python_that_is_not_the_environments_own(tmp_path: Path) -> None:
    with pytest.raises(UpgradeError, match="is no environment of its own"):
        _must_be_its_own(Path(sys.executable), tmp_path)
