"""Operands of an attention, before they are laid in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import DTYPES, FLOAT32, Array, DType, Float64, cast, round_to
from specs.case.attention import AttentionConfig
from specs.case.case import Case
from specs.case.equation import Shape
from specs.case.error import CaseError
from specs.case.operands import Content, dtype_of, operands_of
from specs.case.visibility import allowed_keys
from specs.inputs import designed
from specs.inputs.random_numbers import Stream
from specs.inputs.recipes import draw

LITERAL = ("query", "key", "value")  # what an attention case may state number by number


def operands(case: Case, config: AttentionConfig, dtype: DType) -> dict[str, Array]:
    """Operand name → array of the dtype, or of the operand's own."""
    made: dict[str, Array] = {}
    for operand, shape in operands_of(config).items():
        own = DTYPES[dtype_of(operand, config) or dtype.name]
        made[operand.name] = cast(MAKERS[operand.content](Wanted(case, config, operand.name, shape, dtype)), own)
    if config.data == "cancelling":
        _pair_off(config, made, dtype)
    if config.unseen:
        _fill_unseen(config, made)
    return made


@dataclass(frozen=True)
class Wanted:
    """An operand that is to be made; its values are rounded once, afterwards."""

    case: Case
    config: AttentionConfig
    name: str
    shape: Shape
    dtype: DType

    @property
    def stream(self) -> Stream:
        return Stream(self.case.rng_key, self.name)


def _tensor(wanted: Wanted) -> Array:
    """Stated number by number, designed, or by the case's recipe."""
    config, name = wanted.config, wanted.name
    literal = getattr(config, name) if name in LITERAL else None
    if literal is not None:
        return np.array(literal, np.float64)
    if (made := designed.attention(wanted.case.rng_key, config, name, wanted.dtype)) is not None:
        return made
    if config.data == "large" and (name != "query" or config.projections is not None):
        return _normal(wanted)  # scores become large by the query alone, or by the weights
    return draw(wanted.case, name, wanted.shape, wanted.dtype)


def _normal(wanted: Wanted) -> Float64:
    return wanted.stream.normal(wanted.shape)


def _weight(wanted: Wanted) -> Float64:
    """Unit variance in, unit variance out; `large` leaves the weights standard normal, as seed 002 has them."""
    shape, p = wanted.shape, wanted.config.projections
    fan_in = shape[-1] if p and p.kind == "linear" else shape[-2]
    return _normal(wanted) if wanted.config.data == "large" else _normal(wanted) / math.sqrt(fan_in)


def _bias(wanted: Wanted) -> Float64:
    return _alibi(wanted.shape) if wanted.config.bias == "alibi" else _normal(wanted)


def _lengths(wanted: Wanted) -> Array:
    return np.array(wanted.config.kv_lengths)


def _rotary(wanted: Wanted, function: Callable[[Float64], Float64]) -> Float64:
    """One row for each position, one column for each pair; as float32, for libraries differ in a cosine's last bit."""
    config = wanted.config
    assert config.rotary is not None
    positions, pairs = np.arange(wanted.shape[0])[:, None], np.arange(wanted.shape[1])
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


def _mask(wanted: Wanted) -> Array:
    """True where a key takes part; the additive form of the same, or random numbers where no fill is stated."""
    mask, stream, shape, format = wanted.config.mask, wanted.stream, wanted.shape, wanted.dtype.format
    assert mask is not None
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
        return stream.normal(shape)
    assert format is not None
    return np.where(allowed, 0.0, -format.max if mask.fill == "lowest" else mask.fill)


def _alibi(shape: Shape) -> Float64:
    """Attention with linear biases (Press et al. 2022): -slope_h * |distance|, aligned at the last query."""
    heads, q_len, kv_len = shape
    # As float32, for the last bit of a power may differ between mathematical libraries
    slopes = round_to(2.0 ** (-8.0 * np.arange(1, heads + 1) / heads), FLOAT32)
    distance = np.abs(np.arange(q_len)[:, None] + (kv_len - q_len) - np.arange(kv_len))
    return np.asarray(-slopes[:, None, None] * distance)


MAKERS: Mapping[Content, Callable[[Wanted], Array]] = {
    "tensor": _tensor,
    "weight": _weight,
    "normal": _normal,
    "bias": _bias,
    "cosine": lambda wanted: _rotary(wanted, np.cos),
    "sine": lambda wanted: _rotary(wanted, np.sin),
    "mask": _mask,
    "lengths": _lengths,
}
