"""JAX's own attention."""

from __future__ import annotations

from typing import ClassVar, Literal

from backends.attention.base import Attention, first_reason, missing_argument
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.framework import INSTALLED
from backends.parts.mode import Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from backends.parts.versions import version
from specs.case.attention import AttentionConfig
from specs.case.operands import terms_of
from specs.verdict.check import Check

ABORT = "compiled for the CPU, jaxlib aborts the process (ynn_emitter.cc: Check failed: reshape vs. bitcast)"


class DotProductAttention(Attention):
    """jax.nn.dot_product_attention, with its own arguments wherever they express what the case says.

    kernel   its argument `implementation`
    """

    kernel: ClassVar[Literal["xla", "cudnn"]] = "xla"
    aborts: ClassVar[frozenset[str]] = frozenset({"0.10.2"})  # versions of jaxlib that abort; any other is run
    axes = "bshd"
    understands = HEADS | VISIBILITY | {"num_kv_heads", "scale"}
    limitations = {
        "softcap": "jax.nn.dot_product_attention has no softcap",
        "sink": "jax.nn.dot_product_attention has no sink",
        "relative": "jax.nn.dot_product_attention has no relative positions",
        "scale_at": "jax.nn.dot_product_attention scales the scores only",
        "value_dim": "jax.nn.dot_product_attention takes values of the keys' shape only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        return super().unsupported(config, check) or cls.version_limitation(config)

    @classmethod
    def mode_limitation(cls, config: AttentionConfig, check: Check, mode: Mode) -> str | None:
        """Excludes what aborts the process: observed for one feature and two heads at 1024 pairs, not at 576, and not
        of constants.
        """
        c, compiled = config, mode.execution == "compiled" and not mode.constants
        narrow = check.dtype == "bfloat16" and c.head_dim == 1 and c.num_heads > 1
        large = c.q_len * c.kv_len >= 1024
        aborts = compiled and check.device == "cpu" and narrow and large and version("jaxlib") in cls.aborts
        return ABORT if aborts else None

    @classmethod
    def version_limitation(cls, config: AttentionConfig) -> str | None:
        """Which argument, of those added after 0.4.31, the config needs and the installed jax does not have."""
        later = {"key_value_seq_lengths": config.kv_lengths, "local_window_size": native_window(config)}
        needed = [name for name, value in later.items() if value is not None]
        if not needed:
            return None
        return missing_argument(INSTALLED["jax"].nn.dot_product_attention, needed, "jax")

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.jax = primitives.framework["jax"]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c = self.config
        # is_causal and local_window_size are aligned at the first query
        top_left = () if c.causal == "bottom_right" else ("causal", "window")
        later = {"key_value_seq_lengths": operands.get("kv_lengths"), "local_window_size": native_window(c)}
        return self.jax.nn.dot_product_attention(
            query,
            key,
            value,
            bias=self.additive_bias(operands),
            mask=self.visible(operands, query, native=("kv_lengths", *top_left)),
            scale=c.scale,
            is_causal=c.causal == "top_left",
            implementation=self.kernel,
            **{name: value for name, value in later.items() if value is not None},
        )


def native_window(config: AttentionConfig) -> tuple[int, int] | None:
    """`local_window_size`: how many keys on either side of the query's own; None where it cannot express the window."""
    window = config.window
    if window is None or config.causal == "bottom_right":
        return None
    unlimited = max(config.q_len, config.kv_len)
    left, right = (unlimited if side is None else side for side in (window.left, window.right))
    return left, right


class CudnnAttention(DotProductAttention):
    """The same on cuDNN; its conditions are those of jax/_src/cudnn/fused_attention_stablehlo.py."""

    kernel = "cudnn"
    devices = ("cuda:*",)

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        c = config
        return super().unsupported(c, check) or first_reason(
            {
                "jax's cuDNN attention computes in float16 and bfloat16": check.dtype not in ("float16", "bfloat16"),
                "jax's cuDNN attention needs multiples of 8 features, at most 128": bool(
                    c.head_dim % 8 or c.head_dim > 128
                ),
                "jax's cuDNN attention has windows to the right only in causal attention": bool(
                    c.window and c.causal == "none" and c.window.right != 0
                ),
                "jax's cuDNN attention needs two queries and two keys at a time to differentiate a bias": bool(
                    check.direction == "grad" and terms_of(c) and (c.q_len % 2 or c.kv_len % 2)
                ),
            }
        )
