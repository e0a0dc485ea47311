"""Operands of a case: the same bits for every backend, on every machine and with every version of NumPy.

Each operand has a stream of its own, keyed by a hash of the case's id and the operand's name, so adding a case or an
operand changes no other.  A float64 master array is made first and then rounded once to the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from specs import designed, probes
from specs.attention import allowed_keys
from specs.attention_fields import Mask
from specs.bound import Float64
from specs.case import AttentionConfig, Case, CaseError, EinsumConfig, Memory, Numbers, Recipe
from specs.equation import bind
from specs.formats import DTYPES, FLOAT32, Array, DType, cast, dtype_name, round_to
from specs.random_numbers import Stream
from specs.shapes import Shape, attention_output, attention_shapes, einsum_shapes

LITERAL = ("query", "key", "value")  # what an attention case may state number by number


@lru_cache(maxsize=16)  # a worker runs the checks of one case on one backend in a row
def operands(case: Case, dtype_name: str) -> Mapping[str, Array]:
    """Operand name → read-only array of the dtype, in the order of `specs.shapes`, in memory as the case says.

    Operands to which the case gives a dtype have that; masks of bool and kv_lengths keep their own.  Raises CaseError
    where data cannot be made as the case asks.
    """
    dtype, config = DTYPES[dtype_name], case.config
    if config.probe_design:
        made = {
            name: cast(values, dtype) for name, values in probes.designed(config, config.probe_design, dtype).items()
        }
    elif isinstance(config, EinsumConfig):
        made = _einsum_operands(case, config, dtype)
    else:
        made = _attention_operands(case, config, dtype)
    made = {name: in_memory(array, config.memory) for name, array in made.items()}
    for array in made.values():
        array.setflags(write=False)
    return made


def in_memory(array: Array, memory: Memory) -> Array:
    """The same values, with the strides that `Common.memory` describes."""
    if array.ndim == 0:
        return array
    if memory == "contiguous":  # which an array that was made in another layout is not
        return np.ascontiguousarray(array)
    if memory == "transposed":
        return np.asfortranarray(array)
    spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    spread[..., ::2] = array
    return spread[..., ::2]


def unaligned(array: Array) -> Array:
    """The same values where a vector of the processor would never begin: one element beyond a multiple of 64 bytes."""
    buffer = np.zeros(array.nbytes + array.itemsize + 64, np.uint8)
    offset = -buffer.ctypes.data % 64 + array.itemsize
    own: Array = np.ndarray(array.shape, array.dtype, buffer, offset)
    own[...] = array
    return own


@lru_cache(maxsize=16)
def cotangent(case: Case, dtype_name: str) -> Array:
    """What a vector-Jacobian product of a case is taken with: read-only, of the output's shape and the dtype.

    Random numbers whatever the operands hold, so that no term of a gradient is favoured; small integers where the
    operands are such, so that gradients of exact cases are exact too.
    """
    config, dtype = case.config, DTYPES[dtype_name]
    if isinstance(config, EinsumConfig):
        shape = bind(config.equation, list(einsum_shapes(config).values())).output_shape
    else:
        shape = attention_output(config)
    recipe: Recipe = "integers" if config.data == "integers" else "normal"
    made = cast(_master(case, "cotangent", shape, dtype, recipe), dtype)
    made.setflags(write=False)
    return made


def differentiable(operands: Mapping[str, Array]) -> list[str]:
    """Names of the operands that have a gradient: those of floating or complex dtype, but for tables of constants."""
    varying = (name for name in operands if name not in ("rotary_cos", "rotary_sin"))
    return [name for name in varying if DTYPES[dtype_name(operands[name].dtype)].inexact]


def random_terms(case: Case) -> bool:
    """Whether operands are independent random numbers, so that a bound may rely on rounding errors averaging out."""
    given = (getattr(case.config, name, None) for name in ("probe_design", "operands", *LITERAL))
    return all(each is None for each in given) and case.config.data in ("normal", "uniform")


def _wide(stream: Stream, shape: Shape) -> Float64:
    """Magnitudes over twelve binary orders, few enough for float16 to hold products of two."""
    return stream.normal(shape) * 2.0 ** stream.integers(-6, 6, shape)


def _sparse(stream: Stream, shape: Shape) -> Float64:
    """Nine in ten are zero, with either sign."""
    return stream.normal(shape) * np.where(stream.chosen(0.9, shape), 0.0, 1.0)


def _nonfinite(stream: Stream, shape: Shape) -> Float64:
    """About one in sixteen is an infinity or NaN, and the first element is +inf."""
    values = stream.normal(shape)
    special = np.array([np.inf, -np.inf, np.nan])[stream.integers(0, 2, shape).astype(int)]
    values = np.where(stream.chosen(1 / 16, shape), special, values)
    if values.size:
        values.flat[0] = np.inf
    return values


_RECIPES: Mapping[str, Callable[[Stream, Shape], Float64]] = {
    "normal": Stream.normal,
    "uniform": Stream.uniform,
    "integers": lambda stream, shape: (2 * stream.integers(0, 1, shape) - 1) * stream.integers(1, 4, shape),
    "wide": _wide,
    "cancelling": Stream.normal,  # then paired off along a summed label: see _cancel
    "large": lambda stream, shape: stream.normal(shape) * 32.0,
    "sparse": _sparse,
    "nonfinite": _nonfinite,
}


def _master(case: Case, name: str, shape: Shape, dtype: DType, recipe: Recipe | None = None) -> Array:
    """Values of one operand before rounding, as a recipe (the case's own) makes them for this kind of dtype."""

    def draw(part: str) -> Float64:
        stream = Stream(case.stream, name, part)
        if dtype.kind == "boolean":
            return stream.chosen(0.5, shape).astype(np.float64)
        if dtype.kind == "integer":
            return stream.integers(0 if dtype.name.startswith("u") else -8, 8, shape)
        return _RECIPES.get(recipe or case.config.data, Stream.normal)(stream, shape)

    if dtype.kind != "complex":
        return draw("real")
    both = np.empty(shape, np.complex128)
    both.real, both.imag = draw("real"), draw("imag")  # real + 1j * imag makes NaN of an infinite part
    return both


# Einsum -----------------------------------------------------------------------------------------------------------


def _einsum_operands(case: Case, config: EinsumConfig, dtype: DType) -> dict[str, Array]:
    shapes = einsum_shapes(config)
    own = [DTYPES[name] for name in config.operand_dtypes] if config.operand_dtypes else [dtype] * len(shapes)
    dtypes = dict(zip(shapes, own, strict=True))
    if config.operands is not None:
        literals = zip(dtypes.items(), config.operands, strict=True)
        return {name: cast(_literal(literal, own), own) for (name, own), literal in literals}
    if config.data == "exact":
        return {name: cast(master, dtype) for name, master in designed.exact(case, dtype).items()}
    masters = {name: _master(case, name, shape, dtypes[name]) for name, shape in shapes.items()}
    if config.data == "cancelling" and all(own.inexact for own in dtypes.values()):
        _cancel(config.equation, masters)
    return {name: cast(master, dtypes[name]) for name, master in masters.items()}


def _literal(literal: Numbers, dtype: DType) -> Array:
    """As the number is written: beside a smaller one, an integer of 64 bits would make NumPy choose float64."""
    array = np.array(literal)
    if dtype.kind == "integer" and array.dtype.kind == "f" and array.size:
        modulo = [int(number) % 2**64 for number in np.array(literal, object).flat]
        return np.array(modulo, np.uint64).reshape(array.shape)
    return array


def _cancel(equation: str, masters: dict[str, Array]) -> None:
    """Along one summed label the second half of the terms is the negated first half, off by one part in 64."""
    try:
        contraction = bind(equation, [master.shape for master in masters.values()])
    except CaseError:
        return  # an invalid case: its values are never used
    label = max(contraction.summed, key=contraction.sizes.__getitem__, default=None)
    if label is None or contraction.sizes[label] < 2:
        raise CaseError("syntax", f"cancelling data needs a summed label of size 2 or more in {equation!r}")
    half = contraction.sizes[label] // 2
    sign = -1.0 - 2.0**-6
    for term, name in zip(contraction.operands, masters, strict=True):
        if label in term and masters[name].shape[axis := term.index(label)] > 1:
            along = np.moveaxis(masters[name], axis, 0)  # a view: the master is changed
            along[half : 2 * half] = sign * along[:half]
            sign = 1.0  # only the first operand that has the label is negated


# Attention --------------------------------------------------------------------------------------------------------


def _attention_operands(case: Case, config: AttentionConfig, dtype: DType) -> dict[str, Array]:
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
    return _master(case, name, shape, dtype)


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
