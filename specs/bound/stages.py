"""The intermediates of one attention, in float64, with zeros for infinities and NaN.

An output that depends on an infinity or NaN is infinite or NaN and needs no bound; a finite output does not depend on
any.  So zeros can replace them in all bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from specs.arithmetic.double_double import DoubleDouble, to_float64
from specs.arithmetic.formats import Array, Float64
from specs.arithmetic.precision import Precision
from specs.case.attention import AttentionConfig
from specs.reference.attention import Attention, apply_rotary, concat_past, project, repeat_heads, score_products


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
        """The values, with a row of zeros for a sink behind the others."""
        return self.append_zero_row(zero_nonfinite(self.exact.values))

    @cached_property
    def allowed(self) -> Array:
        return self.append_sink(self.exact.allowed, True)

    @cached_property
    def weights(self) -> Float64:
        """The weights, with that of a sink, which is 1 minus those of the keys."""
        weights = zero_nonfinite(self.exact.weights)
        if not self.config.sink:
            return weights
        rest = np.maximum(1.0 - weights.sum(axis=-1, keepdims=True), 0.0)
        return np.concatenate([weights, rest], axis=-1)

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
    def capped(self) -> Float64:
        return self.biased if self.exact.capped is self.exact.biased else zero_nonfinite(self.exact.capped)

    @cached_property
    def masked(self) -> Float64:
        """The scores after an additive mask, also where a key is not allowed."""
        return self.capped if self.exact.scores is self.exact.capped else zero_nonfinite(self.exact.scores)

    @cached_property
    def scores(self) -> Float64:
        """The scores where allowed, else 0; with the sink logit."""
        scores = np.where(self.exact.allowed, self.masked, 0.0)
        return self.append_sink(scores, self.finite_operands["sink"][:, None, None]) if self.config.sink else scores

    def append_sink(self, tensor: Array, sink_value: Array | float) -> Array:
        """A tensor bhqk with one more key for a sink, if there is one."""
        if not self.config.sink:
            return tensor
        shape = (*tensor.shape[:-1], 1)
        return np.concatenate([tensor, np.broadcast_to(np.asarray(sink_value, tensor.dtype), shape)], axis=-1)

    def append_zero_row(self, tensor: Float64) -> Float64:
        """A tensor with one row per key, with a row of zeros for a sink, if there is one."""
        if not self.config.sink:
            return tensor
        return np.concatenate([tensor, np.zeros((*tensor.shape[:-2], 1, tensor.shape[-1]))], axis=-2)

    def without_positions(self, name: str) -> Float64:
        """Keys or values before relative positions are added: bhkd per query head, values with a sink's row."""
        c, heads = self.config, project(self.config, self.finite_operands, name)
        heads = apply_rotary(c, self.finite_operands, heads, c.past or 0) if name == "key" else heads
        heads = repeat_heads(concat_past(c, self.finite_operands, name, heads), c.num_heads // c.num_kv_heads)
        return np.asarray(self.append_zero_row(heads) if name == "value" else heads)

    def relative(self, name: str) -> Float64 | None:
        """Relative positions of `keys` or `values`: hqkd, those of values with a sink's row; None without."""
        array = self.finite_operands.get(f"relative_{name}")
        if array is None:
            return None
        heads_first = array.transpose(2, 0, 1, 3)
        return self.append_zero_row(heads_first) if name == "values" else heads_first


def zero_nonfinite(values: Array | DoubleDouble) -> Float64:
    """The values as float64, with 0 for infinities and NaN."""
    plain = to_float64(values)
    return np.where(np.isfinite(plain), plain, 0.0)
