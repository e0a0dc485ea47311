"""Layouts of attention tensors: conversion between a case's layout and (batch, heads, sequence, features).

Works for anything with `transpose` and `reshape`: float64 and boolean arrays, and `DoubleDouble`.
"""

from __future__ import annotations

from typing import Any

from specs.case.attention import AttentionConfig


def to_heads(config: AttentionConfig, tensor: Any, heads: int) -> Any:
    """From the case's layout to bhsd."""
    if config.layout == "ds":
        return tensor.transpose((1, 0)).reshape((1, 1, tensor.shape[1], tensor.shape[0]))
    axes = config.layout
    if axes == "bsd":
        batch, length, packed = tensor.shape
        tensor, axes = tensor.reshape((batch, length, heads, packed // heads)), "bshd"
    return tensor.transpose(tuple(map(axes.index, "bhsd")))


def to_layout(config: AttentionConfig, tensor: Any) -> Any:
    """From bhsd to the case's layout."""
    if config.layout == "ds":
        return tensor[0, 0].transpose((1, 0))
    batch, heads, length, features = tensor.shape
    tensor = tensor.transpose(tuple(map("bhsd".index, "bshd" if config.layout == "bsd" else config.layout)))
    return tensor.reshape((batch, length, heads * features)) if config.layout == "bsd" else tensor
