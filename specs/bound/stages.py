"""The intermediates of one attention, in float64, with zeros for infinities and NaN.

An output that depends on an infinity or NaN is infinite or NaN and needs no bound; a finite output does not depend on
any.  So zeros can replace them in all bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from specs.arithmetic.double_double import DoubleDouble, to_float64
from specs.arithmetic.formats import Array, Float64, round_to
from specs.arithmetic.precision import Precision
from specs.bound.rounding import Size, storage_error
from specs.case.attention import AttentionConfig
from specs.reference.attention import (
    Applied,
    Attention,
    apply_rotary,
    concat_past,
    extra_logits,
    project,
    repeat_heads,
    score_products,
    softmax,
)


@dataclass(frozen=True)
class Stages:
    """One attention whose error is bounded; all arrays are float64 and finite, layouts as in `Attention`.

    `random`: rounding errors average out, so that variances and shared errors are of use; without it steps may leave
    them at zero.
    """

    config: AttentionConfig
    operands: Mapping[str, Array]
    precision: Precision
    exact: Attention
    random: bool

    @property
    def u_store(self) -> float:
        """Unit roundoff of a tensor stored between steps, where that is coarser than the accumulator; else 0."""
        storage, accumulate = self.precision.storage, self.precision.accumulate
        return storage.unit_roundoff if storage.precision < accumulate.precision else 0.0

    @property
    def u_step(self) -> float:
        """Unit roundoff of one elementwise operation whose result is stored."""
        return self.u_store or self.precision.u_a

    def storage_error(self, value: Float64, error: Size = 0.0) -> Float64:
        """Largest error of storing a tensor, which is within `error` of its value, in the dtype between steps."""
        return storage_error(self.precision, self.precision.storage, value, error)

    @property
    def scale_is_exact(self) -> bool:
        """Whether the scale is a power of two, by which products are exact."""
        return math.frexp(self.config.score_scale)[0] in (0.5, -0.5)

    @property
    def scale_error(self) -> float:
        """The relative error of the scale, which all scores share: it or its reciprocal is rounded to their format."""
        p, scale = self.precision, self.config.score_scale
        stored = [format for unit, format in ((p.u_s, p.intermediate), (p.u_q, p.scaled)) if unit]
        if not stored or not scale or not math.isfinite(scale):
            return 2 * p.u_a
        rounded = [float(round_to(x, format)) for x in (scale, 1 / scale) for format in stored]
        factors = (x / scale if i < len(stored) else x * scale for i, x in enumerate(rounded))
        return max(2 * p.u_a, *(abs(factor - 1) / min(factor, 1.0) for factor in factors))

    @property
    def underflow(self) -> float:
        """Absolute error of a result below the normal range of the storage format."""
        storage = self.precision.storage
        return storage.tiny if self.precision.flushes else storage.smallest

    @cached_property
    def finite_operands(self) -> dict[str, Float64]:
        return {name: zero_nonfinite(array.astype(np.float64)) for name, array in self.operands.items()}

    @cached_property
    def query(self) -> Float64:
        return zero_nonfinite(self.exact.query)

    @cached_property
    def keys(self) -> Float64:
        return zero_nonfinite(self.exact.keys)

    @cached_property
    def values(self) -> Float64:
        """The values, with a row of zeros for each further logit behind those of the keys."""
        return self.append_zero_rows(zero_nonfinite(self.exact.values))

    @cached_property
    def allowed(self) -> Array:
        return self.append_logits(self.exact.allowed, True)

    @cached_property
    def weights(self) -> Float64:
        """The weights, and those of further logits, which share 1 minus the weights of the keys."""
        weights = zero_nonfinite(self.exact.weights)
        if self.logits is None:
            return weights
        rest = np.maximum(1.0 - weights.sum(axis=-1, keepdims=True), 0.0)
        shares = softmax(self.logits, np.ones(self.logits.shape, bool))
        return np.concatenate([weights, rest * shares], axis=-1)

    @cached_property
    def magnitudes_of_products(self) -> Float64:
        """|query| . |key| for each pair, without the scale: bhqk."""
        return np.asarray(score_products(np.abs(self.query), np.abs(self.keys)))

    @cached_property
    def raw(self) -> Float64:
        return zero_nonfinite(self.exact.raw)

    @cached_property
    def biased(self) -> Float64:
        return self.raw if self.exact.biased is self.exact.raw else zero_nonfinite(self.exact.biased)

    @cached_property
    def functions(self) -> list[Applied]:
        """The functions of the scores, with finite arguments, values and parameters."""
        finite: list[Applied] = []
        for applied in self.exact.functions:
            argument = finite[-1].value if finite else self.biased
            parameter = None if applied.parameter is None else self.per_head(applied.function.field)
            finite.append(Applied(applied.function, argument, zero_nonfinite(applied.value), parameter))
        return finite

    @property
    def modified(self) -> Float64:
        """The scores after all functions."""
        return self.functions[-1].value if self.functions else self.biased

    @cached_property
    def masked(self) -> Float64:
        """The scores after an additive mask, also where a key is not allowed."""
        return self.modified if self.exact.scores is self.exact.modified else zero_nonfinite(self.exact.scores)

    @cached_property
    def scores(self) -> Float64:
        """The scores where allowed, else 0; with further logits."""
        scores = np.where(self.exact.allowed, self.masked, 0.0)
        return scores if self.logits is None else self.append_logits(scores, self.logits)

    @cached_property
    def logits(self) -> Float64 | None:
        """The logits that belong to no key: (heads, 1, logits); None without any."""
        logits: Float64 | None = extra_logits(self.config, self.finite_operands)
        return logits

    def per_head(self, name: str) -> Float64:
        """An operand of which each head has one number: h11."""
        return self.finite_operands[name][:, None, None]

    def append_logits(self, tensor: Array, values: Array | float) -> Array:
        """A tensor bhqk with one more key for each further logit."""
        if self.logits is None:
            return tensor
        shape = (*tensor.shape[:-1], self.logits.shape[-1])
        return np.concatenate([tensor, np.broadcast_to(np.asarray(values, tensor.dtype), shape)], axis=-1)

    def append_zero_rows(self, tensor: Float64) -> Float64:
        """A tensor with one row per key, and a row of zeros for each further logit."""
        if self.logits is None:
            return tensor
        rows = np.zeros((*tensor.shape[:-2], self.logits.shape[-1], tensor.shape[-1]))
        return np.concatenate([tensor, rows], axis=-2)

    def without_positions(self, name: str) -> Float64:
        """Keys or values before relative positions are added: bhkd per query head, values with zero rows."""
        c, heads = self.config, project(self.config, self.finite_operands, name)
        heads = apply_rotary(c, self.finite_operands, heads, c.past or 0) if name == "key" else heads
        heads = repeat_heads(concat_past(c, self.finite_operands, name, heads), c.num_heads // c.num_kv_heads)
        return np.asarray(self.append_zero_rows(heads) if name == "value" else heads)

    def relative(self, name: str) -> Float64 | None:
        """Relative positions of `keys` or `values`: hqkd, those of values with zero rows; None without."""
        array = self.finite_operands.get(f"relative_{name}")
        if array is None:
            return None
        heads_first = array.transpose(2, 0, 1, 3)
        return self.append_zero_rows(heads_first) if name == "values" else heads_first


def zero_nonfinite(values: Array | DoubleDouble) -> Float64:
    """The values as float64, with 0 for infinities and NaN."""
    plain = to_float64(values)
    return np.where(np.isfinite(plain), plain, 0.0)
