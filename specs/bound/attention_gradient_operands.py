"""From the steps of attention's gradients to the operands: the way of the gradients themselves, which is linear.

Symbols, and what each sum on the way adds, as in `specs.bound.attention_gradient_error`.
"""

from __future__ import annotations

import numpy as np

from specs.arithmetic.formats import Float64
from specs.bound.attention import errors_average_out
from specs.bound.attention_gradient_error import Errors
from specs.bound.rounding import gamma, scatter, sum_variance
from specs.bound.stages import Stages, finite
from specs.bound.uncertainty import Uncertainty
from specs.case.layout import to_layout
from specs.reference.attention_gradient import Gradients, linear_parameters, of_operands

LARGEST_VARIANCE = 2.0**-6  # of a score's error: e^x is no longer 1 + x


def uncertainties(errors: Errors, random: bool) -> dict[str, Uncertainty]:
    """Of every operand that has a gradient; of data that are not random the largest errors alone."""
    c, p, steps = errors.config, errors.precision, vars(errors.steps)
    heads = np.abs(finite(errors.stages.exact.heads))

    def carried(of: dict[str, Float64], heads: Float64, squared: bool = False) -> dict[str, Float64]:
        config = c.model_copy(update={"scale": c.score_scale**2}) if squared else c  # a factor of a bias's gradient
        return of_operands(config, errors.sizes, heads, Gradients(**of), minus=1.0)

    largest = carried({name: e.error for name, e in steps.items()}, heads)
    if "output_weight" in largest:
        e_O = to_layout(c, errors.e_O.error)
        largest |= linear_parameters(c, "output", np.abs(errors.d.output), e_O, bias=False)
    both = {name: np.abs(x) + steps[name].error for name, x in vars(errors.d).items()}
    sizes = carried(both, heads + errors.e_O.error)
    own = 1 + errors.u_reference / p.u_a  # the reference takes the same steps with its own unit roundoff
    found = {}
    for name, error in largest.items():
        terms, stores = _sums(errors, name)
        growth = gamma((terms, p.u_a), (2 if c.projections else 0, p.u_m), (stores, errors.stored))
        error = own * (error + growth * sizes[name])
        found[name] = Uncertainty(np.where(np.isnan(error), np.inf, error))
    if not random:
        return found
    variance, squares = (
        carried(of, np.zeros_like(heads), squared=True)
        for of in (
            {name: e.variance for name, e in steps.items()},
            {name: step**2 for name, step in vars(errors.d).items()},
        )
    )
    shared, value = (
        carried(of, np.zeros_like(heads)) for of in ({name: e.shared for name, e in steps.items()}, vars(errors.d))
    )
    for name, e in found.items():
        terms, stores = _sums(errors, name)
        of_sum = sum_variance(p.u_a, terms, value[name] ** 2, squares[name])
        of_sum = of_sum + scatter((stores, errors.stored)) * squares[name]
        found[name] = e.more(0.0, variance[name], shared[name]).more(0.0, of_sum)
    return found


def averages_out(stages: Stages) -> bool:
    """Whether the roundings of these gradients are independent."""
    c = stages.config
    return errors_average_out(stages.precision) and not (c.projections or c.relative or c.rotary)


def coherent(errors: Errors, name: str) -> float | None:
    """Elements of a gradient that one rounding may enter.

    All that a query's row has in common, its delta above all, enters that query's gradient, and a little of those of
    all keys, which sum over as many rows as there are queries for them.  None where operands are rounded beforehand, so
    that one rounding enters all queries, and where errors of scores are too large for variances of first order.
    """
    c, p = errors.config, errors.precision
    if p.u_m or np.max(errors.scores.r.variance, initial=0.0) > LARGEST_VARIANCE:
        return None
    rows = c.q_len * c.num_heads / c.num_kv_heads
    of = {"query": c.head_dim, "mask": c.kv_len, "bias": c.kv_len, "sink": 1}
    width = c.value_dim if name.endswith("value") else c.head_dim
    return float(of[name]) if name in of else width * (1 + 2 * c.kv_len / max(rows, 1))


def _sums(errors: Errors, name: str) -> tuple[int, int]:
    """Between the steps and an operand: how many terms are summed, and how often what lies between is stored."""
    c = errors.config
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
        terms = errors.d.scores.size // max(1, errors.sizes["mask"].size)
        stores = 2 * (terms > 1)
    if c.projections and not name.startswith(("relative_", "past_")) and name not in ("bias", "mask", "sink"):
        length = c.q_len if of in ("query", "output") else c.kv_len
        tokens = c.batch * length * (c.num_heads if c.projections.shared else 1)
        features = max(c.head_dim, c.value_dim) * (c.num_heads if c.projections.kind == "linear" else 1)
        own = name != of  # a weight or a bias
        terms, stores = terms + (tokens if own else features), stores + 2 + 3 * c.self_attention
    return terms, stores
