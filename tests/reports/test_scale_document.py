"""The workflow in docs/scale.md: it can be read, and its commands do what the document says."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from reports.read import read
from tests.support import ROOT
from tests.support.project import NAMES, Project, ids

(TEXT,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL)
JOBS: dict[str, Any] = yaml.safe_load(TEXT)["jobs"]


def command(job: str, start: str) -> list[str]:
    """The words of the command of a job that begins so, without its interpreter."""
    (found,) = (step["run"] for step in JOBS[job]["steps"] if step.get("run", "").startswith(start))
    return shlex.split(found)[3:]


def test_the_jobs_belong_together() -> None:
    shards = JOBS["shard"]["strategy"]["matrix"]["shard"]
    assert f"${{{{ matrix.shard }}}}/{len(shards)}" in next(
        step["run"] for step in JOBS["shard"]["steps"] if "--shard" in step.get("run", "")
    )
    assert shards == list(range(1, len(shards) + 1))
    assert JOBS["whole"]["needs"] == "shard"
    uploads = [step["with"] for step in JOBS["shard"]["steps"] if step.get("uses", "").startswith("actions/upload")]
    downloads = [step["with"] for step in JOBS["whole"]["steps"] if step.get("uses", "").startswith("actions/download")]
    assert uploads == [{"name": "shard-${{ matrix.shard }}", "path": "run"}]
    assert downloads == [{"pattern": "shard-*", "path": "shards"}]


def test_actions_have_the_versions_of_the_projects_own_workflow() -> None:
    own = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    versions = dict(re.findall(r"uses: (actions/[\w-]+)@(v\d+)", own))
    used = dict(re.findall(r"uses: (actions/[\w-]+)@(v\d+)", TEXT))
    assert {name: used.get(name) for name in versions} == versions


@pytest.mark.parametrize("adapter", ["right", "wrong"])
def test_its_commands_run_shards_and_join_them(project: Project, adapter: str) -> None:
    """The matrix is expanded as GitHub does, one backend stands for all, and folders are moved as artifacts are."""
    statuses = []
    for shard in JOBS["shard"]["strategy"]["matrix"]["shard"]:
        words = " ".join(command("shard", "python -m pytest")).replace("${{ matrix.shard }}", str(shard))
        assert words.startswith("-n auto -q --require all ")
        statuses.append(project.run(adapter, *words.removeprefix("-n auto -q --require all ").split()).ret)
        (project.path / "shards").mkdir(exist_ok=True)
        (project.path / "run").rename(project.path / "shards" / f"shard-{shard}")
    out, pattern = command("whole", "python -m reports merge")[1:]
    folders = sorted(map(str, project.path.glob(pattern)))
    joined = project.prepared.run("reports", project.path, "merge", out, *folders)
    assert joined.returncode == max(statuses) == (adapter == "wrong")
    assert sorted(record["id"] for record in read(project.path / out).records()) == sorted(ids(*NAMES, backend=adapter))
    assert (project.path / out / "summary.md").read_text().startswith("# ✓" if adapter == "right" else "# ✕")
