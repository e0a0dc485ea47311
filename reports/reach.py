"""The table of reach of a run: which features of cases met in the checks that were computed, and at which sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from specs.case.error import CaseError
from specs.reach.fields import FEATURES
from specs.reach.reach import SIZES, VIEWS, Reach, view_of, why_impossible
from specs.verdict.statement import read_config

COMPUTED = ("pass", "deviation", "fail")


def collect_reach(records: Iterable[Mapping[str, Any]], statements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """For each kind of case its features, and for each two of them, in triangular order, the largest size by view.

    A pair that cannot meet has the reason instead, and a pair that did not meet in a view has None there.
    """
    views: dict[str, set[str]] = {}
    for record in records:
        if record["verdict"] in COMPUTED:
            views.setdefault(record["case"], set()).add(view_of(record["dtype"], record["direction"]))
    reach = Reach()
    for statement in statements:
        if statement["case"] in views and statement["shapes"] is not None:
            config = read_config(statement)
            if config.expected_error is None and config.probe is None:
                with suppress(CaseError):  # a computation that is invalid for its shapes has no features
                    reach.add(config, views[statement["case"]])
    return {kind: _table(reach, kind) for kind, met in reach.sizes.items() if met}


def _table(reach: Reach, kind: str) -> dict[str, Any]:
    features, views = FEATURES[kind], VIEWS[kind]
    cells: list[str | Sequence[int | None]] = []
    for row, feature in enumerate(features):
        for other in features[: row + 1]:
            sizes = [reach.size(kind, frozenset({feature.name, other.name}), view) for view in views]
            reason = why_impossible(kind, feature, other, views[0])
            cells.append(reason if reason and not any(sizes) else sizes)
    return {"features": [feature.name for feature in features], "views": views, "size": SIZES[kind], "cells": cells}
