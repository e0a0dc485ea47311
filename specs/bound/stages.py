"""What a bound of attention is made of: every intermediate in float64, with what is not finite left out.

An output that something infinite or NaN reaches is infinite or NaN itself and needs no bound; where it is finite, what
was not finite had no part in it.  So zeros can stand for such numbers in all that follows.
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
from specs.reference.attention import Attention, projected, repeated, turned, with_past


@dataclass(frozen=True)
class Stages:
    """One attention that is to be bounded; all arrays float64 and finite, layouts as in `Attention`."""

    config: AttentionConfig
    operands: Mapping[str, Array]
    precision: Precision
    exact: Attention

    @property
    def u_store(self) -> float:
        """Of a tensor stored between steps, where that is coarser than the accumulator; else 0."""
        storage, accumulate = self.precision.storage, self.precision.accumulate
        return storage.unit_roundoff if storage.precision < accumulate.precision else 0.0

    @property
    def u_step(self) -> float:
        """Of one elementwise operation written by hand, whose result is stored."""
        return self.u_store or self.precision.u_a

    @property
    def lost(self) -> float:
        """Absolute error of a result too small for the storage format."""
        storage = self.precision.storage
        return storage.tiny if self.precision.flushes else storage.smallest

    @cached_property
    def given(self) -> dict[str, Float64]:
        return {name: finite(array.astype(np.float64)) for name, array in self.operands.items()}

    @cached_property
    def query(self) -> Float64:
        return finite(self.exact.query)

    @cached_property
    def keys(self) -> Float64:
        return finite(self.exact.keys)

    @cached_property
    def values(self) -> Float64:
        """Of a sink too, behind the others: it is one more key whose value is 0."""
        return self.with_nothing(finite(self.exact.values))

    @cached_property
    def allowed(self) -> Array:
        return self.beside(self.exact.allowed, True)

    @cached_property
    def weights(self) -> Float64:
        """With that of a sink, which has whatever the keys leave."""
        weights = finite(self.exact.weights)
        if not self.config.sink:
            return weights
        rest = np.maximum(1.0 - weights.sum(axis=-1, keepdims=True), 0.0)
        return np.concatenate([weights, rest], axis=-1)

    @cached_property
    def scores(self) -> Float64:
        """Where allowed, else 0; with a sink's logit."""
        scores = np.where(self.exact.allowed, finite(self.exact.scores), 0.0)
        return self.beside(scores, self.given["sink"][:, None, None]) if self.config.sink else scores

    def beside(self, of_keys: Array, of_sink: Array | float) -> Array:
        """A tensor bhqk with one more key, if there is a sink."""
        if not self.config.sink:
            return of_keys
        shape = (*of_keys.shape[:-1], 1)
        return np.concatenate([of_keys, np.broadcast_to(np.asarray(of_sink, of_keys.dtype), shape)], axis=-1)

    def with_nothing(self, of_keys: Float64) -> Float64:
        """A tensor whose rows belong to keys with one more row, of zeros, if there is a sink."""
        if not self.config.sink:
            return of_keys
        return np.concatenate([of_keys, np.zeros((*of_keys.shape[:-2], 1, of_keys.shape[-1]))], axis=-2)

    def plain(self, name: str) -> Float64:
        """Keys or values before relative positions are added: bhkd for every query head, values with a sink's."""
        c, heads = self.config, projected(self.config, self.given, name)
        heads = turned(c, self.given, heads, c.past or 0) if name == "key" else heads
        heads = repeated(with_past(c, self.given, name, heads), c.num_heads // c.num_kv_heads)
        return np.asarray(self.with_nothing(heads) if name == "value" else heads)

    def relative(self, name: str) -> Float64 | None:
        """Relative positions of `keys` or `values`: hqkd, of values with a sink's."""
        array = self.given.get(f"relative_{name}")
        if array is None:
            return None
        heads_first = array.transpose(2, 0, 1, 3)
        return self.with_nothing(heads_first) if name == "values" else heads_first


def finite(values: Array | DoubleDouble) -> Float64:
    """As float64, with 0 for infinities and NaN."""
    plain = to_float64(values)
    return np.where(np.isfinite(plain), plain, 0.0)
