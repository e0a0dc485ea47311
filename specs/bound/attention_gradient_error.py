"""How wrong may correct gradients of attention be?  The error of each step backwards, carried on to the operands.

Symbols as in `specs.reference.attention_gradient` and `specs.bound.attention`: weights P, values V, cotangent dO, D and
D_v the widths of keys and values, N the number of keys a query sees, M that of queries; e_X is the largest error of X.

    weights      e_P     = P (rho + sum P rho) / (1 - sum P rho), r from the exponents of the forward computation; or
                 where that is large, how far P exp(+-r) / sum P exp(-+r) can be from P
                 + [gamma((N + 2B) u_x) + 4 u_x + 2 u_p + 2 u_a |lse|] P, and what the format flushes; the last term
                 because a kernel that keeps lse = log sum exp computes P = exp(score - lse) anew
    dP           e_dP    = e_dO |V| + |dO| e_V + gamma(D_v u_a, 2 u_m) |dO||V| + u_s |dP|
    delta        e_delta = sum e_P |dP| + the larger of what either published form adds
                 rowsum(dO * O), O stored:  [gamma((N + 2B + D_v) u_a, 2 u_m) + u_p + u_store] sum_d |dO| sum_j P |V|
                 rowsum(P * dP):            sum (P + e_P) e_dP + gamma(N u_x, u_s) sum P |dP|
    dS           e_dS    = e_P |dP - delta| + (P + e_P) (e_dP + e_delta) + gamma(3 u_x, 2 u_s) P (|dP| + |delta|)
                 in which P dP - P delta is covered as P (dP - delta) is: autodiff of a softmax may take either form
    softcap      slope f = 1 - tanh^2, e_f = (2 / cap) f e_B at the nearer end + (2 TANH_ULPS + 2) u_a + 4 u_s
    products     e_dQ    = |scale| [e_dB (|K| + e_K) + |dB| e_K + gamma(N u_a, 2 u_m, 3 u_store, u_p) |dB||K|]
                 and in the same way dK over M queries, and dV from P and dO
    operands     what is above goes the way of the gradients themselves, which is linear, and each sum on the way adds
                 gamma(terms u_a, 2 u_m, stored intermediates u_store) times the sum of magnitudes

Magnitudes |X||Y| stand for the sums of products of absolute values.  Softmax runs with u_x, or u_a if that is coarser.

For random data, roundings of different elements are independent, and variances take the place of largest errors where
that gives less (`specs.bound.attention_gradient_variance`).

Where a query's output is not finite, or a score or gradient may overflow its format, all that it enters is unlimited.
Sources: Higham, Accuracy and Stability, ch. 3; Dao et al. 2022, appendix B.2 and algorithm 4 (both forms of delta).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from specs.arithmetic.double_double import rounded
from specs.arithmetic.formats import Float64
from specs.bound.attention_gradient_forward import Forward
from specs.bound.rounding import gamma
from specs.bound.score import TANH_ULPS, before_softcap
from specs.bound.stages import finite
from specs.case.layout import to_heads, to_layout
from specs.reference.attention import products, weighted
from specs.reference.attention_gradient import (
    Gradients,
    linear_parameters,
    merged,
    of_operands,
    over_queries,
    softcap_slope,
)


@dataclass(frozen=True)
class Errors(Forward):
    """Largest errors of one attention's gradients, from step to step backwards."""

    @cached_property
    def of_heads(self) -> Float64:
        """e_dO."""
        c, p = self.config, self.precision
        error = np.zeros_like(self.d.heads)
        if c.projections and c.projections.output:
            growth = gamma((self.sizes["output_weight"].shape[0], p.u_a), (2, p.u_m), (1, self.stored))
            error = growth * to_heads(c, merged(c, self.sizes, np.abs(self.d.output)), c.num_heads)
            error = error * (c.scale or 0.0) if c.scale_at == "weights" else error
        return error + (2 * p.u_a + self.stored) * np.abs(self.d.heads) * (c.scale_at == "weights")

    @cached_property
    def of_products(self) -> Float64:
        """e_dP."""
        c, p = self.config, self.precision
        relative = c.relative is not None and c.relative.values
        growth = gamma((c.value_dim, p.u_a), (2, p.u_m), (relative + (c.scale_at == "weights"), self.stored))
        heads, values = np.abs(self.d.heads) + self.of_heads, self.values + self.of_values
        error = products(self.of_heads, values) + products(np.abs(self.d.heads), self.of_values)
        error = error + growth * products(heads, values) + p.u_s * np.abs(self.d.weights)
        return np.asarray(error + self.lost + c.value_dim * self.lost_term)

    @cached_property
    def of_row(self) -> Float64:
        """e_delta."""
        c, p, w = self.config, self.precision, self.weights
        d_weights, heads = np.abs(self.d.weights), np.abs(self.d.heads)
        outputs = (heads * weighted(w, self.values)).sum(axis=-1, keepdims=True)
        growth = np.expm1((self.seen + c.value_dim) * np.log1p(p.u_a)) + 2 * p.u_m + p.u_p + 2 * self.stored
        by_output = growth * outputs + (self.of_heads * weighted(w, self.values)).sum(axis=-1, keepdims=True)
        growth = np.expm1(self.seen * np.log1p(self.u_x)) + 2 * p.u_s
        by_weights = (w + self.of_weights) * self.of_products + growth * w * d_weights
        added = np.maximum(by_output, by_weights.sum(axis=-1, keepdims=True))
        return np.asarray((self.of_weights * d_weights).sum(axis=-1, keepdims=True) + added + self.lost)

    @cached_property
    def of_scores(self) -> Float64:
        """e_dS."""
        w, d_weights, row = self.weights, self.d.weights, self.d.row
        error = self.of_weights * np.abs(d_weights - row) + (w + self.of_weights) * (self.of_products + self.of_row)
        growth = gamma((3, self.u_x), (2, self.precision.u_s))
        error = error + growth * w * (np.abs(d_weights) + np.abs(row)) + self.lost
        return np.where(self.usable, np.where(self.variable, error, 0.0), np.inf)

    @cached_property
    def of_sink(self) -> Float64:
        """Of P delta, with the sink's own weight for P."""
        w, row = self.sink_weights, np.abs(self.d.row)
        of_weight = self.of_quotient(w, self.exponent_of_sink)
        error = (
            of_weight * row + (w + of_weight) * self.of_row + gamma((3, self.u_x), (2, self.precision.u_s)) * w * row
        )
        return np.where(self.usable, error + self.lost, np.inf)

    @cached_property
    def of_biased(self) -> Float64:
        """e_dB."""
        c, p = self.config, self.precision
        if not c.softcap:
            return self.of_scores
        exact, nearer = self.stages.exact, before_softcap(self.stages).error
        slope = softcap_slope(c.softcap, exact)
        closest = replace(exact, biased=np.maximum(np.abs(rounded(exact.biased)) - nearer, 0.0))
        steepest = 2 / c.softcap * softcap_slope(c.softcap, closest)
        of_slope = np.minimum(steepest * nearer + (2 * TANH_ULPS + 2) * p.u_a + 4 * p.u_s, 1.0)
        d_scores = np.abs(self.d.scores)
        error = self.of_scores * (rounded(slope) + of_slope) + d_scores * of_slope
        error = error + gamma((3, p.u_a), (3, p.u_s)) * np.abs(self.d.biased) + self.lost
        return np.where(self.usable, np.where(self.variable, error, 0.0), np.inf)

    def of_steps(self) -> Gradients:
        """Of every step."""
        c, p = self.config, self.precision
        scale, d_products = c.score_scale, np.abs(self.d.biased)
        error = self.of_biased + np.where(self.variable, self.lost / max(scale, self.stored), 0.0)
        both = d_products + error
        growth = gamma((3, self.stored), (2, p.u_m), (1, p.u_p))
        by_keys, by_queries = (growth + gamma((n, p.u_a)) for n in (c.kv_len, c.q_len))
        keys, query = self.keys + self.of_keys, self.query + self.of_query
        d_heads = np.abs(self.d.heads) + self.of_heads
        weights = np.where(self.usable, self.weights, np.inf)
        ndim, values_ndim = self.keys.ndim, self.values.ndim
        of_query = weighted(error, keys) + weighted(d_products, self.of_keys) + by_keys * weighted(both, keys)
        of_keys = over_queries(error, query, ndim) + over_queries(d_products, self.of_query, ndim)
        of_keys = of_keys + by_queries * over_queries(both, query, ndim)
        of_values = over_queries(np.where(self.usable, self.of_weights, np.inf), d_heads, values_ndim)
        of_values = of_values + over_queries(self.weights, self.of_heads, values_ndim)
        of_values = of_values + by_queries * over_queries(weights + self.of_weights, d_heads, values_ndim)
        return Gradients(
            output=np.zeros_like(self.d.output),
            heads=self.of_heads,
            weights=self.of_products,
            row=self.of_row,
            scores=self.of_scores,
            sink=self.of_sink,
            biased=self.of_biased,
            query=scale * of_query + c.kv_len * self.lost_term,
            keys=scale * of_keys + c.q_len * self.lost_term,
            values=of_values + c.q_len * self.lost_term,
        )

    # To the operands ------------------------------------------------------------------------------------------------

    @cached_property
    def of_outputs(self) -> Float64:
        """e_O, of the heads that are merged and projected."""
        c, p, w = self.config, self.precision, self.weights
        growth = np.expm1(self.seen * np.log1p(p.u_a)) + 2 * p.u_m + p.u_p + 2 * self.stored
        error = weighted(self.of_weights, self.values + self.of_values) + weighted(w, self.of_values)
        error = error + growth * weighted(w + self.of_weights, self.values + self.of_values)
        return np.where(self.usable, error * (c.scale or 0.0 if c.scale_at == "weights" else 1.0), np.inf)

    def of_operands(self) -> dict[str, Float64]:
        """Of every operand that has a gradient."""
        c, p, steps = self.config, self.precision, self.of_steps()
        heads = np.abs(finite(self.stages.exact.heads))
        both = Gradients(**{n: np.abs(x) + vars(steps)[n] for n, x in vars(self.d).items()})
        carried = of_operands(c, self.sizes, heads, steps, minus=1.0)
        if "output_weight" in carried:
            of_outputs = to_layout(c, self.of_outputs)
            carried |= linear_parameters(c, "output", np.abs(self.d.output), of_outputs, bias=False)
        sizes = of_operands(c, self.sizes, heads + self.of_outputs, both, minus=1.0)
        # The reference takes the same steps with its own unit roundoff
        own = 1 + self.u_reference / p.u_a
        found = {}
        for name, error in carried.items():
            terms, stores = self.sums(name)
            growth = gamma((terms, p.u_a), (2 if c.projections else 0, p.u_m), (stores, self.stored))
            found[name] = own * (error + growth * sizes[name])
        return {name: np.where(np.isnan(error), np.inf, error) for name, error in found.items()}

    def sums(self, name: str) -> tuple[int, int]:
        """Between the steps and an operand: how many terms are summed, and how often what lies between is stored."""
        c = self.config
        terms, stores = 0, 0
        of = name.removesuffix("_weight").removesuffix("_bias")
        if of in ("key", "value", "input", "past_key", "past_value") and c.num_heads > c.num_kv_heads:
            terms, stores = terms + c.num_heads // c.num_kv_heads, stores + 1
        if of in ("key", "value", "input", "past_key", "past_value") and c.relative:
            terms, stores = terms + c.q_len, stores + 2
        if name.startswith("relative_") or name == "bias":
            terms, stores = c.batch, 2 * (c.batch > 1) + (c.bias_at == "products")
        if name == "sink":
            terms, stores = c.batch * c.q_len, 2
        if c.rotary and of in ("query", "key", "input"):
            terms, stores = terms + 2, stores + 3
        if name == "mask":
            terms = self.d.scores.size // max(1, self.sizes["mask"].size)
            stores = 2 * (terms > 1)
        if c.projections and not name.startswith(("relative_", "past_")) and name not in ("bias", "mask", "sink"):
            length = c.q_len if of in ("query", "output") else c.kv_len
            tokens = c.batch * length * (c.num_heads if c.projections.shared else 1)
            features = max(c.head_dim, c.value_dim) * (c.num_heads if c.projections.kind == "linear" else 1)
            own = name != of  # a weight or a bias
            terms, stores = terms + (tokens if own else features), stores + 2 + 3 * c.self_attention
        return terms, stores
