"""Properties of a case's config, by which a known difference is recognised in cases that no entry names."""

from __future__ import annotations

import cmath
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.common import Numbers
from specs.case.einsum import EinsumConfig
from specs.case.equation import ELLIPSIS, Contraction, Shape, Term, bind, parse
from specs.case.error import CaseError
from specs.case.shapes import einsum_shapes

Property = Literal[
    "summed_alone",
    "nothing_summed",
    "nothing_summed_in_pairs",
    "mixed_dtypes",
    "asks_for_dtype",
    "label_of_size_one",
    "empty_axis",
    "ellipsis_left_out",
    "ellipsis_shared_and_no_arrow",
    "ellipsis_of_output_alone",
    "diagonal_of_size_one",
    "no_arrow",
    "not_letters",
    "split_by_spaces",
    "two_ellipses_in_output",
    "two_ellipses_in_a_row",
    "one_key_value_head",
    "one_head_and_item",
    "causal_and_scale_not_positive",
    "adds_minus_infinity",
    "bias_of_products",
    "empty",
    "not_finite",
]


def _einsum(predicate: Callable[[EinsumConfig], bool]) -> Callable[[Config], bool]:
    return lambda config: isinstance(config, EinsumConfig) and predicate(config)


def _text(predicate: Callable[[str], bool]) -> Callable[[Config], bool]:
    """A property of an equation as it is written, valid or not."""
    return lambda config: isinstance(config, EinsumConfig) and predicate(config.equation)


def _parsed(predicate: Callable[[tuple[Term, ...], Term | None, list[Shape]], bool]) -> Callable[[Config], bool]:
    """A property of an equation that follows the grammar, whether or not the shapes fit."""

    def has_property(config: Config) -> bool:
        if not isinstance(config, EinsumConfig):
            return False
        try:
            return predicate(*parse(config.equation), list(einsum_shapes(config).values()))
        except CaseError:
            return False

    return has_property


def _bound(predicate: Callable[[Contraction, list[Shape]], bool]) -> Callable[[Config], bool]:
    """A property of an equation that is valid for its shapes."""

    def has_property(config: Config) -> bool:
        if not isinstance(config, EinsumConfig):
            return False
        try:
            shapes = list(einsum_shapes(config).values())
            return predicate(bind(config.equation, shapes), shapes)
        except CaseError:
            return False

    return has_property


def _attention(predicate: Callable[[AttentionConfig], bool]) -> Callable[[Config], bool]:
    return lambda config: isinstance(config, AttentionConfig) and predicate(config)


def _summed_alone(contraction: Contraction, shapes: list[Shape]) -> bool:
    """A summed label has its full size in only one operand, so that its sum can be a plain reduction."""
    operand_counts = Counter(
        label
        for term, shape in zip(contraction.operands, shapes, strict=True)
        for label, size in set(zip(term, shape, strict=True))
        if size == contraction.sizes[label]
    )
    return any(operand_counts[label] == 1 for label in contraction.summed_labels)


def _nothing_summed_in_pairs(contraction: Contraction, shapes: list[Shape]) -> bool:
    """No summed label has its full size in two operands, so that nothing of it is a matrix product."""
    operands = [set(zip(term, shape, strict=True)) for term, shape in zip(contraction.operands, shapes, strict=True)]
    return all(
        sum((label, contraction.sizes[label]) in operand for operand in operands) < 2
        for label in contraction.summed_labels
    )


def _label_of_size_one(contraction: Contraction, shapes: list[Shape]) -> bool:
    """A named label has size 1 in one operand and another size in another, against which it broadcasts."""
    return any(
        size == 1 and contraction.sizes[label] != 1 and not label.startswith(ELLIPSIS)
        for term, shape in zip(contraction.operands, shapes, strict=True)
        for label, size in zip(term, shape, strict=True)
    )


def _ellipsis_left_out(contraction: Contraction, shapes: list[Shape]) -> bool:
    """There are unnamed axes, and they are summed."""
    return any(label.startswith(ELLIPSIS) for label in contraction.summed_labels)


def _diagonal_of_size_one(terms: tuple[Term, ...], output: Term | None, shapes: list[Shape]) -> bool:
    """Within one operand a label has size 1 and another size."""
    for term, shape in zip(terms, shapes, strict=False):
        if ELLIPSIS not in term and len(term) == len(shape):
            sizes: dict[str, set[int]] = {label: set() for label in term}
            for label, size in zip(term, shape, strict=True):
                sizes[label].add(size)
            if any(len(label_sizes) == 2 and 1 in label_sizes for label_sizes in sizes.values()):
                return True
    return False


def _is_finite(literal: Numbers | None) -> bool:
    return all(map(_is_finite, literal)) if isinstance(literal, list) else literal is None or cmath.isfinite(literal)


PROPERTIES: Mapping[Property, Callable[[Config], bool]] = {
    "summed_alone": _bound(_summed_alone),
    "nothing_summed": _bound(lambda contraction, shapes: not contraction.summed_labels),
    "nothing_summed_in_pairs": _bound(_nothing_summed_in_pairs),
    "mixed_dtypes": _einsum(lambda config: len(set(config.operand_dtypes or ())) > 1),
    "asks_for_dtype": _einsum(lambda config: config.asks_for_dtype),
    "label_of_size_one": _bound(_label_of_size_one),
    "empty_axis": _bound(lambda contraction, shapes: any(0 in shape for shape in shapes)),
    "ellipsis_left_out": _bound(_ellipsis_left_out),
    "ellipsis_shared_and_no_arrow": _parsed(
        lambda terms, output, shapes: output is None and sum(ELLIPSIS in term for term in terms) > 1
    ),
    "ellipsis_of_output_alone": _parsed(
        lambda terms, output, shapes: ELLIPSIS in (output or ()) and not any(ELLIPSIS in term for term in terms)
    ),
    "diagonal_of_size_one": _parsed(_diagonal_of_size_one),
    "no_arrow": _text(lambda equation: "->" not in equation),
    "not_letters": _text(lambda equation: bool(re.search(r"[^a-zA-Z.,>\s-]", equation))),
    "split_by_spaces": _text(lambda equation: bool(re.search(r"- +>|\. +\.", equation))),
    "two_ellipses_in_output": _text(lambda equation: equation.partition("->")[2].count(ELLIPSIS) > 1),
    "two_ellipses_in_a_row": _text(lambda equation: ELLIPSIS * 2 in equation.replace(" ", "")),
    "one_key_value_head": _attention(lambda config: config.num_kv_heads == 1 < config.num_heads),
    "one_head_and_item": _attention(lambda config: config.batch == config.num_heads == 1),
    "causal_and_scale_not_positive": _attention(lambda config: config.causal != "none" and config.score_scale <= 0),
    "adds_minus_infinity": _attention(lambda config: config.mask is not None and config.mask.fill == -math.inf),
    "bias_of_products": _attention(lambda config: config.bias is not None and config.bias_at == "products"),
    "not_finite": _attention(
        lambda config: not (config.has_finite_values and _is_finite(config.query) and _is_finite(config.key))
    ),
    "empty": _attention(lambda config: 0 in (config.batch, config.q_len, config.kv_len)),
}
