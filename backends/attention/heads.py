"""Query, key and value as attention takes them: projected, turned by their positions, behind those of a cache.

A config has each of these steps or leaves it out; what a framework has for a step of its own overrides the method.
"""

from __future__ import annotations

from backends.attention.layout import EQUATIONS, Layouts
from backends.parts.primitives import Operands, Tensor

# What is done here, as `specs.case.features` names it
HEADS = frozenset(
    {
        *("layout=bhsd", "layout=sbhd", "layout=bsd", "layout=ds", "self_attention", "past"),
        *("projections", "projections.kind=linear", "projections.kind=per_head", "projections.shared"),
        *("projections.bias", "projections.output", "projections.input_dim"),
        *("rotary", "rotary.pairing=interleaved", "rotary.dims", "rotary.base"),
    }
)


class Heads(Layouts):
    """The heads of a config, made of its operands: in the working axes wherever nothing else is said."""

    # Projections --------------------------------------------------------------------------------------------------

    def projected(self, name: str, heads: int, operands: Operands) -> Tensor:
        """Query, key or value in the working axes, projected as the config says."""
        c, p = self.config, self.config.projections
        x = operands["input" if c.self_attention else name]
        if p is None:
            return self.split(x, heads)
        weight, bias = operands[f"{name}_weight"], operands.get(f"{name}_bias")
        if p.kind == "linear":
            return self.split(self.linear(x, weight, bias), heads)
        if c.layout == "ds":  # the matrix of the only head is a linear one, transposed
            weight, bias = (weight, bias) if p.shared else (weight[0], None if bias is None else bias[0])
            return self.split(self.linear(x, self.ops.permute(weight, (1, 0)), bias), heads)
        return self.per_head(self.split(x, heads), weight, bias)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + b over packed features; W x + b where tokens are columns."""
        product = self.linear_product(x, weight)
        if bias is None:
            return product
        return product + (bias[:, None] if self.config.layout == "ds" else bias)

    def linear_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return weight @ x if self.config.layout == "ds" else x @ self.ops.permute(weight, (1, 0))

    def per_head(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x W + b, with (heads, in, out) and (heads, out) for each head, or (in, out) and (out,) for all."""
        product = self.per_head_product(x, weight)
        if bias is None:
            return product
        return product + (bias[:, None] if self.working_axes == "bhsd" and len(bias.shape) == 2 else bias)

    def per_head_product(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.ops.einsum(EQUATIONS[self.working_axes].per_head[len(weight.shape)], x, weight)

    # Positions and cache ------------------------------------------------------------------------------------------

    def turned(self, x: Tensor, first: int, operands: Operands) -> Tensor:
        """Queries or keys in the working axes, turned by their rotary positions from `first` on."""
        rotary, dims, axis = self.config.rotary, self.config.rotary_dims, self.working_axes.index("d")
        if rotary is None:
            return x
        cos, sin = (self.by_position(operands[f"rotary_{name}"], first, x) for name in ("cos", "sin"))
        if rotary.pairing == "half":
            x1, x2 = self.features(x, 0, dims // 2), self.features(x, dims // 2, dims)
            parts = [x1 * cos - x2 * sin, x2 * cos + x1 * sin]
        else:
            x1, x2 = self.features(x, 0, dims, 2), self.features(x, 1, dims, 2)
            pairs = [x1 * cos - x2 * sin, x2 * cos + x1 * sin]
            shape = tuple(x1.shape)
            apart = [self.ops.reshape(each, (*shape[: axis + 1], 1, *shape[axis + 1 :])) for each in pairs]
            parts = [self.ops.reshape(self.ops.join(apart, axis + 1), (*shape[:axis], dims, *shape[axis + 1 :]))]
        rest = [] if dims == self.config.head_dim else [self.features(x, dims, self.config.head_dim)]
        return self.ops.join([*parts, *rest], axis)

    def by_position(self, table: Tensor, first: int, like: Tensor) -> Tensor:
        """Rows of a table (positions, pairs) from `first` on, as they broadcast against `like` in the working axes."""
        sizes = dict(zip(self.working_axes, like.shape, strict=True)) | {"d": table.shape[1], "b": 1, "h": 1}
        rows = table[first : first + sizes["s"]]
        if self.working_axes == "ds":
            return self.ops.permute(rows, (1, 0))
        return self.ops.reshape(rows, tuple(sizes[axis] for axis in self.working_axes))

    def features(self, x: Tensor, start: int, stop: int, step: int = 1) -> Tensor:
        along = (slice(start, stop, step) if axis == "d" else slice(None) for axis in self.working_axes)
        return x[tuple(along)]

    def with_past(self, name: str, x: Tensor, operands: Operands) -> Tensor:
        """Keys or values in the working axes, behind those of the cache."""
        if self.config.past is None:
            return x
        past = self.split(operands[f"past_{name}"], self.config.num_kv_heads)
        return self.ops.join([past, x], self.working_axes.index("s"))
