"""The table of reach of a run: which features of cases met in the checks that were computed, and at which sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig
from specs.case.error import CaseError
from specs.reach.reach import FEATURES, SIZES, VIEWS, Reach, view_of, why_impossible

COMPUTED = ("pass", "deviation", "fail")
CONTENTS = ("expect", "query", "key", "value")  # literal numbers, which make no feature


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
        config = _config(statement) if statement["case"] in views else None
        if config is not None and config.probe is None:
            with suppress(CaseError):  # a computation that is invalid for its shapes has no features
                reach.add(config, views[statement["case"]])
    return {kind: _table(reach, kind) for kind, met in reach.sizes.items() if met}


def _config(statement: Mapping[str, Any]) -> Config | None:
    """The config of a case without its literal numbers, for which its shapes suffice; None for an invalid case."""
    fields = dict(statement["config"])
    if statement["shapes"] is None or (fields.get("expect") or {}).get("error"):
        return None
    if fields.pop("operands", None) is not None:
        fields["shapes"] = list(statement["shapes"].values())
    fields = {name: value for name, value in fields.items() if name not in CONTENTS}
    if (mask := fields.get("mask")) and mask.get("fill") in ("inf", "-inf", "nan"):
        fields["mask"] = mask | {"fill": float(mask["fill"])}
    return (AttentionConfig if statement["kind"] == "attention" else EinsumConfig).model_validate(fields)


def _table(reach: Reach, kind: str) -> dict[str, Any]:
    features, views = FEATURES[kind], VIEWS[kind]
    cells: list[str | Sequence[int | None]] = []
    for row, feature in enumerate(features):
        for other in features[: row + 1]:
            sizes = [reach.size(kind, frozenset({feature.name, other.name}), view) for view in views]
            reason = why_impossible(kind, feature, other, views[0])
            cells.append(reason if reason and not any(sizes) else sizes)
    return {"features": [feature.name for feature in features], "views": views, "size": SIZES[kind], "cells": cells}
