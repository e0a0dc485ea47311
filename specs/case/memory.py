"""Which memory layouts of a case change anything: strides, an address, or which operands are one tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from specs.arithmetic.formats import DTYPES
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.common import COTANGENT, Memory
from specs.case.einsum import EinsumConfig
from specs.case.equation import Shape, bind
from specs.case.operands import FIXED, dtype_of, operands_of
from specs.case.shapes import attention_output_shape, einsum_shapes

REPLACING: frozenset[Memory] = frozenset({"broadcast", "shared"})  # layouts that replace values


def effective_layouts(config: Config) -> dict[str, Memory]:
    """The layouts that change something of a valid case, by the name of the operand, or of the cotangent."""
    if config.memory == "contiguous":
        return {}
    layouts = {name: config.memory_of(name) for name in (*_operands(config), COTANGENT)}
    return {
        name: memory
        for name, memory in layouts.items()
        if memory != "contiguous" and _why_idle(config, name, memory) is None
    }


def idle_layouts(config: Config) -> Iterator[tuple[str | None, str]]:
    """The layouts of a valid case that change nothing: for which name they are stated, None for all, and the reason.

    One that is stated for all operands changes something if it does so for one of them.
    """
    if isinstance(config.memory, dict):
        stated: dict[str | None, tuple[str, Memory]] = {name: (name, memory) for name, memory in config.memory.items()}
    elif config.memory == "contiguous" or effective_layouts(config):
        return
    else:
        stated = {None: (list(_operands(config))[-1], config.memory)}
    for key, (name, memory) in stated.items():
        if memory != "contiguous" and (reason := _why_idle(config, name, memory)):
            yield key, f"memory {memory} changes nothing: {name} {reason}"


def _why_idle(config: Config, name: str, memory: Memory) -> str | None:
    """What an operand, or the cotangent, is or lacks so that a layout changes nothing of it; None if it does."""
    if name == COTANGENT:
        if not _has_gradient(config):
            return "is not there without a gradient"
        shape, before = _output_shape(config), []
    else:
        operands = list(_operands(config).items())
        index = next(i for i, (other, _) in enumerate(operands) if other == name)
        shape, before = operands[index][1][0], [own for _, own in operands[:index] if own == operands[index][1]]
    long_axes = sum(size > 1 for size in shape)
    if not math.prod(shape):
        return "has no elements"
    if name in FIXED and memory in REPLACING:
        return "has values that follow from the case"
    if memory == "shared":
        return None if before else "has the shape and dtype of no operand before it"
    if memory == "unaligned":
        return None if shape else "is a scalar"
    if memory == "transposed":
        return None if long_axes > 1 else "has fewer than two axes longer than one"
    return None if long_axes else "has no axis longer than one"


def _operands(config: Config) -> Mapping[str, tuple[Shape, str | None]]:
    """Shape and dtype of each operand; None is the dtype of the case."""
    if isinstance(config, AttentionConfig):
        return {operand.name: (shape, dtype_of(operand, config)) for operand, shape in operands_of(config).items()}
    shapes = einsum_shapes(config)
    dtypes: Sequence[str | None] = config.operand_dtypes or [None] * len(shapes)
    return {name: (shape, dtype) for (name, shape), dtype in zip(shapes.items(), dtypes, strict=True)}


def _output_shape(config: Config) -> Shape:
    if isinstance(config, EinsumConfig):
        return bind(config.equation, list(einsum_shapes(config).values())).output_shape
    return attention_output_shape(config)


def _has_gradient(config: Config) -> bool:
    chosen = config.gradient if isinstance(config.gradient, list) else config.dtypes if config.gradient else []
    return any(DTYPES[name].inexact for name in chosen)
