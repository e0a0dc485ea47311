"""Whether what a case states has a meaning, and whether that is what the case says of itself.

Needs shapes only: nothing is computed, so a whole tree of case files is checked in a moment.
"""

from __future__ import annotations

from specs.case import AttentionConfig, Case, CaseError, Config, EinsumConfig
from specs.equation import bind
from specs.shapes import attention_shapes, einsum_shapes, literal_shape


def reject_meaningless(config: Config) -> None:
    """Raise CaseError where the computation has no meaning for its own shapes."""
    if isinstance(config, EinsumConfig):
        bind(config.equation, list(einsum_shapes(config).values()))
    else:
        reject_heads(config)
        reject_literals(config)


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


def contradiction(case: Case) -> str | None:
    """How the case contradicts itself: it has no meaning and does not say so, or says so and has one."""
    expected = case.config.expected_error
    try:
        reject_meaningless(case.config)
    except CaseError as error:
        if expected == error.error:
            return None
        declared = f"expect.error is {expected}" if expected else f"expected: {{error: {error.error}}} if that is meant"
        return f"{error} ({error.error}; {declared})"
    return f"expect.error is {expected}, but the case has a meaning" if expected else None
