"""Made-up records and runs for comparisons, as a session writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reports.environment import describe_environment
from specs.verdict.record import SCHEMA_VERSION, VERDICTS, Measurement, Record
from specs.verdict.statement import make_statement
from tests.support.runs import case, finding

MEASUREMENT_FIELDS = {
    *("error_ratio", "max_ulp", "max_abs", "rms", "bias"),
    *("output_dtype", "output_shape", "nan", "infinite", "digest", "bound"),
}
MEASUREMENT = {
    "error_ratio": 0.1,
    "output_dtype": "float32",
    "output_shape": (2, 3),
    "nan": 0,
    "infinite": 0,
    "digest": "aa",
    "bound": {"precision": {"storage": "float32"}, "terms": 7},
}


def record(case: str = "products::matrix", **fields: Any) -> dict[str, Any]:
    """The record of a check that passed, with the given fields changed."""
    setting = {"backend": "jax", "device": "cpu", "implementation": "einsum", "mode": "eager", "dtype": "float32"}
    setting = {name: fields.pop(name, default) for name, default in setting.items()}
    direction = fields.pop("direction", "forward")
    measurement = {name: fields.pop(name) for name in MEASUREMENT_FIELDS & fields.keys()}
    has_no_measurement = fields.get("verdict") in ("unsupported", "error") or fields.pop("refused", False)
    family, _, name = case.partition("::")
    suffix = "-grad" if direction == "grad" else ""
    check_record = Record(
        id=f"cases/{family}.yaml::{name}[{'-'.join(setting.values())}{suffix}]",
        file=f"cases/{family}.yaml",
        line=3,
        case=case,
        kind="einsum",
        direction=direction,
        measurement=Measurement(**measurement) if has_no_measurement else Measurement(**MEASUREMENT | measurement),
        **({"verdict": "pass", "seconds": 0.01} | setting | fields),
    )
    return check_record.as_json()


def facts(**changes: Any) -> dict[str, Any]:
    jax = finding("jax") | {"version": "0.8.1", "devices": {"cpu": []}, "versions": {"jax": "0.8.1"}}
    defaults = {
        "complete": True,
        "exit_status": 0,
        "started": "2026-01-01",
        "finished": "2026-01-02",
        "python": "3.11.7",
    }
    defaults = describe_environment() | defaults
    return {"schema": SCHEMA_VERSION, **defaults, "packages": {"jax": "0.8.1"}, "backends": {"jax": jax}, **changes}


def write(folder: Path, *records: dict[str, Any], **changes: Any) -> Path:
    """Write a run."""
    folder.mkdir(parents=True)
    statements = [make_statement(case(name)) for name in dict.fromkeys(record["case"] for record in records)]
    for name, lines in (("records.jsonl", records), ("cases.jsonl", statements)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdicts = {verdict: sum(record["verdict"] == verdict for record in records) for verdict in VERDICTS}
    (folder / "run.json").write_text(json.dumps(facts(**changes) | {"verdicts": verdicts}))
    return folder
