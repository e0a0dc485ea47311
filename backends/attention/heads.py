"""From operands to the query, key and value of attention: projections, rotary positions, key-value cache.

A config has each of these steps or not.  Where a framework has its own function for a step, its method is overridden.
"""

from __future__ import annotations

from backends.attention.layout import EQUATIONS, Layouts
from backends.parts.primitives import Operands, Tensor

# The features handled here, as `specs.case.features` names them
HEADS = frozenset(
    {
        *("layout=bhsd", "layout=sbhd", "layout=bsd", "layout=ds", "self_attention", "past"),
        *("projections", "projections.kind=linear", "projections.kind=per_head", "projections.shared"),
        *("projections.bias", "projections.output", "projections.input_dim"),
        *("rotary", "rotary.pairing=interleaved", "rotary.dims", "rotary.base"),
    }
)


class Heads(Layouts):
    """The heads of a config, made from its operands; in the working axes unless stated otherwise."""

    # Projections --------------------------------------------------------------------------------------------------

    def project(self, name: str, heads: int, operands: Operands) -> Tensor:
        """Query, key or value in the working axes, projected if the config says so."""
        c, p = self.config, self.config.projections
        x = operands["input" if c.self_attention else name]
        if p is None:
            return self.split(x, heads)
        weight, bias = operands[f"{name}_weight"], operands.get(f"{name}_bias")
        if p.kind == "linear":
            return self.split(self.linear(x, weight, bias), heads)
        if c.layout == "ds":  # there is only one head; its matrix, transposed, is a linear projection
            weight, bias = (weight, bias) if p.shared else (weight[0], None if bias is None else bias[0])
            return self.split(self.linear(x, self.ops.permute_dims(weight, (1, 0)), bias), heads)
        return self.per_head(self.split(x, heads), weight, bias)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + b over packed features; W x + b where tokens are columns."""
        product = self.linear_product(x, weight)
        if bias is None:
            return product
        return product + (bias[:, None] if self.config.layout == "ds" else bias)

    def linear_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return weight @ x if self.config.layout == "ds" else x @ self.ops.permute_dims(weight, (1, 0))

    def per_head(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x W + b, with (heads, in, out) and (heads, out) for each head, or (in, out) and (out,) for all."""
        product = self.per_head_product(x, weight)
        if bias is None:
            return product
        return product + (bias[:, None] if self.working_axes == "bhsd" and len(bias.shape) == 2 else bias)

    def per_head_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.ops.einsum(EQUATIONS[self.working_axes].per_head[len(weight.shape)], x, weight)

    # Positions and cache ------------------------------------------------------------------------------------------

    def rotate(self, x: Tensor, start: int, operands: Operands) -> Tensor:
        """Queries or keys in the working axes with rotary position embedding; their positions begin at `start`."""
        rotary, dims, axis = self.config.rotary, self.config.rotary_dims, self.working_axes.index("d")
        if rotary is None:
            return x
        cos, sin = (self.rotary_rows(operands[f"rotary_{name}"], start, x) for name in ("cos", "sin"))
        if rotary.pairing == "half":
            x1, x2 = self.slice_features(x, 0, dims // 2), self.slice_features(x, dims // 2, dims)
            parts = [x1 * cos - x2 * sin, x2 * cos + x1 * sin]
        else:
            x1, x2 = self.slice_features(x, 0, dims, 2), self.slice_features(x, 1, dims, 2)
            rotated = [x1 * cos - x2 * sin, x2 * cos + x1 * sin]
            shape = tuple(x1.shape)
            columns = [self.ops.reshape(y, (*shape[: axis + 1], 1, *shape[axis + 1 :])) for y in rotated]
            pairs = self.ops.concat(columns, axis + 1)
            parts = [self.ops.reshape(pairs, (*shape[:axis], dims, *shape[axis + 1 :]))]
        rest = [] if dims == self.config.head_dim else [self.slice_features(x, dims, self.config.head_dim)]
        return self.ops.concat([*parts, *rest], axis)

    def rotary_rows(self, table: Tensor, start: int, like: Tensor) -> Tensor:
        """The rows of a table (positions, pairs) from `start` on, shaped to broadcast against `like`."""
        sizes = dict(zip(self.working_axes, like.shape, strict=True)) | {"d": table.shape[1], "b": 1, "h": 1}
        rows = table[start : start + sizes["s"]]
        if self.working_axes == "ds":
            return self.ops.permute_dims(rows, (1, 0))
        return self.ops.reshape(rows, tuple(sizes[axis] for axis in self.working_axes))

    def slice_features(self, x: Tensor, start: int, stop: int, step: int = 1) -> Tensor:
        slices = (slice(start, stop, step) if axis == "d" else slice(None) for axis in self.working_axes)
        return x[tuple(slices)]

    def prepend_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        """Keys or values in the working axes, preceded by those of the cache."""
        if self.config.past is None:
            return x
        past = self.split(operands[f"past_{name}"], self.config.num_kv_heads)
        return self.ops.concat([past, x], self.working_axes.index("s"))
