"""What every way of computing attention shares: a config made callable over the operands.

What is not yet attention (projections, splitting into heads, which keys are visible) is here, so that a framework's
fused operation gets it by overriding one method, `attend`.  All of it is written over the handful of functions in
`Primitives`, which a backend fills with the framework's own, and over the tensors' own operators.

Masks are made of comparisons in the framework itself: what is tested is what a user of that framework would run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from inspect import signature
from typing import Any, ClassVar, NamedTuple

from specs.case.attention import AttentionConfig

Tensor = Any
Operands = Mapping[str, Tensor]


@dataclass(frozen=True)
class Execution:
    """How a case is executed: what a capability can depend on beside the config; terms are those of a check."""

    mode: str
    dtype: str
    device: str
    direction: str


@dataclass(frozen=True)
class Primitives:
    """What the formulations need of a framework, called with positional arguments only.

    einsum   (equation, *tensors)
    permute  (x, axes)
    reshape  (x, shape)
    spread   (x, shape): broadcast to it
    join     (tensors, axis): one behind the other
    repeat   (x, times, axis): each entry `times` times in a row, a a b b
    where    (condition, x, y): x and y tensors or numbers
    any      (x, axis): the axis stays, with size 1
    softmax  (x, axis)
    tanh     (x)
    arange   (length, like): integers, where `like` is
    lowest   (like): the lowest finite number of its dtype
    """

    einsum: Callable[..., Tensor]
    permute: Callable[[Tensor, tuple[int, ...]], Tensor]
    reshape: Callable[[Tensor, tuple[int, ...]], Tensor]
    spread: Callable[[Tensor, tuple[int, ...]], Tensor]
    join: Callable[[list[Tensor], int], Tensor]
    repeat: Callable[[Tensor, int, int], Tensor]
    where: Callable[[Tensor, Tensor, Tensor], Tensor]
    any: Callable[[Tensor, int], Tensor]
    softmax: Callable[[Tensor, int], Tensor]
    tanh: Callable[[Tensor], Tensor]
    arange: Callable[[int, Tensor], Tensor]
    lowest: Callable[[Tensor], float]


class Equations(NamedTuple):
    """The labels of one layout; `per_head` by the rank of the weight: 2 if all heads share it, else 3.

    seen_weighted has values of their own for each query, heads first.
    """

    scores: str
    weighted: str
    seen_weighted: str
    relative_scores: str
    relative_weighted: str
    per_head: Mapping[int, str]


EQUATIONS = {
    "bshd": Equations(
        scores="bqhd,bkhd->bhqk",
        weighted="bhqk,bkhd->bqhd",
        seen_weighted="bhqk,bhqkd->bqhd",
        relative_scores="bqhd,qkhd->bhqk",
        relative_weighted="bhqk,qkhd->bqhd",
        per_head={3: "bshd,hde->bshe", 2: "bshd,de->bshe"},
    ),
    "bhsd": Equations(
        scores="bhqd,bhkd->bhqk",
        weighted="bhqk,bhkd->bhqd",
        seen_weighted="bhqk,bhqkd->bhqd",
        relative_scores="bhqd,qkhd->bhqk",
        relative_weighted="bhqk,qkhd->bhqd",
        per_head={3: "bhsd,hde->bhse", 2: "bhsd,de->bhse"},
    ),
    "sbhd": Equations(
        scores="qbhd,kbhd->bhqk",
        weighted="bhqk,kbhd->qbhd",
        seen_weighted="bhqk,bhqkd->qbhd",
        relative_scores="qbhd,qkhd->bhqk",
        relative_weighted="bhqk,qkhd->qbhd",
        per_head={3: "sbhd,hde->sbhe", 2: "sbhd,de->sbhe"},
    ),
    "ds": Equations(
        scores="dq,dk->kq",
        weighted="kq,dk->dq",
        seen_weighted="kq,qkd->dq",
        relative_scores="dq,qkd->kq",
        relative_weighted="kq,qkd->dq",
        per_head={},  # with one head it is linear
    ),
}


class Attention:
    """Projections, positions, cache, attention and output projection of one config, called with the operands.

    devices  where it is offered: patterns as of file names
    axes     in which `attend` takes query, key and value and returns the output: `bshd` or `bhsd`;
             None is the case's own (packed features split into `bshd`, columns left as `ds`)
    lacks    config field → why this implementation has no such thing
    """

    devices: ClassVar[tuple[str, ...]] = ("*",)
    axes: ClassVar[str | None] = None
    lacks: ClassVar[Mapping[str, str]] = {}

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        self.ops = primitives
        self.config = config
        self.own_axes = "bshd" if config.layout == "bsd" else config.layout
        self.working_axes = self.axes or self.own_axes

    @classmethod
    def distinct(cls, config: AttentionConfig) -> bool:
        """Whether this is another way to compute `config` than the rest."""
        return True

    @classmethod
    def unsupported(cls, config: AttentionConfig, execution: Execution) -> str | None:
        """Why `config` cannot be expressed, or not be executed like this; None if it can."""
        return first({reason: _uses(config, field) for field, reason in cls.lacks.items()})

    def __call__(self, operands: Operands) -> Tensor:
        c = self.config
        query = self.turned(self.projected("query", c.num_heads, operands), c.query_offset, operands)
        key = self.turned(self.projected("key", c.num_kv_heads, operands), c.past or 0, operands)
        value = self.projected("value", c.num_kv_heads, operands)
        key, value = self.with_past("key", key, operands), self.with_past("value", value, operands)
        output = self.merged(self.attend(query, key, value, operands))
        if c.projections and c.projections.output:
            output = self.linear(output, operands["output_weight"], operands["output_bias"])
        return output

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        """The attention itself, from and to `axes`; key and value have num_kv_heads heads."""
        raise NotImplementedError  # by what computes the projections too, and so overrides __call__

    # Projections and layout ---------------------------------------------------------------------------------------

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

    def split(self, x: Tensor, heads: int) -> Tensor:
        """From the case's layout to the working axes."""
        if self.config.layout == "bsd":
            batch, length, packed = x.shape
            x = self.ops.reshape(x, (batch, length, heads, packed // heads))
        if self.working_axes == self.own_axes:
            return x
        if self.own_axes == "ds":
            x = self.ops.permute(x, (1, 0))
            return x[None, None] if self.working_axes == "bhsd" else x[None, :, None]
        return self.permuted(x, self.own_axes, self.working_axes)

    def merged(self, x: Tensor) -> Tensor:
        """From the working axes back to the case's layout."""
        c = self.config
        if self.working_axes != self.own_axes:
            if self.own_axes == "ds":
                return self.ops.permute(x[0, 0] if self.working_axes == "bhsd" else x[0, :, 0], (1, 0))
            x = self.permuted(x, self.working_axes, self.own_axes)
        if c.layout == "bsd":
            x = self.ops.reshape(x, (c.batch, c.q_len, c.num_heads * c.value_dim))
        return x

    def permuted(self, x: Tensor, axes: str, wanted: str) -> Tensor:
        """`x` with its axes, which are `axes`, in the order of `wanted`."""
        return x if axes == wanted else self.ops.permute(x, tuple(map(axes.index, wanted)))

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

    # What is added to the scores, and which keys a query sees --------------------------------------------------------

    def added(self, operands: Operands) -> Tensor | None:
        """Bias plus additive mask: what an operation that knows one additive term to scaled scores is given."""
        bias, mask = operands.get("bias"), self.mask("additive", operands)
        if bias is not None and self.config.bias_at == "products":
            bias = bias * self.config.score_scale
        return mask if bias is None else bias if mask is None else bias + mask

    def visible(self, operands: Operands, like: Tensor) -> Tensor | None:
        """True where a query sees a key, broadcastable to (b, h, q, k); None where nothing is masked."""
        positions = both(self.causal(like), self.window(like))
        return both(both(positions, self.lengths(operands, like)), self.mask("bool", operands))

    def mask(self, type: str, operands: Operands) -> Tensor | None:
        return operands["mask"] if self.config.mask and self.config.mask.type == type else None

    def causal(self, like: Tensor) -> Tensor | None:
        if self.config.causal == "none":
            return None
        i, j = self.aligned_positions(like)
        return j <= i

    def window(self, like: Tensor) -> Tensor | None:
        window = self.config.window
        if window is None:
            return None
        i, j = self.aligned_positions(like)
        return both(
            None if window.left is None else j >= i - window.left,
            None if window.right is None else j <= i + window.right,
        )

    def lengths(self, operands: Operands, like: Tensor) -> Tensor | None:
        if self.config.kv_lengths is None:
            return None
        return self.ops.arange(self.config.kv_len, like) < operands["kv_lengths"][:, None, None, None]

    def aligned_positions(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """For each query (as a column) the key at its own place, and the position of each key."""
        c = self.config
        return self.ops.arange(c.q_len, like)[:, None] + c.query_offset, self.ops.arange(c.kv_len, like)


def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a & b, where None masks nothing."""
    return b if a is None else a if b is None else a & b


def first(reasons: Mapping[str, bool]) -> str | None:
    """The first reason that holds."""
    return next((reason for reason, holds in reasons.items() if holds), None)


def without(function: Callable[..., Any], arguments: Iterable[str], distribution: str) -> str | None:
    """That the installed version of a framework has a function without one of these arguments, which came later."""
    known = signature(function).parameters
    name = function.__qualname__.removesuffix(".__init__")
    lacking = (each for each in arguments if each not in known)
    return next((f"{name} of {distribution} {version(distribution)} has no argument {each}" for each in lacking), None)


def _uses(config: AttentionConfig, field: str) -> bool:
    """Whether a case asks for more than every attention offers, in this field."""
    if field == "value_dim":
        return config.value_dim != config.head_dim
    return bool(getattr(config, field) != AttentionConfig.model_fields[field].default)
