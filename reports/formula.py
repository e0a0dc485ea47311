"""The formula that a case's reference evaluates, as trees that a page turns into MathML.

An einsum is written as a sum in index notation; attention has only the terms that its configuration enables
(`specs.reference.attention` has all of them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from types import SimpleNamespace
from typing import Any

from reports.trees import Expression, Functions, Tree, identifier, indexed, number, operator, row, summation, words
from specs.case.attention import AttentionConfig
from specs.case.equation import ELLIPSIS, Contraction, bind
from specs.case.error import CaseError
from specs.case.features import NEUTRAL_FIELDS
from specs.case.operands import LOGITS, OPERANDS
from specs.case.score_functions import FUNCTION_FIELDS, functions_of

# The functions of the scores that have an operand: one number for each head
PARAMETERS = FUNCTION_FIELDS.intersection(operand.name for operand in OPERANDS)

# The fields of attention that are written as mathematics; any other is a note with its own description
WRITTEN_FIELDS = frozenset(
    {
        *("num_kv_heads", "value_dim", "layout", "scale", "scale_at", "causal", "window", "mask", "kv_lengths", "bias"),
        *("bias_at", "past", "rotary", "relative", "projections", "self_attention"),
    }
    | FUNCTION_FIELDS
    | LOGITS
)


@dataclass(frozen=True)
class Formula:
    """Lines of mathematics, notes in words on what they leave open, and the letter of each einsum operand (`names`)."""

    lines: Sequence[Tree]
    notes: Sequence[str] = ()
    names: Sequence[str] = ()


def build_formula(statement: Mapping[str, Any]) -> Formula | None:
    """The formula of a case's reference; None for an invalid computation."""
    config, shapes = statement["config"], statement["shapes"]
    if shapes is None or (config.get("expect") or {}).get("error"):
        return None
    if statement["kind"] == "attention":
        return _attention(config)
    try:
        contraction = bind(config["equation"], [tuple(shape) for shape in shapes.values()])
    except CaseError:
        return None
    return _einsum(config, contraction, list(shapes.values()))


# Einsum ---------------------------------------------------------------------------------------------------------------


def _einsum(config: Mapping[str, Any], contraction: Contraction, shapes: Sequence[Sequence[int]]) -> Formula:
    sizes = contraction.sizes
    names = [_operand(number) for number in range(len(shapes))]
    factors = []
    for name, term, shape in zip(names, contraction.operands, shapes, strict=True):
        # A broadcast axis of size 1 is always read at index 0
        indices = [number(0) if size < sizes[label] else _label(label) for label, size in zip(term, shape, strict=True)]
        factors.append(indexed(name, indices))
    summed = contraction.summed_labels
    sum_sign = [summation([_label(label) for label in summed])] if summed else []
    left = indexed("Y", [_label(label) for label in contraction.output])
    notes = []
    if sizes:
        order = [*contraction.output, *summed]
        notes.append("Sizes: " + ", ".join(f"{_label_text(label)} {sizes[label]}" for label in order))
    if config.get("operand_dtypes"):
        notes.append(f"Operands have the dtypes {', '.join(config['operand_dtypes'])}.")
    if config.get("asks_for_dtype"):
        notes.append(
            f"The result is requested in {config['dtypes'][0]}, as if the operands were converted to it first."
        )
    return Formula([row(left, operator("="), *sum_sign, *factors)], notes, names)


def _operand(number: int) -> str:
    return ascii_uppercase[number]  # of at most a dozen; Y is the output


def _label(label: str) -> Tree:
    if label.startswith(ELLIPSIS):
        return ["msub", operator("…"), number(int(label.removeprefix(ELLIPSIS)))]
    return identifier(label)


def _label_text(label: str) -> str:
    return label.replace(ELLIPSIS, "…")


# Attention ------------------------------------------------------------------------------------------------------------


def _attention(config: Mapping[str, Any]) -> Formula:
    c = config
    heads, dim = c.get("num_heads", 1), c["head_dim"]
    group = heads // c.get("num_kv_heads", heads)
    h = [identifier("h")] if heads > 1 else []
    kv = [row(operator("⌊"), identifier("h"), operator("/"), number(group), operator("⌋"))] if group > 1 else h
    i, j, d = identifier("i"), identifier("j"), identifier("d")
    scale = c.get("scale")
    factor = ["mfrac", number(1), ["msqrt", number(dim)]] if scale is None else number(scale)
    at_weights = c.get("scale_at") == "weights"
    relative = c.get("relative")  # {} means both keys and values
    scores, mask = indexed("S", [*h, i, j]), c.get("mask")

    def shifted(tensor: str, axis: str) -> Tree:
        """Keys or values, plus relative position embeddings if there are any."""
        plain = indexed(tensor, [*kv, j, d])
        if relative is None or not relative.get(axis, True):
            return plain
        return row(operator("("), plain, operator("+"), indexed("R", [i, j, *h, d], above=tensor), operator(")"))

    lines = [*_projections(c), *_positions(c)]
    products = [summation([d]), indexed("Q", [*h, i, d]), shifted("K", "keys")]
    bias = [operator("+"), indexed("B", [*h, i, j])] if c.get("bias") else []
    if bias and c.get("bias_at") == "products":
        products, bias = [operator("("), *products, *bias, operator(")")], []
    lines.append(row(scores, operator("="), *([] if at_weights else [factor]), *products, *bias))
    lines.extend(_functions(c, scores, h))
    if mask and mask["type"] == "additive":
        lines.append(row(scores, operator("←"), scores, operator("+"), _mask(mask)))
    if conditions := list(_visibility_conditions(c)):
        parts = [part for condition in conditions for part in (words(" and "), condition)][1:]
        lines.append(row(scores, operator("←"), operator("−"), number("∞"), words(" unless "), *parts))
    exponential: Tree = ["msup", identifier("e"), scores]
    weights = indexed("W", [*h, i, j])
    logits = [indexed(name[0], h) for name in _logits(c)]
    others = [part for logit in logits for part in (operator("+"), ["msup", identifier("e"), logit])]
    lines.append(row(weights, operator("="), ["mfrac", exponential, row(summation([j]), exponential, *others)]))
    product = [summation([j]), weights, shifted("V", "values")]
    lines.append(row(indexed("O", [*h, i, d]), operator("="), *([factor] if at_weights else []), *product))
    if (c.get("projections") or {}).get("output"):
        merged = row(identifier("concat"), operator("("), identifier("O"), operator(")"))
        lines.append(row(identifier("Y"), operator("="), *_linear(c, merged, "O", bias=True)))
    return Formula(lines, list(_attention_notes(c, heads)))


def _functions(c: Mapping[str, Any], scores: Tree, h: list[Tree]) -> Iterable[Tree]:
    """The functions of the scores, each applied to a symbol of them."""
    config: Any = SimpleNamespace(**{**dict.fromkeys(FUNCTION_FIELDS), **c})
    for function in functions_of(config):
        parameter = Expression(indexed(function.field[0], h)) if function.field in PARAMETERS else None
        changed = function.value(config, Expression(scores), parameter, Functions())
        yield row(scores, operator("←"), changed.tree)


def _projections(c: Mapping[str, Any]) -> Iterable[Tree]:
    """The projections of the inputs to query, key and value, if there are any."""
    p = c.get("projections") or {}
    for name in "QKV" if p else "":
        source = identifier("X") if c.get("self_attention") else ["msub", identifier("X"), identifier(name)]
        bias = bool(p.get("bias"))
        if p["kind"] == "linear":
            yield row(identifier(name), operator("="), *_linear(c, source, name, bias=bias))
            continue
        of = name if p.get("shared") else f"{name},h"
        right: list[Tree] = [["msub", source, identifier("h")], ["msub", identifier("W"), identifier(of)]]
        right += [operator("+"), ["msub", identifier("b"), identifier(of)]] if bias else []
        yield row(["msub", identifier(name), identifier("h")], operator("="), *right)


def _positions(c: Mapping[str, Any]) -> Iterable[Tree]:
    """Rotary embedding of queries and keys, and concatenation of keys and values with those of a cache."""
    offset, past = _offset(c), c.get("past")
    if c.get("rotary") is not None:
        for name, index, first in (("Q", "i", offset), ("K", "j", past or 0)):
            at = [identifier(index), *([operator("+"), number(first)] if first else [])]
            tensor = ["msub", identifier(name), identifier(index)]
            yield row(tensor, operator("←"), ["msub", identifier("R"), row(*at)], tensor)
    if past is not None:
        for name in "KV":
            both = [["msub", identifier(name), words("past")], operator(","), identifier(name)]
            yield row(identifier(name), operator("←"), identifier("concat"), operator("("), *both, operator(")"))


def _offset(c: Mapping[str, Any]) -> int:
    """The key position of query 0."""
    return c.get("kv_len", c["q_len"]) - c["q_len"] if c.get("causal") == "bottom_right" else 0


def _linear(c: Mapping[str, Any], source: Tree, name: str, *, bias: bool) -> list[Tree]:
    weight = ["msub", identifier("W"), identifier(name)]
    transposed = ["msubsup", identifier("W"), identifier(name), identifier("T")]
    product = [weight, source] if c.get("layout") == "ds" else [source, transposed]
    return [*product, *([operator("+"), ["msub", identifier("b"), identifier(name)]] if bias else [])]


def _visibility_conditions(c: Mapping[str, Any]) -> Iterable[Tree]:
    """The conditions under which query i sees key j."""
    offset = _offset(c)
    i, j, window = identifier("i"), identifier("j"), c.get("window") or {}

    def compared(sign: str, shift: int) -> Tree:
        moved = [operator("+" if shift > 0 else "−"), number(abs(shift))] if shift else []
        return row(j, operator(sign), i, *moved)

    if c.get("causal", "none") != "none":
        yield compared("≤", offset)
    if window.get("left") is not None:
        yield compared("≥", offset - window["left"])
    if window.get("right") is not None:
        yield compared("≤", offset + window["right"])
    if c.get("kv_lengths") is not None:
        yield row(j, operator("<"), indexed("n", [identifier("b")]))
    if c.get("mask") and c["mask"]["type"] == "bool":
        yield _mask(c["mask"])


def _attention_notes(c: Mapping[str, Any], heads: int) -> Iterable[str]:
    if heads > 1 or c.get("batch", 1) > 1:
        yield "For each batch item b." if heads == 1 else "For each batch item b and head h."
    if c.get("kv_lengths") is not None:
        yield f"n, the number of keys of each batch item, is {', '.join(map(str, c['kv_lengths']))}."
    if c.get("bias") == "alibi":
        yield "B holds the slopes of ALiBi."
    if c.get("past") is not None:
        yield f"The first {c['past']} keys and values come from a cache, already projected and rotated."
    if (rotary := c.get("rotary")) is not None:
        dims = rotary.get("dims") or c["head_dim"]
        pair = "2d and 2d + 1" if rotary.get("pairing") == "interleaved" else f"d and d + {dims // 2}"
        base = f"{rotary.get('base', 10000.0):g}"
        yield f"R at position p rotates features {pair}, of the first {dims}, by the angle p · {base}^(−2d/{dims})."
    yield from (f"{name[0]} is the {name} logit; its weight is applied to no value." for name in _logits(c))
    yield from (f"{name[0]} is the operand {name}." for name in sorted(PARAMETERS) if c.get(name))
    if c.get("unseen"):
        yield f"Keys and values that no query can see contain {c['unseen']}."
    if c.get("masked_values") == "spread":
        yield "A masked value is multiplied by 0, which gives NaN if the value is not finite."
    if "fully_masked" in c:
        content = {"zeros": "zeros", "mean": "the mean of all values", "nan": "NaN"}[c["fully_masked"]]
        yield f"A query without any key yields {content}."
    for name, field in AttentionConfig.model_fields.items():
        if name in c and name not in WRITTEN_FIELDS | NEUTRAL_FIELDS:
            yield f"{name} {c[name]}: {field.description}"


def _logits(c: Mapping[str, Any]) -> list[str]:
    """The operands that are logits of no key."""
    return [name for name in sorted(LOGITS) if c.get(name)]


def _mask(mask: Mapping[str, Any]) -> Tree:
    axes = {"b": "b", "h": "h", "q": "i", "k": "j"}
    return indexed("M", [identifier(axes[axis]) for axis in mask.get("shape", "qk") if axis in axes])
