"""What all tests of the suite share."""

from importlib.util import find_spec

import pytest

from tests.support.project import fakes, project  # noqa: F401  fixtures

# `pytest` without a path loads this file too, in environments that have only what the cases need
if find_spec("hypothesis"):
    from hypothesis import settings

    # How long an example takes says how busy the machine is, and nothing about the suite
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-browser", action="store_true", help="fail, not skip, tests of pages without Chromium")
