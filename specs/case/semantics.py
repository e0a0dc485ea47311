"""Whether a case is a valid computation, and whether that agrees with the error it expects.

Only shapes are needed: nothing is computed, so checking all case files is fast.
"""

from __future__ import annotations

from specs.arithmetic.formats import DTYPES
from specs.arithmetic.promotion import is_same_kind_cast, result_type
from specs.case.attention import AttentionConfig
from specs.case.case import Case, Config
from specs.case.common import COTANGENT
from specs.case.einsum import EinsumConfig
from specs.case.equation import bind
from specs.case.error import CaseError
from specs.case.operands import FIXED, LITERAL
from specs.case.shapes import attention_shapes, einsum_shapes, literal_shape


def reject_meaningless(config: Config) -> None:
    """Raise CaseError if the computation is invalid for its shapes or dtypes."""
    if isinstance(config, EinsumConfig):
        bind(config.equation, list(einsum_shapes(config).values()))
        reject_dtypes(config)
    else:
        if missing := [name for name in config.dtypes if DTYPES[name].kind != "float"]:
            raise CaseError("dtype", f"attention is not defined for {missing[0]}")
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
    """A literal query, key or value must have the shape that follows from the other fields."""
    for name, shape in attention_shapes(config).items():
        literal = getattr(config, name, None) if name in LITERAL else None
        if literal is not None and (actual := literal_shape(literal)) != shape:
            raise CaseError("shape_mismatch", f"the literal {name} has shape {actual}, but the case needs {shape}")


def find_contradiction(case: Case) -> str | None:
    """How the case contradicts itself, or None: it is invalid without expecting an error, or expects one but is valid.

    Operand_dtypes that do not fit, and a memory layout that an operand cannot have, are also contradictions.
    """
    if isinstance(case.config, EinsumConfig) and (message := _find_dtype_problem(case.config)):
        return message
    if message := _find_memory_problem(case.config):
        return message
    expected = case.config.expected_error
    try:
        reject_meaningless(case.config)
    except CaseError as error:
        if expected == error.error:
            return None
        hint = f"expect.error is {expected}" if expected else f"if intended, write expect: {{error: {error.error}}}"
        return f"{error} ({error.error}; {hint})"
    return f"expect.error is {expected}, but the case is valid" if expected else None


def _find_dtype_problem(config: EinsumConfig) -> str | None:
    """Why operand_dtypes do not fit the operands or the result dtype, or None."""
    names = config.operand_dtypes
    if names is None:
        return None
    if len(names) != config.operand_count:
        return f"operand_dtypes names {len(names)} dtypes for {config.operand_count} operands"
    if not config.asks_for_dtype and names and config.dtypes[0] != result_type(names):
        result = result_type(names)
        return f"{' and '.join(names)} promote to {result}: give dtypes: [{result}], or set asks_for_dtype"
    return None


def _find_memory_problem(config: Config) -> str | None:
    """Why operands cannot have the memory layout of the case, or None."""
    if config.memory == "contiguous":
        return None
    if isinstance(config, EinsumConfig):
        shapes, literal = einsum_shapes(config), config.operands is not None
    else:
        shapes, literal = attention_shapes(config), any(getattr(config, name) is not None for name in LITERAL)
    named = config.memory if isinstance(config.memory, dict) else {}
    if unknown := [name for name in named if name not in (*shapes, COTANGENT)]:
        return f"memory names {unknown[0]!r}, but the operands are {' and '.join(shapes)}"
    for kind in ("broadcast", "shared"):
        if kind in config.memory_kinds and literal:
            return f"memory {kind} replaces values, but the case states them literally"
        if fixed := [name for name, memory in named.items() if memory == kind and name in FIXED]:
            return f"memory {kind} replaces values, but those of {fixed[0]} follow from the case"
    return None
