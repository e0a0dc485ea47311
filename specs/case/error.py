"""The error raised for an invalid computation, and the error classes that a case can expect."""

from __future__ import annotations

from typing import Literal

ErrorClass = Literal[
    "syntax",
    "size_mismatch",
    "rank_mismatch",
    "unknown_label",
    "repeated_output",
    "operand_count",
    "head_mismatch",
    "shape_mismatch",
    "dtype",
]


class CaseError(Exception):
    """The computation is invalid; `error` is the class that a case can expect."""

    def __init__(self, error: ErrorClass, message: str) -> None:
        super().__init__(error, message)
        self.error = error

    def __str__(self) -> str:
        return str(self.args[1])
