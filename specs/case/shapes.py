"""Names and shapes of a case's operands, in the order in which every backend receives them."""

from __future__ import annotations

from specs.case.attention import AttentionConfig
from specs.case.common import Numbers
from specs.case.einsum import EinsumConfig
from specs.case.equation import shapes_from_sizes
from specs.case.error import CaseError

Shape = tuple[int, ...]


def attention_shapes(config: AttentionConfig) -> dict[str, Shape]:
    """Operand name → shape.

    query, key, value    in the case's layout; with self_attention one `input` takes their place
    *_weight, *_bias     linear: (out, in) and (out,), applied as x W^T + b (W x + b in columns);
                         per_head: (heads, in, out) and (heads, out); shared: (in, out) and (out,)
    past_key, past_value  in the case's layout, with num_kv_heads heads of head_dim and of value_dim
    rotary_cos, _sin     (positions, rotary_dims / 2)
    relative_keys        (q_len, kv_len, num_heads, head_dim);  relative_values with value_dim; shared by batch items
    mask                 as `mask.shape` spells it;  bias (num_heads, q_len, kv_len);  sink (num_heads,)
    kv_lengths           (batch,), int32
    """
    c, p = config, config.projections
    shapes: dict[str, Shape] = {}

    def tensor(length: int, heads: int, features: int) -> Shape:
        per_head = features if p is None else p.input_dim or features
        packed = heads * per_head
        if p is not None and p.kind == "linear":
            packed = p.input_dim or c.num_heads * c.head_dim
        return _in_layout(c, length, heads, per_head, packed)

    sources = {
        "query": (c.q_len, c.num_heads, c.head_dim),
        "key": (c.new_len, c.num_kv_heads, c.head_dim),
        "value": (c.new_len, c.num_kv_heads, c.value_dim if p is None else c.head_dim),
    }
    if c.self_attention:
        shapes["input"] = tensor(*sources["query"])
    else:
        shapes |= {name: tensor(*source) for name, source in sources.items()}
    if p is not None:
        shapes |= _projection_shapes(config)
    if c.past is not None:
        for name, features in (("past_key", c.head_dim), ("past_value", c.value_dim)):
            shapes[name] = _in_layout(c, c.past, c.num_kv_heads, features, c.num_kv_heads * features)
    if c.rotary is not None:
        positions = max(c.kv_len, c.query_offset + c.q_len)
        shapes |= dict.fromkeys(("rotary_cos", "rotary_sin"), (positions, c.rotary_dims // 2))
    if c.relative and c.relative.keys:
        shapes["relative_keys"] = (c.q_len, c.kv_len, c.num_heads, c.head_dim)
    if c.relative and c.relative.values:
        shapes["relative_values"] = (c.q_len, c.kv_len, c.num_heads, c.value_dim)
    if c.mask:
        size = {"b": c.batch, "h": c.num_heads, "q": c.q_len, "k": c.kv_len, "1": 1}
        shapes["mask"] = tuple(size[axis] for axis in c.mask.shape)
    if c.bias:
        shapes["bias"] = (c.num_heads, c.q_len, c.kv_len)
    if c.sink:
        shapes["sink"] = (c.num_heads,)
    if c.kv_lengths is not None:
        shapes["kv_lengths"] = (c.batch,)
    return shapes


def attention_output(config: AttentionConfig) -> Shape:
    """Shape of the result, in the case's layout."""
    c = config
    return _in_layout(c, c.q_len, c.num_heads, c.value_dim, c.num_heads * c.value_dim)


def _in_layout(config: AttentionConfig, length: int, heads: int, per_head: int, packed: int) -> Shape:
    """Of a sequence whose heads have `per_head` features each, or `packed` in all."""
    sizes = {"b": config.batch, "s": length, "h": heads, "d": per_head if "h" in config.layout else packed}
    return tuple(sizes[axis] for axis in config.layout)


def _projection_shapes(config: AttentionConfig) -> dict[str, Shape]:
    c, p = config, config.projections
    assert p is not None
    shapes: dict[str, Shape] = {}
    outputs = {
        "query": (c.num_heads, c.head_dim),
        "key": (c.num_kv_heads, c.head_dim),
        "value": (c.num_kv_heads, c.value_dim),
    }
    for name, (heads, features) in outputs.items():
        if p.kind == "linear":
            shapes[f"{name}_weight"] = (heads * features, p.input_dim or c.num_heads * c.head_dim)
            bias: Shape = (heads * features,)
        else:
            per_head = () if p.shared else (heads,)
            shapes[f"{name}_weight"] = (*per_head, p.input_dim or c.head_dim, features)
            bias = (*per_head, features)
        if p.bias:
            shapes[f"{name}_bias"] = bias
    if p.output:
        merged = c.num_heads * c.value_dim
        shapes["output_weight"] = (merged, merged)
        shapes["output_bias"] = (merged,)
    return shapes


def einsum_shapes(config: EinsumConfig) -> dict[str, Shape]:
    """`operand_0`, `operand_1` … → shape, from whichever of shapes, sizes and literal operands the case gives.

    Raises CaseError where sizes do not fit the equation or a literal operand is ragged.
    """
    if config.shapes is not None:
        shapes = [tuple(shape) for shape in config.shapes]
    elif config.sizes is not None:
        shapes = shapes_from_sizes(config.equation, config.sizes)
    else:
        shapes = [literal_shape(operand) for operand in config.operands or []]
    return {f"operand_{i}": shape for i, shape in enumerate(shapes)}


def literal_shape(literal: Numbers) -> Shape:
    if not isinstance(literal, list):
        return ()
    inner = {literal_shape(item) for item in literal}
    if len(inner) > 1:
        raise CaseError("shape_mismatch", "a literal operand is ragged: its rows differ in length")
    return (len(literal), *(inner.pop() if inner else ()))
