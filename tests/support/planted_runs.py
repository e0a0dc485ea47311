"""Records and runs made up for tests, written as a session writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specs.verdict.record import SCHEMA_VERSION, VERDICTS, Measurement, Record

MEASURED = {
    *("error_ratio", "max_ulp", "max_abs", "rms", "bias"),
    *("output_dtype", "output_shape", "nan", "infinite", "digest", "bound"),
}
RIGHT = {
    "error_ratio": 0.1,
    "output_dtype": "float32",
    "output_shape": (2, 3),
    "nan": 0,
    "infinite": 0,
    "digest": "aa",
    "bound": {"precision": {"storage": "float32"}, "terms": 7},
}


def record(case: str = "products::matrix", **said: Any) -> dict[str, Any]:
    """A check that passed, but for what is said."""
    where = {"backend": "jax", "device": "cpu", "implementation": "einsum", "mode": "eager", "dtype": "float32"}
    where = {name: said.pop(name, usual) for name, usual in where.items()}
    direction = said.pop("direction", "forward")
    measured = {name: said.pop(name) for name in MEASURED & said.keys()}
    unmeasured = said.get("verdict") in ("unsupported", "error") or said.pop("refused", False)
    family, _, name = case.partition("::")
    last = "-grad" if direction == "grad" else ""
    made = Record(
        id=f"cases/{family}.yaml::{name}[{'-'.join(where.values())}{last}]",
        file=f"cases/{family}.yaml",
        line=3,
        case=case,
        kind="einsum",
        direction=direction,
        measurement=Measurement(**measured) if unmeasured else Measurement(**RIGHT | measured),
        **({"verdict": "pass", "seconds": 0.01} | where | said),
    )
    return made.as_json()


def facts(**said: Any) -> dict[str, Any]:
    jax = {"status": "ready", "version": "0.8.1", "devices": {"cpu": []}, "settings": {}, "versions": {"jax": "0.8.1"}}
    usual = {"complete": True, "exit_status": 0, "started": "2026-01-01", "finished": "2026-01-02", "python": "3.11.7"}
    return {"schema": SCHEMA_VERSION, **usual, "packages": {"jax": "0.8.1"}, "backends": {"jax": jax}, **said}


def write(folder: Path, *records: dict[str, Any], **said: Any) -> Path:
    """A run on disk."""
    folder.mkdir(parents=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    verdicts = {verdict: sum(each["verdict"] == verdict for each in records) for verdict in VERDICTS}
    (folder / "run.json").write_text(json.dumps(facts(**said) | {"verdicts": verdicts}))
    return folder
