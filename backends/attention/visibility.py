"""Which keys a query sees, and what is added to its scores: written once, for every formulation.

Masks are made by comparisons in the framework itself, as a user of that framework would make them, from the rules in
`specs.case.visibility`.  Fields for which a framework has its own argument are left out by naming them in `native`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import add

from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.case.operands import TERMS, terms_of
from specs.case.visibility import RULES, AllPairs, Pairs, intersect

# The features that `visible` and `additive_bias` handle, as `specs.case.features` names them
VISIBILITY = TERMS.union(
    {"mask.type=additive", "mask.fill", "bias_at=products"}, *(rule.features for rule in RULES.values())
)


class Visibility:
    """The masks of a config, made on the device of the tensor `like`.

    ops      instance attribute: the framework's primitives
    config   instance attribute: the config
    """

    ops: Primitives
    config: AttentionConfig

    def visible(self, operands: Operands, like: Tensor, native: Collection[str] = ()) -> Tensor | None:
        """True where a query sees a key, broadcastable to (b, h, q, k); None where nothing is masked.

        `native` are the fields that the framework's own arguments express.
        """
        pairs = AllPairs(self.config, operands, lambda length: self.ops.arange(length, like))
        return self.is_visible(pairs, native)

    def is_visible(self, pairs: Pairs, native: Collection[str] = ()) -> Tensor | None:
        """Whether queries see keys, by every field except those in `native`; None where every query sees every key."""
        visible = None
        for field in RULES:
            if field not in native:
                visible = intersect(visible, self.mask_by(field, pairs))
        return visible

    def mask_by(self, field: str, pairs: Pairs) -> Tensor | None:
        """Whether queries see keys by the rule of one field; None where the config does not have the field."""
        return RULES[field].visible(self.config, pairs)

    def additive_bias(self, operands: Operands) -> Tensor | None:
        """All terms plus an additive mask, for operations that add one tensor to the scaled scores; None without."""
        c = self.config
        terms = [operands[name] * c.score_scale if name in c.scaled_terms else operands[name] for name in terms_of(c)]
        mask = self.additive_mask(operands)
        added = terms if mask is None else [*terms, mask]
        return reduce(add, added) if added else None

    def additive_mask(self, operands: Operands) -> Tensor | None:
        return operands["mask"] if self.config.mask and self.config.mask.type == "additive" else None
