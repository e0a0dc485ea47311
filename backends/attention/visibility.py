"""Which keys a query sees, and what is added to its scores.

Masks are made of comparisons in the framework itself: what is tested is what a user of that framework would run.
"""

from __future__ import annotations

from backends.attention.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig


class Visibility:
    """The masks of a config, each None where it masks nothing; they are made where the tensor `like` is.

    ops      of an instance: what they are made with
    config   of an instance: what they are made for
    """

    ops: Primitives
    config: AttentionConfig

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
