"""Computations of installed frameworks that end the process, each survived by a session with a worker.

Only by request: `pytest tests/runner/test_killers.py --killers`.  Where a newer version of a framework no longer dies,
its test fails: then the line is to be replaced.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.support.project import ADAPTER, Project, ids

KILLERS = {
    "torch": """
import torch
none, keys = torch.zeros(1, 2, 0, 8), torch.zeros(1, 2, 3, 8)
torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(none, keys, keys)
""",
    "tensorflow": """
import tensorflow as tf
tf.raw_ops.Einsum(inputs=[tf.ones((2, 3)), tf.ones((3, 4))], equation="ij,jk->ikz")
""",
    "jax": """
import jax
one_feature = jax.numpy.linspace(-1, 1, 128).reshape(1, 64, 2, 1).astype("bfloat16")
jax.jit(jax.nn.dot_product_attention)(one_feature, one_feature, one_feature).block_until_ready()
""",
}
# By processor and version: the flash operator divides by zero
SIGNALS = {"torch": ("SIGFPE", "SIGSEGV", "SIGABRT"), "tensorflow": ("SIGABRT",), "jax": ("SIGABRT",)}


@pytest.mark.parametrize("framework", KILLERS)
def test_a_process_killer_costs_one_check(project: Project, framework: str, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--killers"):
        pytest.skip("only with --killers")
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    body = f"if config.equation == 'ij->ji': exec({KILLERS[framework]!r}, {{}})"
    name = f"{framework}_killer"
    adapter = ADAPTER.format(name=name, distribution="numpy", start="pass", body=body, devices=["cpu"])
    (project.fakes / f"{name}.py").write_text(adapter)
    result = project.run(name, "-n", "1")
    assert result.parseoutcomes() == {"passed": 3, "errors": 1}
    records = project.records()
    died = records.pop(ids("transpose", backend=name)[0])
    reasons = [f"its worker process died while running it ({signal})" for signal in SIGNALS[framework]]
    assert (died["verdict"], died["reason"] in reasons) == ("error", True), died["reason"]
    assert [record["verdict"] for record in records.values()] == ["pass"] * 3
    assert project.facts()["complete"]
