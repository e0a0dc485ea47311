"""Shared by all tests of the suite."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from runner.plan import cache_folder
from tests.support.checks import Compiled
from tests.support.programs import Programs
from tests.support.project import fakes, prepared, project  # noqa: F401  fixtures

# `pytest` without a path loads this file too, also where only the packages for the cases are installed
if find_spec("hypothesis"):
    from hypothesis import settings

    # The duration of an example depends on the load of the machine, not on the suite
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--killers", action="store_true", help="also test what ends processes of installed frameworks")
    parser.addoption("--require-browser", action="store_true", help="fail, not skip, tests of pages without Chromium")


def pytest_configure(config: pytest.Config) -> None:
    Compiled.folder = cache_folder(config, "compiled")


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    servers = Programs()
    yield servers
    servers.close()
