"""How wrong may correct attention be?  The error of each stage, carried through to the output.

Symbols (formats as `specs.precision` names them): scores t, shifted scores x = t - max, weights w, output O, D the
head_dim, N the number of keys a query sees.

    projections    e_q = gamma(D_in u_a, 2 u_m) (|x||W|^T + |b|) + u(storage) (|q| + |q - b|)
    scores         e   = gamma(D u_a, 2 u_m, u_prescale, 2 u_a) |scale| |q||k|^T + u_s (2 |raw| + |t|)
                         + |scale| (e_q |k|^T + |q| e_k^T + e_q e_k^T)
                   softcap: times sech^2, plus (8 u_a + 2 u_s) |t|
    exponent       r   = e + |x| (u_x + 2 u_a) + 4 max(u_a, u_x),   rho = exp(r) - 1
                         + u_x |t| where the softmax is narrower than the products
    output         |dO| <= sum_j w rho |v - O| / (1 - sum_j w rho)
                        <= min(triangle form, Cauchy-Schwarz form)                                  only matmuls
                        + [gamma((N + 2B) u_a) + u_p + 2 u_m] sum w|v|
                        + [gamma((N + 2B) u_x) + 4 u_a] |O| + flushed weights,  capped at max|v| + |O|

Subtracting the maximum cancels exactly, so naive, shifted and online softmax share this bound (Blanchard, Higham &
Higham 2021); B = min(64, N) allows for the rescaling of as many blocks of an online softmax.  Scores stored in a
narrower format than the accumulator (unfused attention) are what u_s stands for; a fused kernel declares
intermediate = accumulate and u_s is 0.

For random data the score errors are independent, and eight standard deviations of their sum replace the first line:
    8 sqrt(sum_j w^2 sigma^2 (v - O)^2 + ...) + one shared relative error of the scale, which does not average out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from specs.attention import Attention, Bools, attention, products, projected, to_layout, weighted
from specs.bound import DEVIATIONS, ROUNDING_DEVIATION, U_REFERENCE, Float64, Reference, gamma, rounded
from specs.bound import uses_double_double as wide_reference
from specs.case import AttentionConfig
from specs.formats import FLOAT32, Array, DType
from specs.precision import Precision

BLOCKS = 64  # rescalings of an online softmax that are allowed for
EXP_ULPS = 4.0  # error of exp in ulps of its format: libraries measure 2 at most, hardware exp2 2
TANH_ULPS = 8.0
STAGNANT = 50.0  # an exponent error beyond this says nothing; exp must not overflow


def reference(
    config: AttentionConfig, dtype: DType, operands: Mapping[str, Array], precision: Precision, random: bool
) -> Reference:
    """Reference of a case on operands of `dtype`; raises CaseError where the configuration has no meaning.

    `random` says that operands hold independent random numbers.
    """
    exact = attention(config, operands, dtype)
    with np.errstate(all="ignore"):
        error, how = Stages(config, dtype, operands, precision, exact).output_error(random)
        y = rounded(exact.output)
        error = np.where(np.isfinite(y), error, 0.0)
    facts = {"terms": config.kv_len, "score_terms": config.head_dim, "form": how}
    return Reference(dtype, exact.output, error, precision, facts)


@dataclass(frozen=True)
class Stages:
    """Errors of one attention, stage by stage; all arrays float64, layouts as in `Attention`."""

    config: AttentionConfig
    dtype: DType
    operands: Mapping[str, Array]
    precision: Precision
    exact: Attention

    @property
    def u_store(self) -> float:
        """Of a tensor stored between steps, where that is coarser than the accumulator."""
        storage, accumulate = self.precision.storage, self.precision.accumulate
        return storage.unit_roundoff if storage.precision < accumulate.precision else 0.0

    def output_error(self, random: bool) -> tuple[Float64, str]:
        p, e = self.precision, self.exact
        exponent, variance = self.exponent_error()
        values, weights = rounded(e.values), rounded(e.weights)
        heads = weighted(weights, values)  # before a scale at the weights
        sizes = self.value_sizes(values)
        magnitude = weighted(weights, sizes)
        error, total = self._any_data(exponent, values, weights, heads, magnitude)
        how = "any data"
        if random and self.errors_average_out():
            error, how = np.minimum(error, self._random(variance, values, weights, heads)), "random data"
        error = error + self._flushed(weights, values)
        error = np.minimum(error, (self._largest(sizes) + np.abs(heads)) * (1 + 64 * p.u_a + p.u_p + 2 * p.u_m))
        e_value = self.projection_error("value")
        if e_value is not None:
            error = error + np.minimum(weighted(weights, e_value) * (1 + total), self._largest(e_value))
        error = np.where(self.overflowing_scores(), np.inf, error)
        if self.config.scale_at == "weights":
            scale = abs(self.config.scale or 0.0)
            error = scale * error + scale * (p.u_p + p.u_s + 2 * p.u_a) * magnitude
        error = error + U_REFERENCE[wide_reference(self.dtype)] * (weights.shape[-1] + 64) * magnitude
        return self._output_projection(to_layout(self.config, error)), how

    def errors_average_out(self) -> bool:
        """Not below float32 (sums stagnate), with truncation (biased), or where one rounding enters many scores."""
        p, c = self.precision, self.config
        wide = min(p.accumulate.precision, p.softmax.precision) >= FLOAT32.precision
        return wide and not p.truncates and c.projections is None and c.relative is None

    # Scores -------------------------------------------------------------------------------------------------------

    def biased_error(self) -> tuple[Float64, Float64]:
        """Largest error and variance of the scores with their bias, before a softcap: bhqk."""
        p, e, c = self.precision, self.exact, self.config
        u_a, u_m, u_s = p.u_a, p.u_m, p.u_s
        scale = abs(c.score_scale)
        query, keys = np.abs(rounded(e.query)), self.key_sizes()
        relative = c.relative is not None and c.relative.keys
        size = scale * products(query, keys)
        raw, biased = np.abs(rounded(e.raw)), np.abs(rounded(e.biased))
        stored = self.u_store or u_a  # q may be multiplied by the scale and stored before the product
        growth = gamma((c.head_dim, u_a), (2, u_m), (1 + relative, stored), (2, u_a))
        error = growth * size + u_s * 2 * raw + self._projected_score_error(query, keys, scale)
        squares = scale**2 * products(query**2, keys**2)
        variance = ROUNDING_DEVIATION**2 * (
            u_a**2 * (c.head_dim * (raw**2 / 3 + squares / 6) + 2 * squares)
            + (2 * u_m**2 + stored**2) * squares
            + (2 * u_s**2 + 2 * u_a**2) * raw**2
        )
        if c.bias is not None:
            error = error + (u_s + u_a) * biased
            variance = variance + ROUNDING_DEVIATION**2 * (u_s**2 + u_a**2) * biased**2
        return error, variance

    def exponent_error(self) -> tuple[Float64, Float64]:
        """Largest error and variance of x = t - max as the softmax sees it: bhqk."""
        p, e, c = self.precision, self.exact, self.config
        u_a, u_s = p.u_a, p.u_s
        error, variance = self.biased_error()
        if c.softcap:
            error, variance = self._softcap(error, variance, np.abs(rounded(e.biased)))
        scores = np.abs(np.where(e.allowed, rounded(e.scores), 0.0))
        if c.mask is not None and c.mask.type == "additive":
            error = error + (u_s + u_a) * scores
            variance = variance + ROUNDING_DEVIATION**2 * (u_s**2 + u_a**2) * scores**2
        largest = np.max(np.where(e.allowed, rounded(e.scores), -np.inf), axis=-1, keepdims=True, initial=-np.inf)
        shifted = np.abs(np.where(e.allowed, rounded(e.scores) - largest, 0.0))
        narrow = p.u_x if p.u_x > u_a else 0.0  # a softmax narrower than the products: scores are converted to it
        in_exp = EXP_ULPS * max(u_a, p.u_x)
        own = shifted * (p.u_x + 2 * u_a) + in_exp + narrow * scores + (u_s if narrow else 0.0)
        error = error + own
        variance = variance + ROUNDING_DEVIATION**2 * (
            (shifted * (p.u_x + 2 * u_a)) ** 2 + in_exp**2 + (narrow * scores) ** 2
        )
        return np.where(e.allowed, error, 0.0), np.where(e.allowed, np.minimum(variance, 25.0), 0.0)

    def _softcap(self, error: Float64, variance: Float64, biased: Float64) -> tuple[Float64, Float64]:
        """tanh contracts what came before by sech^2 at the nearer end, and adds its own rounding."""
        p, cap = self.precision, float(self.config.softcap or 0.0)
        slope = np.cosh(np.minimum(np.maximum(biased - error, 0.0) / cap, 300.0)) ** -2
        capped = np.abs(rounded(self.exact.capped))
        own = (TANH_ULPS * p.u_a + 2 * p.u_s + 2 * p.u_a) * capped
        division = 2 * p.u_a + p.u_s
        variance = slope**2 * (variance + (ROUNDING_DEVIATION * division * biased) ** 2)
        return slope * (error + division * biased) + own, variance + (ROUNDING_DEVIATION * own) ** 2

    # Output -------------------------------------------------------------------------------------------------------

    def _any_data(
        self, exponent: Float64, values: Float64, weights: Float64, heads: Float64, magnitude: Float64
    ) -> tuple[Float64, Float64]:
        """The deterministic bound, and sum_j w rho."""
        p = self.precision
        rho = np.expm1(np.minimum(exponent, STAGNANT))
        total = (weights * rho).sum(axis=-1, keepdims=True)
        spread = np.maximum(weighted(weights, values**2) - heads**2, 0.0)
        cauchy_schwarz = np.sqrt((weights * rho**2).sum(axis=-1, keepdims=True) * spread)
        triangle = weighted(weights * rho, np.abs(values)) + total * np.abs(heads)
        from_scores = np.minimum(cauchy_schwarz, triangle) / np.maximum(1 - total, 1e-9)
        keys = self.exact.allowed.sum(axis=-1, keepdims=True)
        seen = keys + 2 * np.minimum(BLOCKS, keys)  # a block holds one key at least
        narrow = p.u_x if p.u_x > p.u_a else 0.0
        sum_values = np.expm1(seen * np.log1p(p.u_a)) + p.u_p + 2 * p.u_m + narrow  # each quotient is rounded
        if self.config.relative is not None and self.config.relative.values:
            sum_values = sum_values + (self.u_store or p.u_a) + p.u_s  # values stored with positions, or sums added
        sum_weights = np.expm1(seen * np.log1p(p.u_x)) + 4 * p.u_a + narrow
        return from_scores + sum_values * magnitude * (1 + total) + sum_weights * np.abs(heads), total

    def _random(self, variance: Float64, values: Float64, weights: Float64, heads: Float64) -> Float64:
        p = self.precision
        w2, o2 = weights**2, heads**2
        w2v2 = weighted(w2, values**2)
        sum_w2 = w2.sum(axis=-1, keepdims=True)
        scored = w2 * variance
        from_scores = weighted(scored, values**2) - 2 * heads * weighted(scored, values)
        from_scores = np.maximum(from_scores + o2 * scored.sum(axis=-1, keepdims=True), 0.0)
        seen = self.exact.allowed.sum(axis=-1, keepdims=True)
        narrow = p.u_x if p.u_x > p.u_a else 0.0
        sums = (p.u_p**2 + 2 * p.u_m**2 + narrow**2) * w2v2 + p.u_a**2 * seen * (o2 / 3 + w2v2 / 6)
        sums = sums + p.u_x**2 * seen * (o2 / 3 + o2 * sum_w2 / 6) + ((4 * p.u_a) ** 2 + narrow**2) * o2
        # One relative error of the scale is shared by all scores: it moves the output along dO/dlog(scale)
        scores = np.where(self.exact.allowed, rounded(self.exact.capped), 0.0)
        along = weighted(weights * scores, values) - heads * (weights * scores).sum(axis=-1, keepdims=True)
        shared = max(p.u_s, 2 * p.u_a) * np.abs(along)
        return DEVIATIONS * np.sqrt(from_scores + ROUNDING_DEVIATION**2 * sums) + shared

    def key_sizes(self) -> Float64:
        """|k|; with relative keys |k| + |a|, because their sum may be stored or each be multiplied apart."""
        if self.config.relative is None or not self.config.relative.keys:
            return np.abs(rounded(self.exact.keys))
        relative = np.abs(self.operands["relative_keys"].astype(np.float64)).transpose(2, 0, 1, 3)
        return np.asarray(np.abs(self._kv("key"))[:, :, None] + relative)

    def value_sizes(self, values: Float64) -> Float64:
        """|v|; with relative values |v| + |a|, because their sum may be stored or each be weighted apart."""
        if self.config.relative is None or not self.config.relative.values:
            return np.abs(values)
        relative = np.abs(self.operands["relative_values"].astype(np.float64)).transpose(2, 0, 1, 3)
        return np.asarray(np.abs(self._kv("value"))[:, :, None] + relative)

    def _flushed(self, weights: Float64, values: Float64) -> Float64:
        """Weights too small for their format, and products below the accumulator's normal range."""
        p = self.precision
        lost = p.weights.tiny if p.flushes else p.weights.smallest
        small = ((weights < 2 * p.weights.tiny) & self.exact.allowed).astype(np.float64)
        seen = self.exact.allowed.sum(axis=-1, keepdims=True)
        return weighted(small, np.abs(values)) * lost + seen * p.accumulate.tiny * self._largest(values)

    def _largest(self, values: Float64) -> Float64:
        """max_j |v_j| per feature: a convex combination stays within it."""
        return np.max(np.abs(values), axis=-2, keepdims=values.ndim == 4, initial=0.0)

    def overflowing_scores(self) -> Bools:
        """Queries for which a stored score exceeds its format: what follows has no accuracy."""
        e, stored = self.exact, self.precision.intermediate
        largest = np.max(np.abs(np.where(e.allowed, rounded(e.raw), 0.0)), axis=-1, keepdims=True, initial=0.0)
        unscaled = largest / min(1.0, abs(self.config.score_scale) or 1.0)  # the product before it is scaled
        return np.asarray(unscaled * (1 + 64 * stored.unit_roundoff) >= stored.max)

    # Projections --------------------------------------------------------------------------------------------------

    def _kv(self, name: str) -> Float64:
        """Key or value before relative positions are added, with its heads repeated."""
        tensor = rounded(projected(self.config, self.wide_operands, name))
        return np.repeat(tensor, self.config.num_heads // self.config.num_kv_heads, axis=1)

    @cached_property
    def wide_operands(self) -> dict[str, Float64]:
        return {name: array.astype(np.float64) for name, array in self.operands.items()}

    def projection_error(self, name: str) -> Float64 | None:
        """Of the projected query, key or value: bhsd, heads repeated; None where there is no projection."""
        c, p = self.config, self.precision
        if c.projections is None:
            return None
        absolute = {key: np.abs(array) for key, array in self.wide_operands.items()}
        size = projected(c, absolute, name)
        terms = self.operands[f"{name}_weight"].shape[-1 if c.projections.kind == "linear" else -2]
        plain = np.abs(projected(c, self.wide_operands, name))
        error = gamma((terms + 1, p.u_a), (2, p.u_m)) * size + self.u_store * plain
        if c.projections.bias:  # the product may be stored before the bias is added
            unbiased = {key: array for key, array in self.wide_operands.items() if key != f"{name}_bias"}
            error = error + self.u_store * np.abs(projected(c, unbiased, name))
        return np.repeat(error, 1 if name == "query" else c.num_heads // c.num_kv_heads, axis=1)

    def _projected_score_error(self, query: Float64, keys: Float64, scale: float) -> Float64 | float:
        e_query, e_key = self.projection_error("query"), self.projection_error("key")
        if e_query is None or e_key is None:
            return 0.0
        if keys.ndim > e_key.ndim:
            e_key = np.broadcast_to(e_key[:, :, None], keys.shape)
        return scale * (products(e_query, keys + e_key) + products(query, e_key))

    def _output_projection(self, error: Float64) -> Float64:
        """From the error of the merged heads, in the case's layout, to that of the projected output."""
        c, p = self.config, self.precision
        if c.projections is None or not c.projections.output:
            return error
        weight, bias = (self.operands[f"output_{part}"].astype(np.float64) for part in ("weight", "bias"))
        if c.layout == "ds":
            bias = bias[:, None]
        heads = np.abs(rounded(to_layout(c, self.exact.heads)))
        carried = error + self.u_store * heads
        growth = gamma((weight.shape[-1] + 1, p.u_a), (2, p.u_m))
        carried = carried + growth * (heads + carried)
        product = np.abs(weight) @ carried if c.layout == "ds" else carried @ np.abs(weight).T
        unbiased = np.abs(rounded(self.exact.output) - bias)  # it may be stored before the bias is added
        return np.asarray(product + growth * np.abs(bias) + self.u_store * unbiased)
