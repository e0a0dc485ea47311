"""A separate project for sessions of pytest, with tiny backends that are known to be right or wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reports.read import read
from runner.cores import THREADS
from tests.support import ROOT
from tests.support.prepared import Prepared

ADAPTER = """
import itertools, os, signal, time
import numpy as np
from backends.base import Backend

class Fake(Backend):
    name = "{name}"
    distribution = "{distribution}"
    implementations = {{"einsum": ("einsum", "einsum-again")}}
    modes = ("eager", "jit")

    def __init__(self):
        import fake_framework
        {start}

    def devices(self):
        return {devices}

    def dtypes(self, device):
        return frozenset({{"float64", "float32"}})

    def from_numpy(self, array, device):
        return array

    def to_numpy(self, tensor):
        return tensor

    def compile(self, computation, check):
        return computation

    def einsum(self, config, implementation):
        def compute(operands):
            right = np.array(np.einsum(config.equation, *operands.values()))  # no view
            {body}
            return right
        return compute

    def attention(self, config, implementation):
        raise NotImplementedError
"""
BODIES = {
    "right": "",
    "wrong": "right = right + 1",
    "raising": "raise RuntimeError('no kernel for this')",
    "known": "raise RuntimeError('no kernel for this')",
    "misrecorded": "",
    "lossy": "right = right.astype(np.float32).astype(right.dtype) if 'jk' in config.equation else right",
    "lossless": "",
    "forgotten": "",
    "aborting": "if config.equation == 'ij->ji': os.abort()",
    "segfaulting": "if config.equation == 'ij->ji': os.kill(os.getpid(), signal.SIGSEGV)",
    "leaving": "if config.equation == 'ij->ji': os._exit(3)",
    "always_aborting": "os.abort()",
    "hanging": "while config.equation == 'ij->ji': time.sleep(0.01)",
    "stuck": "if config.equation == 'ij->ji': sum(itertools.repeat(0))",  # handles no signal
    "slow": "time.sleep(0.3)",
    "hostile": "raise RuntimeError('\\x00 \\x1b[31m ]]> </script><script>alert(1)</script> \\udc80 %0A::error::')",
}
LOSS = """\
- match: {case: "products::product"}
  observed: {precision: {accumulate: float32}}
  grade: limitation
  reason: Sums are made in float32.
"""
DEVIATIONS = {
    "known": """\
- match: {case: "*"}
  observed: {error: no kernel}
  grade: limitation
  reason: There is no such kernel.
""",
    "misrecorded": "- match: {case: '*'}\n  grade: whim\n",
    "lossy": LOSS,
    "lossless": LOSS,
    "forgotten": LOSS.replace("products::product", "products::renamed*"),
}
STARTS = {
    "absent": "import absent_framework",
    "broken": "raise OSError('libbroken.so: undefined symbol')",
}

PRODUCTS = """\
kind: einsum
about: Products.
defaults: {dtypes: [float64], implementations: [einsum]}
cases:
  product: {equation: "ij,jk->ik", shapes: [[2, 3], [3, 4]], about: A matrix product.}
  transpose: {equation: "ij->ji", shapes: [[2, 3]]}
  long_sums:
    equation: i,i->
    sweep: {sizes: [{i: 1}, {i: 16}]}
"""
NAMES = ["product", "transpose", "long_sums/1", "long_sums/16"]
BROKEN = """\
kind: einsum
cases:
  product: {equashun: "ij,jk->ik", shapes: [[2, 3], [3, 4]]}
  sum: {equation: "i->", shapes: [[-1]]}
"""


FAKE_FRAMEWORK = """
import os
from pathlib import Path
Path(os.environ["IMPORTED"]).touch()
"""
FAKES = (*BODIES, *STARTS, "homeless")


class Project:
    """A project with the suite's own conftest.py, in which sessions run as a user would run them."""

    def __init__(self, path: Path, fakes: Path, prepared: Prepared) -> None:
        self.path, self.fakes, self.prepared = path, fakes, prepared
        self.imported = self.path / "imported"  # exists as soon as a process has imported the fakes' framework
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.path)
        self.write("cases/products.yaml", PRODUCTS)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def arguments(self, names: str, *arguments: str) -> list[str]:
        """Options that select only these fakes."""
        # The plugin of hypothesis takes as long to import as everything else in such a session
        options = ["-p", "no:hypothesispytest", "-o", f"cache_dir={self.fakes / 'cache'}"]
        options += [f"--adapter={self.fakes / name}.py" for name in names.split()]
        if "--backend" not in arguments:
            options += [f"--backend={name}" for name in names.split()]
        return [*options, *arguments]

    def run(self, names: str, *arguments: str) -> pytest.RunResult:
        return self.prepared.pytest(self.path, *self.arguments(names, *arguments))

    def collected(self, names: str, *arguments: str) -> list[str]:
        result = self.run(names, "--collect-only", "-q", *arguments)
        return [line for line in result.outlines if "::" in line]

    @property
    def folder(self) -> Path:
        """Of the last run."""
        return last_run(self.path)

    def texts(self, name: str) -> list[str]:
        """The contents of the files with this name in all runs."""
        return [file.read_text() for file in self.path.glob(f".conformance/runs/*/{name}")]

    def records(self) -> dict[str, dict]:
        return {record["id"]: record for record in read(self.folder).records()}

    def facts(self) -> dict:
        return read(self.folder).facts


def last_run(home: Path) -> Path:
    """The folder of the run that was written last by a session in this folder, whole or not."""
    return max((home / ".conformance" / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)


def ids(*names: str, backend: str = "right", file: str = "cases/products.yaml", mode: str = "eager") -> list[str]:
    return [f"{file}::{name}[{backend}-cpu-einsum-{mode}-float64]" for name in names]


# Fixtures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Path:
    """The folder of adapters and of pytest's cache, which sessions share so that each fake is examined only once."""
    folder = tmp_path_factory.mktemp("fakes")
    (folder / "fake_framework.py").write_text(FAKE_FRAMEWORK)
    for name in FAKES:
        adapter = ADAPTER.format(
            name=name,
            distribution="absent" if name == "absent" else "numpy",
            start=STARTS.get(name, "pass"),
            body=BODIES.get(name, ""),
            devices=[] if name == "homeless" else ["cpu"],
        )
        (folder / f"{name}.py").write_text(adapter)
    (folder / "deviations").mkdir()
    for name, text in DEVIATIONS.items():
        (folder / "deviations" / f"{name}.yaml").write_text(text)
    with environment(folder):
        examine(folder, BODIES, prepared)
    return folder


def examine(folder: Path, names: Iterable[str], prepared: Prepared) -> None:
    """Examine the adapters with these names for the cases of a new project, in the present environment."""
    products = folder / "products.yaml"
    products.write_text(PRODUCTS)
    prepared.examine(folder / "cache", products, [folder / f"{name}.py" for name in names])


@contextmanager
def environment(*folders: Path) -> Iterator[pytest.MonkeyPatch]:
    """What sessions of a project have in common; fakes are in one of the folders, a project may be in another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, *folders))))
        patch.setenv("IMPORTED", str(folders[-1] / "imported"))
        patch.setenv("COLUMNS", "120")
        for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):  # of a CI that runs these tests
            patch.delenv(name, raising=False)
        for name in THREADS:  # what is known of a backend depends on them, and they on the number of workers
            patch.setenv(name, os.environ.get(name, "1"))
        yield patch


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    program = Prepared()
    yield program
    program.close()


@pytest.fixture
def project(fakes: Path, prepared: Prepared) -> Iterator[Project]:
    """A new project, in the folder of the one before: what the fakes support is kept by the paths of case files."""
    folder = fakes.parent / f"{fakes.name}-project" / "project"
    folder.mkdir(parents=True)
    project = Project(folder, fakes, prepared)
    with environment(fakes, folder) as patch:
        patch.chdir(folder)
        yield project
    shutil.rmtree(folder.parent)
