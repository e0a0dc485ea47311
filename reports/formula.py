"""The formula that a case's reference evaluates, as trees that a page turns into MathML.

A tree is a string or `[tag, child, …]`: `["msub", ["mi", "A"], ["mi", "i"]]`.  An einsum is written as a sum in index
notation; attention has only the terms that its configuration enables (`specs.reference.attention` has all of them).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from specs.case.attention import AttentionConfig
from specs.case.equation import ELLIPSIS, Contraction, bind
from specs.case.error import CaseError
from specs.case.features import NEUTRAL_FIELDS

Tree = str | list[Any]

# The fields of attention that are written as mathematics; any other is a note with its own description
WRITTEN_FIELDS = frozenset(
    {
        *("num_kv_heads", "value_dim", "layout", "scale", "scale_at", "causal", "window", "mask", "kv_lengths", "bias"),
        *("bias_at", "softcap", "sink", "past", "rotary", "relative", "projections", "self_attention"),
    }
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
        indices = [
            _number(0) if size < sizes[label] else _label(label) for label, size in zip(term, shape, strict=True)
        ]
        factors.append(_indexed(name, indices))
    summed = contraction.summed_labels
    sum_sign = [_sum([_label(label) for label in summed])] if summed else []
    left = _indexed("Y", [_label(label) for label in contraction.output])
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
    return Formula([_row(left, _operator("="), *sum_sign, *factors)], notes, names)


def _operand(number: int) -> str:
    return ascii_uppercase[number]  # of at most a dozen; Y is the output


def _label(label: str) -> Tree:
    if label.startswith(ELLIPSIS):
        return ["msub", _operator("…"), _number(int(label.removeprefix(ELLIPSIS)))]
    return _name(label)


def _label_text(label: str) -> str:
    return label.replace(ELLIPSIS, "…")


# Attention ------------------------------------------------------------------------------------------------------------


def _attention(config: Mapping[str, Any]) -> Formula:
    c = config
    heads, dim = c.get("num_heads", 1), c["head_dim"]
    group = heads // c.get("num_kv_heads", heads)
    h = [_name("h")] if heads > 1 else []
    kv = [_row(_operator("⌊"), _name("h"), _operator("/"), _number(group), _operator("⌋"))] if group > 1 else h
    i, j, d = _name("i"), _name("j"), _name("d")
    scale = c.get("scale")
    factor = ["mfrac", _number(1), ["msqrt", _number(dim)]] if scale is None else _number(scale)
    at_weights = c.get("scale_at") == "weights"
    relative = c.get("relative")  # {} means both keys and values
    scores, mask, softcap = _indexed("S", [*h, i, j]), c.get("mask"), c.get("softcap")

    def shifted(tensor: str, axis: str) -> Tree:
        """Keys or values, plus relative position embeddings if there are any."""
        plain = _indexed(tensor, [*kv, j, d])
        if relative is None or not relative.get(axis, True):
            return plain
        return _row(_operator("("), plain, _operator("+"), _indexed("R", [i, j, *h, d], above=tensor), _operator(")"))

    lines = [*_projections(c), *_positions(c)]
    products = [_sum([d]), _indexed("Q", [*h, i, d]), shifted("K", "keys")]
    bias = [_operator("+"), _indexed("B", [*h, i, j])] if c.get("bias") else []
    if bias and c.get("bias_at") == "products":
        products, bias = [_operator("("), *products, *bias, _operator(")")], []
    lines.append(_row(scores, _operator("="), *([] if at_weights else [factor]), *products, *bias))
    if softcap:
        inside = ["mfrac", scores, _number(softcap)]
        capped = _row(_number(softcap), _name("tanh"), _operator("("), inside, _operator(")"))
        lines.append(_row(scores, _operator("←"), capped))
    if mask and mask["type"] == "additive":
        lines.append(_row(scores, _operator("←"), scores, _operator("+"), _mask(mask)))
    if conditions := list(_visibility_conditions(c)):
        parts = [part for condition in conditions for part in (_text(" and "), condition)][1:]
        lines.append(_row(scores, _operator("←"), _operator("−"), _number("∞"), _text(" unless "), *parts))
    exponential: Tree = ["msup", _name("e"), scores]
    weights = _indexed("W", [*h, i, j])
    sink = [_operator("+"), ["msup", _name("e"), _indexed("s", h)]] if c.get("sink") else []
    lines.append(_row(weights, _operator("="), ["mfrac", exponential, _row(_sum([j]), exponential, *sink)]))
    product = [_sum([j]), weights, shifted("V", "values")]
    lines.append(_row(_indexed("O", [*h, i, d]), _operator("="), *([factor] if at_weights else []), *product))
    if (c.get("projections") or {}).get("output"):
        merged = _row(_name("concat"), _operator("("), _name("O"), _operator(")"))
        lines.append(_row(_name("Y"), _operator("="), *_linear(c, merged, "O", bias=True)))
    return Formula(lines, list(_attention_notes(c, heads)))


def _projections(c: Mapping[str, Any]) -> Iterable[Tree]:
    """The projections of the inputs to query, key and value, if there are any."""
    p = c.get("projections") or {}
    for name in "QKV" if p else "":
        source = _name("X") if c.get("self_attention") else ["msub", _name("X"), _name(name)]
        bias = bool(p.get("bias"))
        if p["kind"] == "linear":
            yield _row(_name(name), _operator("="), *_linear(c, source, name, bias=bias))
            continue
        of = name if p.get("shared") else f"{name},h"
        right: list[Tree] = [["msub", source, _name("h")], ["msub", _name("W"), _name(of)]]
        right += [_operator("+"), ["msub", _name("b"), _name(of)]] if bias else []
        yield _row(["msub", _name(name), _name("h")], _operator("="), *right)


def _positions(c: Mapping[str, Any]) -> Iterable[Tree]:
    """Rotary embedding of queries and keys, and concatenation of keys and values with those of a cache."""
    offset, past = _offset(c), c.get("past")
    if c.get("rotary") is not None:
        for name, index, first in (("Q", "i", offset), ("K", "j", past or 0)):
            at = [_name(index), *([_operator("+"), _number(first)] if first else [])]
            tensor = ["msub", _name(name), _name(index)]
            yield _row(tensor, _operator("←"), ["msub", _name("R"), _row(*at)], tensor)
    if past is not None:
        for name in "KV":
            both = [["msub", _name(name), _text("past")], _operator(","), _name(name)]
            yield _row(_name(name), _operator("←"), _name("concat"), _operator("("), *both, _operator(")"))


def _offset(c: Mapping[str, Any]) -> int:
    """The key position of query 0."""
    return c.get("kv_len", c["q_len"]) - c["q_len"] if c.get("causal") == "bottom_right" else 0


def _linear(c: Mapping[str, Any], source: Tree, name: str, *, bias: bool) -> list[Tree]:
    weight = ["msub", _name("W"), _name(name)]
    transposed = ["msubsup", _name("W"), _name(name), _name("T")]
    product = [weight, source] if c.get("layout") == "ds" else [source, transposed]
    return [*product, *([_operator("+"), ["msub", _name("b"), _name(name)]] if bias else [])]


def _visibility_conditions(c: Mapping[str, Any]) -> Iterable[Tree]:
    """The conditions under which query i sees key j."""
    offset = _offset(c)
    i, j, window = _name("i"), _name("j"), c.get("window") or {}

    def compared(sign: str, shift: int) -> Tree:
        moved = [_operator("+" if shift > 0 else "−"), _number(abs(shift))] if shift else []
        return _row(j, _operator(sign), i, *moved)

    if c.get("causal", "none") != "none":
        yield compared("≤", offset)
    if window.get("left") is not None:
        yield compared("≥", offset - window["left"])
    if window.get("right") is not None:
        yield compared("≤", offset + window["right"])
    if c.get("kv_lengths") is not None:
        yield _row(j, _operator("<"), _indexed("n", [_name("b")]))
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
    if c.get("sink"):
        yield "s is the sink logit; its weight is applied to no value."
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


def _mask(mask: Mapping[str, Any]) -> Tree:
    axes = {"b": "b", "h": "h", "q": "i", "k": "j"}
    return _indexed("M", [_name(axes[axis]) for axis in mask.get("shape", "qk") if axis in axes])


# Trees ----------------------------------------------------------------------------------------------------------------


def _name(text: str) -> Tree:
    return ["mi", text]


def _number(value: float | str) -> Tree:
    text = f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return ["mn", text]


def _operator(text: str) -> Tree:
    return ["mo", text]


def _text(text: str) -> Tree:
    return ["mtext", text.replace(" ", "\N{NO-BREAK SPACE}")]


def _row(*children: Tree) -> Tree:
    return ["mrow", *children]


def _sum(over: Sequence[Tree]) -> Tree:
    return ["munder", _operator("∑"), _join_indices(over)]


def _join_indices(indices: Sequence[Tree]) -> Tree:
    """Single letters side by side; longer indices separated by commas."""
    if all(index[0] == "mi" for index in indices):
        return _row(*indices)
    return _row(*[part for index in indices for part in (_operator(","), index)][1:])


def _indexed(tensor: str, indices: Sequence[Tree], above: str | None = None) -> Tree:
    if not indices:
        return _name(tensor)
    if above:
        return ["msubsup", _name(tensor), _join_indices(indices), _name(above)]
    return ["msub", _name(tensor), _join_indices(indices)]
