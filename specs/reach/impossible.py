"""Pairs of features that cannot meet, and views of a pair that no case needs, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from specs.reach.attention import LONG

ANY = frozenset({"*"})


@dataclass(frozen=True)
class Impossible:
    """Features of `some` never meet those of `others`; in `views` alone, if any are named (`float32 grad`)."""

    kind: str
    some: frozenset[str]
    others: frozenset[str]
    reason: str
    views: frozenset[str] = frozenset()

    def covers(self, kind: str, pair: frozenset[str], view: str) -> bool:
        """Whether this is why a pair of features of a kind of case does not meet in a view."""
        if kind != self.kind or (self.views and view not in self.views):
            return False
        one, other = min(pair), max(pair)  # equal for a feature by itself
        return any(a in self.some and (self.others == ANY or b in self.others) for a, b in ((one, other), (other, one)))


def _attention(some: set[str], others: set[str], reason: str, *views: str) -> Impossible:
    return Impossible("attention", frozenset(some), frozenset(others), reason, frozenset(views))


def _einsum(some: set[str], others: set[str], reason: str, *views: str) -> Impossible:
    return Impossible("einsum", frozenset(some), frozenset(others), reason, frozenset(views))


GRADIENTS = ("float32 grad", "16 bits grad")
HEADS = {
    "batch", "heads", "grouped heads", "one key/value head", "mask by batch item", "mask by head",
    "one projection for all heads",
}  # fmt: skip

IMPOSSIBLE = (
    _attention({"layout ds"}, HEADS, "tokens as columns have neither batch nor heads"),
    _attention(
        {"layout bhsd", "layout sbhd"},
        {"linear projections", "output projection"},
        "linear projections act on packed features",
    ),
    _attention(
        {"self_attention"}, {"more queries than keys"}, "every query of a self-attention is the position of a key"
    ),
    _attention({"self_attention"}, {"unseen keys"}, "a key that no query sees is a query too"),
    _attention(
        {"bias at products"}, {"scale at weights"}, "the products are not scaled, so that it is added to scores"
    ),
    _attention({"linear projections"}, {"one projection for all heads"}, "a linear projection has one matrix anyway"),
    _attention({"one query"}, {"causal bottom_right"}, "the only query is the last one, and sees every key"),
    _attention({"memory shared"}, {"*"}, "one tensor has one gradient", *GRADIENTS),
    _attention(
        {LONG},
        {"*"},
        "two blocks show what more would; gradients and 16 bits of hundreds of keys take seconds",
        "16 bits forward",
        *GRADIENTS,
    ),
    _einsum(
        {"one operand"},
        {
            "sum over a shared axis",
            "batch axis",
            "axis of three operands",
            "broadcast axis",
            "mixed dtypes",
            "memory shared",
        },
        "it takes two operands",
    ),
    _einsum({"two operands"}, {"axis of three operands"}, "it takes three operands"),
    _einsum(
        {"nothing summed"},
        {"sum over an axis of one operand", "sum over a shared axis", "ellipsis summed"},
        "something is summed",
    ),
    _einsum({"scalar result"}, {"batch axis", "permuted result", "memory of the cotangent"}, "the result has no axes"),
    _einsum({"implicit result"}, {"ellipsis summed"}, "an implicit result has the axes of the ellipsis"),
    _einsum({"memory shared"}, {"*"}, "one tensor has one gradient", "float32 grad", "16 bits grad"),
)
