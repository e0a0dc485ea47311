"""Whether what a case states has a meaning, and whether that is what the case says of itself.

Needs shapes only: nothing is computed, so a whole tree of case files is checked in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from specs.arithmetic.promotion import is_same_kind_cast, result_type
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.common import Numbers
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind
from specs.case.error import CaseError
from specs.case.shapes import attention_shapes, einsum_shapes, literal_shape


def reject_meaningless(config: Config) -> None:
    """Raise CaseError where the computation has no meaning for its own shapes."""
    if isinstance(config, EinsumConfig):
        bind(config.equation, list(einsum_shapes(config).values()))
        reject_dtypes(config)
    else:
        reject_heads(config)
        reject_literals(config)


def reject_dtypes(config: EinsumConfig) -> None:
    for name in config.operand_dtypes or ():
        if not is_same_kind_cast(name, config.dtypes[0]):
            raise CaseError("dtype", f"operands of {name} cannot be converted to {config.dtypes[0]}")


def reject_heads(config: AttentionConfig) -> None:
    if config.num_heads % config.num_kv_heads:
        message = f"{config.num_heads} query heads cannot share {config.num_kv_heads} key/value heads evenly"
        raise CaseError("head_mismatch", message)


def reject_literals(config: AttentionConfig) -> None:
    """A literal query, key or value must have the shape that the other fields say."""
    for name, shape in attention_shapes(config).items():
        literal = getattr(config, name, None) if name in ("query", "key", "value") else None
        if literal is not None and (found := literal_shape(literal)) != shape:
            raise CaseError("shape_mismatch", f"the literal {name} has shape {found}, but the case says {shape}")


def find_contradiction(case: Case) -> str | None:
    """How the case contradicts itself: it has no meaning and does not say so, or says so and has one.

    A complex number beside a dtype that cannot hold it is such a contradiction, too.
    """
    real = [name for name in case.config.dtypes if not name.startswith("complex")]
    if real and (number := next(_complex_literals(case.config), None)) is not None:
        return f"{str(number).strip('()')} is a complex number, which {real[0]} cannot hold (list complex dtypes only)"
    if isinstance(case.config, EinsumConfig) and (told := _dtypes_do_not_fit(case.config)):
        return told
    expected = case.config.expected_error
    try:
        reject_meaningless(case.config)
    except CaseError as error:
        if expected == error.error:
            return None
        declared = f"expect.error is {expected}" if expected else f"expected: {{error: {error.error}}} if that is meant"
        return f"{error} ({error.error}; {declared})"
    return f"expect.error is {expected}, but the case has a meaning" if expected else None


def _complex_literals(config: Config) -> Iterator[complex]:
    """Every complex number that a case states: in its literal operands, and in what it expects."""
    literals = config.operands if isinstance(config, EinsumConfig) else [config.query, config.key, config.value]
    unseen: list[Numbers | None] = [*(literals or []), config.expect.value if config.expect else None]
    while unseen:
        literal = unseen.pop()
        if isinstance(literal, list):
            unseen += literal
        elif isinstance(literal, complex):
            yield literal


def _dtypes_do_not_fit(config: EinsumConfig) -> str | None:
    """Why the stated dtypes are not those of such operands and of their result."""
    names = config.operand_dtypes
    if names is None:
        return None
    if len(names) != config.operand_count:
        return f"operand_dtypes names {len(names)} dtypes for {config.operand_count} operands"
    if not config.asks_for_dtype and names and config.dtypes[0] != result_type(names):
        result = result_type(names)
        return f"{' and '.join(names)} make {result}: give dtypes: [{result}], or ask for another with asks_for_dtype"
    return None
