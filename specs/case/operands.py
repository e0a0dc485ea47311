"""The operands of an attention: a row for each, in the order in which every backend receives them.

Shapes, what values are made of, dtypes and which operands have a gradient all follow from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from specs.case.attention import AttentionConfig
from specs.case.equation import Shape

# What its values are, each made by one function of `specs.inputs.attention`:
# tensor: by the case's recipe, literal or designed; the others are what they are called, or normal
Content = Literal["tensor", "weight", "normal", "bias", "cosine", "sine", "mask", "lengths"]


@dataclass(frozen=True)
class Operand:
    """One operand; `shape` is None for a config that has no such operand.

    dtype   its own, or None for the case's; an additive mask has the case's too
    varies  whether it has a gradient; tables of constants have none
    """

    name: str
    shape: Callable[[AttentionConfig], Shape | None]
    content: Content = "normal"
    dtype: Literal["int32", "bool"] | None = None
    varies: bool = True


def operands_of(config: AttentionConfig) -> dict[Operand, Shape]:
    """The operands that a config has, with their shapes."""
    shapes = ((operand, operand.shape(config)) for operand in OPERANDS)
    return {operand: shape for operand, shape in shapes if shape is not None}


def dtype_of(operand: Operand, config: AttentionConfig) -> str | None:
    """The operand's own dtype; None where it has the case's."""
    additive = operand.name == "mask" and config.mask is not None and config.mask.type == "additive"
    return None if additive else operand.dtype


def in_layout(config: AttentionConfig, length: int, heads: int, per_head: int, packed: int | None = None) -> Shape:
    """Of a sequence whose heads have `per_head` features each, or `packed` in all."""
    features = per_head if "h" in config.layout else heads * per_head if packed is None else packed
    sizes = {"b": config.batch, "s": length, "h": heads, "d": features}
    return tuple(sizes[axis] for axis in config.layout)


# Shapes ---------------------------------------------------------------------------------------------------------------


def _heads(c: AttentionConfig, name: str) -> tuple[int, int]:
    """Number of heads of query, key or value, and features of each as attention takes them."""
    return {
        "query": (c.num_heads, c.head_dim),
        "key": (c.num_kv_heads, c.head_dim),
        "value": (c.num_kv_heads, c.value_dim),
    }[name]


def _tensor(c: AttentionConfig, name: str) -> Shape:
    """Of an input, before it is projected."""
    p, (heads, features) = c.projections, _heads(c, name)
    length = c.q_len if name == "query" else c.new_len
    if p is None:
        return in_layout(c, length, heads, features)
    per_head = p.input_dim or c.head_dim
    return in_layout(c, length, heads, per_head, _packed(c) if p.kind == "linear" else None)


def _packed(c: AttentionConfig) -> int:
    """Features of an input that a linear projection takes."""
    return (c.projections and c.projections.input_dim) or c.num_heads * c.head_dim


def _input(name: str) -> Callable[[AttentionConfig], Shape | None]:
    return lambda c: None if c.self_attention else _tensor(c, name)


def _weight(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """Linear: (out, in), applied as x W^T (W x in columns); per_head: (heads, in, out); shared: (in, out)."""

    def shape(c: AttentionConfig) -> Shape | None:
        p, (heads, features) = c.projections, _heads(c, name)
        if p is None:
            return None
        if p.kind == "linear":
            return (heads * features, _packed(c))
        return (*(() if p.shared else (heads,)), p.input_dim or c.head_dim, features)

    return shape


def _projection_bias(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """Linear: (out,); per_head: (heads, out); shared: (out,)."""

    def shape(c: AttentionConfig) -> Shape | None:
        p, (heads, features) = c.projections, _heads(c, name)
        if p is None or not p.bias:
            return None
        if p.kind == "linear":
            return (heads * features,)
        return (*(() if p.shared else (heads,)), features)

    return shape


def _merged(c: AttentionConfig) -> int | None:
    """Features of all heads, which an output projection takes and returns; None without one."""
    return c.num_heads * c.value_dim if c.projections and c.projections.output else None


def _output_weight(c: AttentionConfig) -> Shape | None:
    return None if (features := _merged(c)) is None else (features, features)


def _output_bias(c: AttentionConfig) -> Shape | None:
    return None if (features := _merged(c)) is None else (features,)


def _past(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """In the case's layout."""
    return lambda c: None if c.past is None else in_layout(c, c.past, *_heads(c, name))


def _rotary(c: AttentionConfig) -> Shape | None:
    """(positions, pairs)."""
    return None if c.rotary is None else (max(c.kv_len, c.query_offset + c.q_len), c.rotary_dims // 2)


def _relative(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """(q_len, kv_len, num_heads, features); shared by batch items."""

    def shape(c: AttentionConfig) -> Shape | None:
        if c.relative is None or not getattr(c.relative, f"{name}s"):
            return None
        return (c.q_len, c.kv_len, c.num_heads, _heads(c, name)[1])

    return shape


def _mask(c: AttentionConfig) -> Shape | None:
    """As `mask.shape` spells it."""
    size = {"b": c.batch, "h": c.num_heads, "q": c.q_len, "k": c.kv_len, "1": 1}
    return None if c.mask is None else tuple(size[axis] for axis in c.mask.shape)


OPERANDS = (
    Operand("input", lambda c: _tensor(c, "query") if c.self_attention else None, "tensor"),
    *(Operand(name, _input(name), "tensor") for name in ("query", "key", "value")),
    *(
        operand
        for name in ("query", "key", "value")
        for operand in (
            Operand(f"{name}_weight", _weight(name), "weight"),
            Operand(f"{name}_bias", _projection_bias(name)),
        )
    ),
    Operand("output_weight", _output_weight, "weight"),
    Operand("output_bias", _output_bias),
    *(Operand(f"past_{name}", _past(name), "tensor") for name in ("key", "value")),
    Operand("rotary_cos", _rotary, "cosine", varies=False),
    Operand("rotary_sin", _rotary, "sine", varies=False),
    *(Operand(f"relative_{name}s", _relative(name)) for name in ("key", "value")),
    Operand("mask", _mask, "mask", dtype="bool"),
    Operand("bias", lambda c: (c.num_heads, c.q_len, c.kv_len) if c.bias else None, "bias"),
    Operand("sink", lambda c: (c.num_heads,) if c.sink else None),
    Operand("kv_lengths", lambda c: None if c.kv_lengths is None else (c.batch,), "lengths", dtype="int32"),
)
NON_DIFFERENTIABLE = frozenset(operand.name for operand in OPERANDS if not operand.varies)
