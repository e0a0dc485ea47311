"""Runs as a session writes them, made of records that no framework computed: for everything that reads a run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.stream import CASES, RECORDS, RUN, surroundings
from specs.case import AttentionConfig, Case, Config, EinsumConfig
from specs.record import SCHEMA_VERSION, VERDICTS, Measurement, Record, Worst
from specs.statement import statement

BACKENDS = {"jax": "0.10.2", "numpy": "2.4.6", "torch": "2.13.0"}
DTYPES = ("float64", "float32", "bfloat16", "float16")
PRODUCT = EinsumConfig(equation="ij,jk->ik", shapes=[[2, 3], [3, 4]], about="A matrix product.")
MASKED = AttentionConfig(q_len=4, head_dim=8, softcap=30.0, causal="top_left", fully_masked="nan")


def case(id: str = "einsum/products::product", line: int = 5, config: Config = PRODUCT) -> Case:
    family, _, name = id.partition("::")
    return Case(id, name, Path(f"cases/{family}.yaml"), line, config)


def record(of: Case, backend: str = "numpy", verdict: str = "pass", ratio: float | None = 0.25, **rest: Any) -> Record:
    """A record of a case; `rest` are other fields of it."""
    setting = {"device": "cpu", "implementation": "einsum", "mode": "eager", "dtype": "float64", "direction": "forward"}
    fields = {**setting, **rest}
    parts = [backend, *(fields[name] for name in ("device", "implementation", "mode", "dtype"))]
    id = f"{of.file}::{of.name}[{'-'.join(parts + ['grad'] * (fields['direction'] == 'grad'))}]"
    worst = None if ratio is None else Worst((1, 0), "-0.3960679153513782", "-0.39019012451171875", "1.03e-06")
    measurement = Measurement(ratio, 2.5, 1e-9, worst, fields["dtype"], (2, 4), "d1", {"terms": 3, "form": "any data"})
    made = Record(
        id, str(of.file), of.line, of.id, of.kind, backend, verdict=verdict, measurement=measurement, **fields
    )  # type: ignore[arg-type]
    return made if made.again else replace(made, again=f"pytest '{id}'")


def finding(backend: str, reason: str | None = None, next_step: str | None = None) -> dict[str, Any]:
    version = None if reason else BACKENDS.get(backend, "1.0")
    return {"backend": backend, "version": version, "settings": {}, "reason": reason, "next_step": next_step}


def write_run(
    folder: Path, cases: Iterable[Case], records: Iterable[Record], facts: Mapping[str, Any] | None = None
) -> Path:
    """A run's folder with these records; `facts` replace what `run.json` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "schema": SCHEMA_VERSION,
        "complete": True,
        "exit_status": 0,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:06+00:00",
        "command": "pytest",
        **surroundings(),
        "backends": {name: finding(name) for name in BACKENDS},
        "unmet": {},
        "stale_deviations": [],
        "selection": {"paths": ["cases"]},
        "broken_case_files": {},
        **(facts or {}),
    }
    (folder / RUN).write_text(json.dumps(run))
    for name, lines in ((RECORDS, (each.as_json() for each in records)), (CASES, map(statement, cases))):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def large_run(folder: Path, count: int) -> Path:
    """A run of `count` records, with as many cases, values and verdicts as real ones have."""
    chance = random.Random(count)
    cases, records = [], []
    settings = [
        {"implementation": implementation, "mode": mode, "dtype": dtype, "direction": direction}
        for implementation in ("einsum", "einsum-optimized")
        for mode in ("eager", "jit")
        for dtype in DTYPES
        for direction in ("forward", "grad")
    ]
    while len(records) < count:
        number = len(cases)
        of = case(f"einsum/family_{number // 40}::case_{number % 40}", 3 + 4 * (number % 40))
        cases.append(of)
        for backend in BACKENDS:
            for setting in settings:
                verdict = chance.choices(VERDICTS, [900, 40, 40, 5, 1])[0]
                ratio = {"pass": 1.0, "fail": 1e3}.get(verdict)
                value = ratio and ratio * chance.random() ** 3
                worst = Worst((chance.randrange(9), 0), *(repr(chance.gauss(0, 1)) for _ in range(3)))
                found = Measurement(value, chance.random(), chance.random(), worst, setting["dtype"], (2, 4), "d1")
                reason = "" if verdict == "pass" else f"{chance.randrange(50)} values are outside the error bound"
                made = record(of, backend, verdict, reason=reason, seconds=chance.random(), **setting)
                records.append(replace(made, measurement=replace(found, bound=made.measurement.bound)))
    return write_run(folder, cases, records[:count])
