"""Made-up runs, written as a session writes them, for tests of everything that reads a run."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.environment import describe_environment
from reports.folders import CASES, RECORDS, RUN
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.einsum import EinsumConfig
from specs.verdict.record import SCHEMA_VERSION, VERDICTS, Measurement, Record, WorstElement
from specs.verdict.statement import make_statement

BACKENDS = {"jax": "0.10.2", "numpy": "2.4.6", "torch": "2.13.0"}
DTYPES = ("float64", "float32", "bfloat16", "float16")
PRODUCT = EinsumConfig(equation="ij,jk->ik", shapes=[[2, 3], [3, 4]], about="A matrix product.")
MASKED = AttentionConfig(q_len=4, head_dim=8, softcap=30.0, causal="top_left", fully_masked="nan")


def case(id: str = "einsum/products::product", line: int = 5, config: Config = PRODUCT) -> Case:
    family, _, name = id.partition("::")
    return Case(id, name, Path(f"cases/{family}.yaml"), line, config)


def record(
    case: Case, backend: str = "numpy", verdict: str = "pass", ratio: float | None = 0.25, **fields: Any
) -> Record:
    """A record of a case; `fields` are other fields of it."""
    setting = {"device": "cpu", "implementation": "einsum", "mode": "eager", "dtype": "float64", "direction": "forward"}
    fields = {**setting, **fields}
    parts = [backend, *(fields[name] for name in ("device", "implementation", "mode", "dtype"))]
    id = f"{case.file}::{case.name}[{'-'.join(parts + ['grad'] * (fields['direction'] == 'grad'))}]"
    worst = None if ratio is None else WorstElement((1, 0), "-0.3960679153513782", "-0.39019012451171875", "1.03e-06")
    bound = {"terms": 3, "form": "any data"}
    measurement = Measurement(
        ratio, 2.5, 1e-9, worst, fields["dtype"], (2, 4), digest="d1", nan=0, infinite=0, bound=bound
    )
    check_record = Record(
        id, str(case.file), case.line, case.id, case.kind, backend, verdict=verdict, measurement=measurement, **fields
    )  # type: ignore[arg-type]
    return check_record if check_record.again else replace(check_record, again=f"pytest '{id}'")


def finding(backend: str, reason: str | None = None, next_step: str | None = None) -> dict[str, Any]:
    version = None if reason else BACKENDS.get(backend, "1.0")
    stated = {"status": "missing" if reason else "ready", "devices": {}, "settings": {}, "versions": {}}
    return {"backend": backend, "version": version, **stated, "reason": reason, "next_step": next_step}


def write_run(
    folder: Path, cases: Iterable[Case], records: Iterable[Record], facts: Mapping[str, Any] | None = None
) -> Path:
    """Write a run with these records; `facts` replace the defaults in `run.json`."""
    return write_lines(folder, cases, (record.as_json() for record in records), facts)


def write_lines(
    folder: Path, cases: Iterable[Case], records: Iterable[dict[str, Any]], facts: Mapping[str, Any] | None = None
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "schema": SCHEMA_VERSION,
        "complete": True,
        "exit_status": 0,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:06+00:00",
        "command": "pytest",
        **describe_environment(),
        "backends": {name: finding(name) for name in BACKENDS},
        "unmet": {},
        "stale_deviations": [],
        "tier": "full",
        "selection": {"paths": ["cases"]},
        "broken_case_files": {},
        **(facts or {}),
    }
    (folder / RUN).write_text(json.dumps(run))
    for name, lines in ((RECORDS, records), (CASES, map(make_statement, cases))):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def large_run(folder: Path, count: int) -> Path:
    """Write a run of `count` records, with the variety of cases, values and verdicts of a real one."""
    rng = random.Random(count)
    settings = itertools.product(("einsum", "einsum-optimized"), ("eager", "jit"), DTYPES, ("forward", "grad"))
    names = ("implementation", "mode", "dtype", "direction")
    patterns = [
        record(case("einsum/FAMILY::CASE"), backend, **dict(zip(names, setting, strict=True))).as_json()
        for backend, setting in itertools.product(BACKENDS, settings)
    ]
    cases: list[Case] = []
    records: list[dict[str, Any]] = []
    while len(records) < count:
        large_case = case(f"einsum/family_{len(cases) // 40}::case_{len(cases) % 40}", 3 + 4 * (len(cases) % 40))
        cases.append(large_case)
        for pattern in patterns:
            case_fields = {
                name: pattern[name].replace("FAMILY", large_case.file.stem).replace("CASE", large_case.name)
                for name in ("id", "file", "case", "again")
            }
            records.append(pattern | case_fields | {"line": large_case.line} | _varied(rng, pattern["worst"]))
    return write_lines(folder, cases, records[:count])


def _varied(rng: random.Random, worst: dict[str, Any]) -> dict[str, Any]:
    """The fields that differ from check to check."""
    verdict = rng.choices(VERDICTS, [900, 40, 40, 5, 1])[0]
    largest = {"pass": 1.0, "fail": 1e3}.get(verdict)
    return {
        "verdict": verdict,
        "reason": "" if verdict == "pass" else f"{rng.randrange(50)} values are outside the error bound",
        "error_ratio": largest and largest * rng.random() ** 3,
        "max_ulp": rng.random(),
        "max_abs": rng.random(),
        "seconds": rng.random(),
        "worst": worst | {name: repr(rng.gauss(0, 1)) for name in ("expected", "got", "bound")},
    }
