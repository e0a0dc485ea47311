"""The operands of an attention case, before they get their memory layout."""

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
from specs.case.operand import Content
from specs.case.operands import LITERAL, dtype_of, operands_of
from specs.case.visibility import allowed_keys
from specs.inputs import designed, pairs
from specs.inputs.random_numbers import Stream
from specs.inputs.recipes import draw


def operands(case: Case, config: AttentionConfig, dtype: DType) -> dict[str, Array]:
    """Operand name → array of the dtype, or of the operand's own."""
    arrays: dict[str, Array] = {}
    for operand, shape in operands_of(config).items():
        own = DTYPES[dtype_of(operand, config) or dtype.name]
        if callable(operand.content):
            values: Array = np.array(operand.content(config))
        else:
            values = MAKERS[operand.content](Request(case, config, operand.name, shape, dtype))
        arrays[operand.name] = cast(values, own)
    if config.data == "pairs":
        pairs.fill(case.rng_key, config, arrays, dtype)
    if config.data == "cancelling":
        _pair_off(config, arrays, dtype)
    if config.unseen:
        _fill_unseen(config, arrays)
    return arrays


@dataclass(frozen=True)
class Request:
    """An operand to be generated; its values are rounded to the dtype once, afterwards."""

    case: Case
    config: AttentionConfig
    name: str
    shape: Shape
    dtype: DType

    @property
    def stream(self) -> Stream:
        return Stream(self.case.rng_key, self.name)


def _tensor(request: Request) -> Array:
    """A literal, a designed operand, or one drawn by the case's recipe."""
    config, name = request.config, request.name
    literal = getattr(config, name) if name in LITERAL else None
    if literal is not None:
        return np.array(literal, np.float64)
    if config.data == "pairs":
        return np.zeros(request.shape)  # filled in together
    if (values := designed.attention(request.case.rng_key, config, name, request.dtype)) is not None:
        return values
    if config.data == "large" and (name != "query" or config.projections is not None):
        return _normal(request)  # only the query makes scores large, or the projection weights
    return draw(request.case, name, request.shape, request.dtype)


def _normal(request: Request) -> Float64:
    return request.stream.normal(request.shape)


def _weight(request: Request) -> Float64:
    """Weights that preserve unit variance; `large` keeps them standard normal, as seed 002 has them."""
    shape, p = request.shape, request.config.projections
    fan_in = shape[-1] if p and p.kind == "linear" else shape[-2]
    return _normal(request) if request.config.data == "large" else _normal(request) / math.sqrt(fan_in)


def _bias(request: Request) -> Float64:
    return _alibi(request.shape) if request.config.bias == "alibi" else _normal(request)


def _rotary(request: Request, function: Callable[[Float64], Float64]) -> Float64:
    """One row per position, one column per pair; float32, as libraries differ in the last bit of a cosine."""
    config = request.config
    assert config.rotary is not None
    positions, pairs = np.arange(request.shape[0])[:, None], np.arange(request.shape[1])
    return round_to(function(positions * config.rotary.base ** (-2.0 * pairs / config.rotary_dims)), FLOAT32)


def _pair_off(config: AttentionConfig, arrays: dict[str, Array], dtype: DType) -> None:
    """The second half of the keys repeats the first; their values are negated, and off by one part in 64."""
    if "key" not in arrays or config.new_len < 2:
        raise CaseError("syntax", "cancelling data needs two keys of its own: no self_attention, new keys beyond past")
    axis, half = config.layout.index("s"), config.new_len // 2
    for name, factor in (("key", 1.0), ("value", -1.0 - 2.0**-6)):
        along = np.moveaxis(arrays[name], axis, 0)  # a view: changes the operand
        along[half : 2 * half] = cast(factor * along[:half].astype(np.float64), dtype)


def _fill_unseen(config: AttentionConfig, arrays: dict[str, Array]) -> None:
    """Write NaN or infinity into the keys and values, past ones included, that no query of any head may see."""
    visible = np.broadcast_to(
        allowed_keys(config, arrays), (config.batch, config.num_heads, config.q_len, config.kv_len)
    )
    hidden = np.asarray(~visible.any(axis=(1, 2)))
    if not hidden.any():
        raise CaseError("syntax", "unseen needs a key that no query may see: here every key is seen")
    past, layout = config.past or 0, config.layout if "b" in config.layout else f"b{config.layout}"
    for name in ("key", "value"):
        for operand, at in ((f"past_{name}", slice(past)), (name, slice(past, None))):
            if operand in arrays:
                batched = arrays[operand] if "b" in config.layout else arrays[operand][None]
                by_key = np.moveaxis(batched, (layout.index("b"), layout.index("s")), (0, 1))  # a view
                by_key[hidden[:, at]] = float(str(config.unseen))


def _mask(request: Request) -> Array:
    """True where a key is allowed; or the additive form of that; or random numbers where no fill is stated."""
    mask, stream, shape, format = request.config.mask, request.stream, request.shape, request.dtype.format
    assert mask is not None
    allowed = ~stream.draw_true(0.3, shape)
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
    # Rounded to float32, as mathematical libraries differ in the last bit of a power
    slopes = round_to(2.0 ** (-8.0 * np.arange(1, heads + 1) / heads), FLOAT32)
    distance = np.abs(np.arange(q_len)[:, None] + (kv_len - q_len) - np.arange(kv_len))
    return np.asarray(-slopes[:, None, None] * distance)


MAKERS: Mapping[Content, Callable[[Request], Array]] = {
    "tensor": _tensor,
    "weight": _weight,
    "normal": _normal,
    "bias": _bias,
    "cosine": lambda request: _rotary(request, np.cos),
    "sine": lambda request: _rotary(request, np.sin),
    "mask": _mask,
}
