"""Attention cases in the terms of ONNX's Attention operator, and their value by ONNX's reference evaluator.

The operator is specified in https://onnx.ai/onnx/operators/onnx__Attention.html.  The position of the first query
depends on its inputs: key 0; the first key after `past_key`; or, with `nonpad_kv_seqlen`, such that each item's last
query is at its last key that is not padding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from specs.arithmetic.formats import Array
from specs.case.attention import AttentionConfig

ELEMENTS = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "bool": TensorProto.BOOL,
    "int64": TensorProto.INT64,
}
INPUTS = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]


@dataclass(frozen=True)
class Call:
    """One application of the operator: named inputs and attributes, of the first opset that has them all."""

    inputs: Mapping[str, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        if any(name.endswith("_window_size") for name in self.attributes):
            return 25
        return 24 if "nonpad_kv_seqlen" in self.inputs else 23


def explain_inexpressible(config: AttentionConfig, dtype: str) -> str | None:
    """Why the operator cannot express the case, or None."""
    c = config
    features = {
        "projections": c.projections, "relative positions": c.relative, "rotary positions": c.rotary, "a sink": c.sink
    }  # fmt: skip
    for name, value in features.items():
        if value:
            return f"{name} are not part of the operator"
    if c.scale_at == "weights":
        return "the scale applies to the scores only"
    if c.fully_masked != "zeros":
        return "a query without any key yields zeros"
    if c.bias and (c.bias_at == "products" or c.softcap):
        return "a bias is added after scale and softcap"
    if c.bias and c.mask and c.mask.type == "additive":
        return "there is only one operand to add"
    numbers = [x for x in (c.scale, c.softcap) if x is not None]
    if dtype == "float64" and any(float(np.float32(x)) != x for x in numbers):
        return "attributes are float32"
    if depends_on_positions(c) and c.kv_lengths is not None and {n - c.q_len for n in c.kv_lengths} != {c.query_offset}:
        return "with lengths each item's last query is at its own last key"
    return None


def depends_on_positions(config: AttentionConfig) -> bool:
    """Whether the result depends on the positions of queries."""
    return config.causal != "none" or config.window is not None


def make_call(config: AttentionConfig, operands: Mapping[str, Array]) -> Call:
    """The operator's inputs and attributes for an expressible case."""
    c = config
    arrays = {name: to_tensor(c, operands[name]) for name in ("query", "key", "value")}
    tensors = dict(zip(INPUTS, arrays.values(), strict=False))
    attributes: dict[str, Any] = {}
    if tensors["Q"].ndim == 3:
        attributes |= {"q_num_heads": c.num_heads, "kv_num_heads": c.num_kv_heads}
    if c.past is not None:
        past_tensors = {name: split_heads(c, to_tensor(c, operands[name])) for name in ("past_key", "past_value")}
        tensors |= past_tensors
        if c.kv_lengths is not None or (depends_on_positions(c) and c.query_offset != c.past):
            tensors |= append_to_past(c, tensors)
            del tensors["past_key"], tensors["past_value"]
    if c.kv_lengths is not None:
        tensors["nonpad_kv_seqlen"] = np.array(c.kv_lengths, np.int64)
    elif depends_on_positions(c) and c.query_offset and "past_key" not in tensors:
        tensors["nonpad_kv_seqlen"] = np.full(c.batch, c.kv_len, np.int64)
    if (mask := make_mask(c, operands)) is not None:
        tensors["attn_mask"] = mask
    attributes |= {"is_causal": 1} if c.causal != "none" else {}
    attributes |= {"scale": c.scale} if c.scale is not None else {}
    attributes |= {"softcap": c.softcap} if c.softcap is not None else {}
    if c.window:
        sides = {"left_window_size": c.window.left, "right_window_size": c.window.right}
        attributes |= {name: -1 if side is None else side for name, side in sides.items()}
    return Call(tensors, attributes)


def to_tensor(config: AttentionConfig, array: Array) -> Array:
    """Query, key or value as the operator expects it: bsd unchanged (ds as one item of bsd), other layouts as bhsd."""
    if config.layout == "ds":
        return array.T[None]
    if config.layout == "bsd":
        return array
    return array.transpose([config.layout.index(axis) for axis in "bhsd"])


def split_heads(config: AttentionConfig, array: Array) -> Array:
    """Past keys or values as bhsd, which the operator expects even with a packed query."""
    if array.ndim == 4:
        return array
    batch, length, packed = array.shape
    heads = config.num_kv_heads
    return array.reshape(batch, length, heads, packed // heads).swapaxes(1, 2)


def append_to_past(config: AttentionConfig, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Keys and values appended to the past ones, as a cache outside the operator would hold them."""
    caches: dict[str, Array] = {}
    for name, past in (("K", tensors["past_key"]), ("V", tensors["past_value"])):
        cache = np.concatenate([past, split_heads(config, tensors[name])], axis=2)
        packed = cache.swapaxes(1, 2).reshape(config.batch, config.kv_len, -1)
        caches[name] = packed if tensors[name].ndim == 3 else cache
    return caches


def make_mask(config: AttentionConfig, operands: Mapping[str, Array]) -> Array | None:
    """Mask and bias as one `attn_mask`; its last axis has the length of the keys, because a shorter one is padded."""
    mask, bias = operands.get("mask"), operands.get("bias")
    if bias is not None:
        return bias if mask is None else np.where(mask, bias, bias.dtype.type(-np.inf))
    return None if mask is None else np.broadcast_to(mask, (*mask.shape[:-1], config.kv_len))


def evaluate(call: Call) -> Array:
    """The output of the reference evaluator: bhsd, or bsd for packed inputs."""
    names = [name if name in call.inputs else "" for name in INPUTS]
    while not names[-1]:
        names.pop()
    outputs = ["Y"] if "past_key" not in call.inputs else ["Y", "present_key", "present_value"]
    node = helper.make_node("Attention", names, outputs, **call.attributes)
    input_infos = [
        helper.make_tensor_value_info(name, ELEMENTS[array.dtype.name], array.shape)
        for name, array in call.inputs.items()
    ]
    output = helper.make_tensor_value_info("Y", ELEMENTS[call.inputs["Q"].dtype.name], None)
    graph = helper.make_graph([node], "attention", input_infos, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", call.opset)])
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {k: np.ascontiguousarray(v) for k, v in call.inputs.items()})[0]


def to_layout(config: AttentionConfig, output: Array) -> Array:
    """The operator's output in the case's layout."""
    if config.layout == "ds":
        return output[0].T
    return output if config.layout == "bsd" else output.transpose(["bhsd".index(axis) for axis in config.layout])
