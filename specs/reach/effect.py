"""What can be said of the effect of an attention's fields without computing it.

Masks are random where their pattern says so: which keys they hide is not looked at, only where they can hide some.
`tests/specs/reach/test_effect.py` computes each case with and without each feature, and compares.
"""

from __future__ import annotations

import numpy as np
from cachetools import LRUCache, cached

from specs.arithmetic.formats import Bools
from specs.case.attention import AttentionConfig
from specs.case.attention_fields import Mask
from specs.case.memory import effective_layouts
from specs.case.operands import logits_of, operands_of
from specs.case.visibility import RULES, AllPairs

NEGLIGIBLE = -100.0  # exp of it is negligible beside 1


def has_effects(c: AttentionConfig) -> bool:
    """Whether there is a result that features change: it is not empty, and items differ."""
    everything = c.memory == "broadcast" or (c.unseen is not None and c.masked_values == "spread")
    return bool(c.batch and c.q_len and c.kv_len) and not everything


def weighs_keys(c: AttentionConfig) -> bool:
    """Whether the result depends on scores: a query sees two keys, or one beside a logit, and their values differ.

    Data whose scores are so far apart that one key has all weight hide small changes of them.
    """
    counts = _visible(c).sum(axis=-1)
    several = (counts >= (1 if logits_of(c) else 2)).any()
    differ = c.past or logits_of(c) or (c.relative is not None and c.relative.values)
    same = is_one_item(c, "value", "s") and not differ
    return bool(has_effects(c) and several and not same and c.data not in ("ramp", "large"))


def hides(c: AttentionConfig, field: str) -> bool:
    """Whether a field hides keys that no other field hides; positions drawn at random do not count."""
    return bool(has_effects(c) and (_visible(c) != _visible(c, field)).any())


def hides_at_random(c: AttentionConfig) -> bool:
    """Whether a mask's random positions hide keys; the first key is never hidden, nor the only one of a mask."""
    m = c.mask
    if m is None or not masks(m) or not has_effects(c):
        return False
    return m.pattern != "padding" and m.shape.endswith("k") and c.kv_len > 1


def masks(mask: Mask) -> bool:
    """Whether a mask hides keys, instead of adding numbers to their scores."""
    return mask.type == "bool" or mask.fill == "lowest" or (mask.fill is not None and mask.fill <= NEGLIGIBLE)


def has_query_without_keys(c: AttentionConfig) -> bool:
    """Whether a query sees no key, and another sees some.  What an additive mask adds short of -inf leaves a key."""
    leaves_keys = c.mask is not None and c.mask.type == "additive" and c.mask.fill != -np.inf
    seen = _visible(c, "mask" if leaves_keys else "").any(axis=-1)
    return bool(has_effects(c) and not seen.all() and seen.any())


def varies_in_mask(c: AttentionConfig, axis: str, size: int) -> bool:
    """Whether the mask of one batch item, or head, is not that of the next."""
    m = c.mask
    if m is None or size < 2 or axis not in m.shape or m.pattern == "padding" or is_one_item(c, "mask", axis):
        return False
    return weighs_keys(c) and m.shape.endswith("k")


def moves(c: AttentionConfig) -> bool:
    """Whether rotary positions change a score that counts: some query or key that is rotated is not the first."""
    if c.rotary is None or not weighs_keys(c):
        return False
    rotated_key = _visible(c)[..., max(c.past or 0, 1) :].any()
    return bool(c.q_len + c.query_offset > 1 or rotated_key)


def is_one_item(c: AttentionConfig, name: str, axis: str) -> bool:
    """Whether an operand, broadcast in memory, has the same items along an axis of `bhsdqk`."""
    if effective_layouts(c).get(name) != "broadcast":
        return False
    axes = c.mask.shape if name == "mask" and c.mask else c.layout
    shape = next(shape for operand, shape in operands_of(c).items() if operand.name == name)
    return next(letter for letter, size in zip(axes, shape, strict=True) if size > 1) == axis


@cached(LRUCache(256), key=lambda config, without="": (id(config), without))
def _seen(config: AttentionConfig, without: str = "") -> tuple[AttentionConfig, Bools]:
    """The config, which must live as long as the entry, and what `_visible` returns."""
    stated = (rule.operand for rule in RULES.values() if rule.operand is not None)
    operands = {x.name: np.array(x.content(config)) for x in stated if callable(x.content) and x.shape(config)}
    pairs = AllPairs(config, operands, np.arange)
    seen = np.ones((config.batch, 1, config.q_len, config.kv_len), bool)
    for field, rule in RULES.items():
        if field not in ("mask", without) and (visible := rule.visible(config, pairs)) is not None:
            seen = seen & visible
    mask = config.mask
    if mask is not None and without != "mask" and masks(mask):
        if mask.pattern == "padding":
            length = config.kv_len if mask.shape.endswith("k") else 1
            seen = seen & (np.arange(config.kv_len) < length - max(1, length // 5))
        elif mask.pattern == "masked_row":
            seen[:, :, :1] = False
    return config, seen


def _visible(config: AttentionConfig, without: str = "") -> Bools:
    """Whether a query sees a key by what the case states, at best, but for one field: (batch, 1, queries, keys)."""
    return _seen(config, without)[1]
