"""The table of attention operands, in the order in which every backend receives them.

It determines shapes, contents, dtypes and which operands are differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cachetools import LRUCache, cached

from specs.case.attention import AttentionConfig
from specs.case.equation import Shape
from specs.case.operand import Operand
from specs.case.visibility import RULES


def operands_of(config: AttentionConfig) -> Mapping[Operand, Shape]:
    """The operands of a config, with their shapes."""
    return _operands_of(config)[1]


@cached(LRUCache(64), key=id)  # of which the config must live as long as the entry
def _operands_of(config: AttentionConfig) -> tuple[AttentionConfig, Mapping[Operand, Shape]]:
    shapes = ((operand, operand.shape(config)) for operand in OPERANDS)
    return config, {operand: shape for operand, shape in shapes if shape is not None}


def terms_of(config: AttentionConfig) -> list[str]:
    """The operands that are added to the scores before any function of them."""
    return [operand.name for operand in operands_of(config) if operand.term]


def logits_of(config: AttentionConfig) -> list[str]:
    """The operands that are logits in the softmax besides the scores of the keys."""
    return [operand.name for operand in operands_of(config) if operand.logit]


def adds_to_scores(config: AttentionConfig) -> bool:
    """Whether anything is added to the scores: terms, or an additive mask."""
    return bool(terms_of(config)) or (config.mask is not None and config.mask.type == "additive")


def dtype_of(operand: Operand, config: AttentionConfig) -> str | None:
    """The operand's own dtype, or None if it has the case's."""
    additive = operand.name == "mask" and config.mask is not None and config.mask.type == "additive"
    return None if additive else operand.dtype


def in_layout(config: AttentionConfig, length: int, heads: int, per_head: int, packed: int | None = None) -> Shape:
    """Shape of a sequence whose heads have `per_head` features each (or `packed` in total), in the case's layout."""
    features = per_head if "h" in config.layout else heads * per_head if packed is None else packed
    sizes = {"b": config.batch, "s": length, "h": heads, "d": features}
    return tuple(sizes[axis] for axis in config.layout)


# Shapes ---------------------------------------------------------------------------------------------------------------


def _heads(c: AttentionConfig, name: str) -> tuple[int, int]:
    """Number of heads of query, key or value, and features per head as input to attention."""
    return {
        "query": (c.num_heads, c.head_dim),
        "key": (c.num_kv_heads, c.head_dim),
        "value": (c.num_kv_heads, c.value_dim),
    }[name]


def _tensor_shape(c: AttentionConfig, name: str) -> Shape:
    """Shape of an input, before projection."""
    p, (heads, features) = c.projections, _heads(c, name)
    length = c.q_len if name == "query" else c.new_len
    if p is None:
        return in_layout(c, length, heads, features)
    per_head = p.input_dim or c.head_dim
    return in_layout(c, length, heads, per_head, _packed_features(c) if p.kind == "linear" else None)


def _packed_features(c: AttentionConfig) -> int:
    """Features of the input of a linear projection."""
    return (c.projections and c.projections.input_dim) or c.num_heads * c.head_dim


def _input_shape(name: str) -> Callable[[AttentionConfig], Shape | None]:
    return lambda c: None if c.self_attention else _tensor_shape(c, name)


def _weight_shape(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """Linear: (out, in), applied as x W^T (W x in columns); per_head: (heads, in, out); shared: (in, out)."""

    def shape(c: AttentionConfig) -> Shape | None:
        p, (heads, features) = c.projections, _heads(c, name)
        if p is None:
            return None
        if p.kind == "linear":
            return (heads * features, _packed_features(c))
        return (*(() if p.shared else (heads,)), p.input_dim or c.head_dim, features)

    return shape


def _projection_bias_shape(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """Linear: (out,); per_head: (heads, out); shared: (out,)."""

    def shape(c: AttentionConfig) -> Shape | None:
        p, (heads, features) = c.projections, _heads(c, name)
        if p is None or not p.bias:
            return None
        if p.kind == "linear":
            return (heads * features,)
        return (*(() if p.shared else (heads,)), features)

    return shape


def _merged_features(c: AttentionConfig) -> int | None:
    """Features of the merged heads, input and output of an output projection; None without one."""
    return c.num_heads * c.value_dim if c.projections and c.projections.output else None


def _output_weight_shape(c: AttentionConfig) -> Shape | None:
    return None if (features := _merged_features(c)) is None else (features, features)


def _output_bias_shape(c: AttentionConfig) -> Shape | None:
    return None if (features := _merged_features(c)) is None else (features,)


def _past_shape(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """Shape of cached keys or values, in the case's layout."""
    return lambda c: None if c.past is None else in_layout(c, c.past, *_heads(c, name))


def _rotary_shape(c: AttentionConfig) -> Shape | None:
    """(positions, pairs)."""
    return None if c.rotary is None else (max(c.kv_len, c.query_offset + c.q_len), c.rotary_dims // 2)


def _relative_shape(name: str) -> Callable[[AttentionConfig], Shape | None]:
    """(q_len, kv_len, num_heads, features); shared by batch items."""

    def shape(c: AttentionConfig) -> Shape | None:
        if c.relative is None or not getattr(c.relative, f"{name}s"):
            return None
        return (c.q_len, c.kv_len, c.num_heads, _heads(c, name)[1])

    return shape


def _mask_shape(c: AttentionConfig) -> Shape | None:
    """As given by `mask.shape`."""
    size = {"b": c.batch, "h": c.num_heads, "q": c.q_len, "k": c.kv_len, "1": 1}
    return None if c.mask is None else tuple(size[axis] for axis in c.mask.shape)


OPERANDS = (
    Operand("input", lambda c: _tensor_shape(c, "query") if c.self_attention else None, "tensor"),
    *(Operand(name, _input_shape(name), "tensor") for name in ("query", "key", "value")),
    *(
        operand
        for name in ("query", "key", "value")
        for operand in (
            Operand(f"{name}_weight", _weight_shape(name), "weight"),
            Operand(f"{name}_bias", _projection_bias_shape(name)),
        )
    ),
    Operand("output_weight", _output_weight_shape, "weight"),
    Operand("output_bias", _output_bias_shape),
    *(Operand(f"past_{name}", _past_shape(name), "tensor") for name in ("key", "value")),
    Operand("rotary_cos", _rotary_shape, "cosine", differentiable=False),
    Operand("rotary_sin", _rotary_shape, "sine", differentiable=False),
    *(Operand(f"relative_{name}s", _relative_shape(name)) for name in ("key", "value")),
    Operand("mask", _mask_shape, "mask", dtype="bool"),
    Operand("bias", lambda c: (c.num_heads, c.q_len, c.kv_len) if c.bias else None, "bias", term=True),
    Operand("sink", lambda c: (c.num_heads,) if c.sink else None, logit=True),
    *(rule.operand for rule in RULES.values() if rule.operand is not None),
)
LITERAL = ("query", "key", "value")  # operands that a case may state literally
TERMS = frozenset(operand.name for operand in OPERANDS if operand.term)
LOGITS = frozenset(operand.name for operand in OPERANDS if operand.logit)
# Their values follow from the config, or a rule of the frameworks: they are not those of another operand
FIXED = frozenset(operand.name for operand in OPERANDS if operand.content not in ("tensor", "weight", "normal", "mask"))
NON_DIFFERENTIABLE = frozenset(operand.name for operand in OPERANDS if not operand.differentiable)
