"""Operands of an attention, before they are laid in memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from specs.arithmetic.formats import FLOAT32, Array, DType, Float64, cast, round_to
from specs.case.attention import AttentionConfig
from specs.case.attention_fields import Mask
from specs.case.case import Case
from specs.case.error import CaseError
from specs.case.shapes import Shape, attention_shapes
from specs.case.visibility import allowed_keys
from specs.inputs import designed
from specs.inputs.random_numbers import Stream
from specs.inputs.recipes import draw

LITERAL = ("query", "key", "value")  # what an attention case may state number by number


def operands(case: Case, config: AttentionConfig, dtype: DType) -> dict[str, Array]:
    """Operand name → array of the dtype; masks of bool and kv_lengths have their own."""
    shapes = attention_shapes(config)
    made: dict[str, Array] = {}
    for name, shape in shapes.items():
        if name == "kv_lengths":
            made[name] = np.array(config.kv_lengths, np.int32)
        elif name == "mask":
            assert config.mask is not None
            made[name] = _mask(config.mask, Stream(case.stream, name), shape, dtype)
        else:
            made[name] = cast(_attention_master(case, config, name, shape, dtype), dtype)
    if config.data == "cancelling":
        _pair_off(config, made, dtype)
    if config.unseen:
        _fill_unseen(config, made)
    return made


def _attention_master(case: Case, config: AttentionConfig, name: str, shape: Shape, dtype: DType) -> Array:
    """Values of a floating operand before rounding."""
    stream = Stream(case.stream, name)
    literal = getattr(config, name) if name in LITERAL else None
    if literal is not None:
        return np.array(literal, np.float64)
    if (made := designed.attention(case.stream, config, name, dtype)) is not None:
        return made
    if name == "bias" and config.bias == "alibi":
        return _alibi(shape)
    if name.startswith("rotary_"):
        return _rotary(config, shape, np.cos if name == "rotary_cos" else np.sin)
    if name.endswith("_weight"):
        # Unit variance in, unit variance out; `large` leaves the weights standard normal, as seed 002 has them
        fan_in = shape[-1] if config.projections and config.projections.kind == "linear" else shape[-2]
        return stream.normal(shape) if config.data == "large" else stream.normal(shape) / math.sqrt(fan_in)
    if name not in (*LITERAL, "input", "past_key", "past_value"):
        return stream.normal(shape)
    if config.data == "large" and (name != "query" or config.projections is not None):
        return stream.normal(shape)  # scores become large by the query alone, or by the weights
    return draw(case, name, shape, dtype)


def _rotary(config: AttentionConfig, shape: Shape, function: Callable[[Float64], Float64]) -> Float64:
    """One row for each position, one column for each pair; as float32, for libraries differ in a cosine's last bit."""
    assert config.rotary is not None
    positions, pairs = np.arange(shape[0])[:, None], np.arange(shape[1])
    return round_to(function(positions * config.rotary.base ** (-2.0 * pairs / config.rotary_dims)), FLOAT32)


def _pair_off(config: AttentionConfig, made: dict[str, Array], dtype: DType) -> None:
    """The second half of the keys repeats the first; their values are negated, and off by one part in 64."""
    if "key" not in made or config.new_len < 2:
        raise CaseError("syntax", "cancelling data needs two keys of its own: no self_attention, new keys beyond past")
    axis, half = config.layout.index("s"), config.new_len // 2
    for name, factor in (("key", 1.0), ("value", -1.0 - 2.0**-6)):
        along = np.moveaxis(made[name], axis, 0)  # a view: the operand is changed
        along[half : 2 * half] = cast(factor * along[:half].astype(np.float64), dtype)


def _fill_unseen(config: AttentionConfig, made: dict[str, Array]) -> None:
    """NaN or infinity in keys and values, past ones included, where no query of any head may see them."""
    seen = np.broadcast_to(allowed_keys(config, made), (config.batch, config.num_heads, config.q_len, config.kv_len))
    hidden = np.asarray(~seen.any(axis=(1, 2)))
    if not hidden.any():
        raise CaseError("syntax", "unseen needs a key that no query may see: every key is seen")
    past, layout = config.past or 0, config.layout if "b" in config.layout else f"b{config.layout}"
    for name in ("key", "value"):
        for operand, at in ((f"past_{name}", slice(past)), (name, slice(past, None))):
            if operand in made:
                batched = made[operand] if "b" in config.layout else made[operand][None]
                by_key = np.moveaxis(batched, (layout.index("b"), layout.index("s")), (0, 1))  # a view
                by_key[hidden[:, at]] = float(str(config.unseen))


def _mask(mask: Mask, stream: Stream, shape: Shape, dtype: DType) -> Array:
    """True where a key takes part; the additive form of the same, or random numbers where no fill is stated."""
    allowed = ~stream.chosen(0.3, shape)
    if mask.pattern == "padding":
        allowed[...] = np.arange(shape[-1]) < shape[-1] - max(1, shape[-1] // 5)
    else:
        allowed[..., :1] = True
        if mask.pattern == "masked_row":
            allowed[..., :1, :] = False
    if mask.type == "bool":
        return allowed
    if mask.fill is None:
        return cast(stream.normal(shape), dtype)
    assert dtype.format is not None
    fill = -dtype.format.max if mask.fill == "lowest" else mask.fill
    return cast(np.where(allowed, 0.0, fill), dtype)


def _alibi(shape: Shape) -> Float64:
    """Attention with linear biases (Press et al. 2022): -slope_h * |distance|, aligned at the last query."""
    heads, q_len, kv_len = shape
    # As float32, for the last bit of a power may differ between mathematical libraries
    slopes = round_to(2.0 ** (-8.0 * np.arange(1, heads + 1) / heads), FLOAT32)
    distance = np.abs(np.arange(q_len)[:, None] + (kv_len - q_len) - np.arange(kv_len))
    return np.asarray(-slopes[:, None, None] * distance)
