"""torch.nn.attention.flex_attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.metadata import version

from backends.attention.base import Attention, first
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY, Pairs
from backends.parts.framework import INSTALLED
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.case.attention import AttentionConfig
from specs.verdict.check import Check

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]  # score, batch, head, query, key
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # batch, head, query, key
FLEX = "torch.nn.attention.flex_attention"


@cache
def lacking() -> str | None:
    """Why the installed torch cannot be asked: the function came with 2.5, its argument return_aux later."""
    try:
        known = hasattr(INSTALLED[FLEX], "AuxRequest")
    except ImportError:
        known = False
    return None if known else f"torch {version('torch')} has no flex_attention with return_aux"


class OnePair(Pairs):
    """The query and the key, head and batch item that flex_attention asks about; operands have all their axes."""

    def __init__(self, config: AttentionConfig, operands: Operands, at: Mapping[str, Tensor]) -> None:
        super().__init__(config)
        self.operands, self.at = operands, at

    @cached_property
    def query(self) -> Tensor:
        return self.at["q"]

    @cached_property
    def key(self) -> Tensor:
        return self.at["k"]

    def read(self, name: str, axes: str) -> Tensor:
        return self.operands[name][tuple(self.at[axis] for axis in axes)]


class FlexAttention(Attention):
    """torch.nn.attention.flex_attention, with functions of one score and of one (batch, head, query, key)."""

    axes = "bhsd"
    understands = HEADS | VISIBILITY | {"num_kv_heads", "value_dim", "scale", "softcap", "sink"}
    lacks = {
        "relative": "flex_attention gives its functions a score and not the query",
        "scale_at": "flex_attention scales the scores only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        if told := lacking():
            return told
        compiled_here = check.mode == "jit" and check.device == "cpu"
        return super().unsupported(config, check) or first(
            {
                "flex_attention has no gradient on the CPU": check.direction == "grad" and check.device == "cpu",
                "flex_attention compiled for the CPU has no float64": compiled_here and check.dtype == "float64",
                "flex_attention compiled for the CPU returns no sum for a sink": compiled_here and config.sink,
            }
        )

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.torch, self.flex = (primitives.framework[name] for name in ("torch", FLEX))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c, flex = self.config, self.flex
        mask_mod = self.mask_mod(operands, query)
        block_mask = None
        if mask_mod is not None:
            block_mask = flex.create_block_mask(mask_mod, c.batch, c.num_heads, c.q_len, c.kv_len, device=query.device)
        with self.traced_by_no_compiler():
            output, aux = flex.flex_attention(
                query,
                key,
                value,
                score_mod=self.score_mod(operands),
                block_mask=block_mask,
                scale=c.scale,
                enable_gqa=c.num_heads != c.num_kv_heads,
                return_aux=flex.AuxRequest(lse=c.sink),
            )
        if not c.sink:
            return output
        # exp(lse) is the sum of all exponentials, to which the sink's is added
        kept = (aux.lse - operands["sink"][:, None].to(aux.lse.dtype)).sigmoid()
        return (output * kept[..., None]).to(output.dtype)

    def score_mod(self, operands: Operands) -> ScoreMod | None:
        """From the scaled product of one query and one key to its score; None where they are the same."""
        torch, bias, softcap = self.torch, operands.get("bias"), self.config.softcap
        factor = self.config.score_scale if self.config.bias_at == "products" else 1.0
        mask = self.of_every_pair(self.additive_mask(operands))
        if bias is None and softcap is None and mask is None:
            return None

        def score(product: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            if bias is not None:
                product = product + bias[h, i, j].to(product.dtype) * factor
            if softcap is not None:
                product = softcap * torch.tanh(product / softcap)
            return product if mask is None else product + mask[b, h, i, j]

        return score

    def mask_mod(self, operands: Operands, like: Tensor) -> MaskMod | None:
        """Whether a query sees a key; None where it sees all."""
        if self.visible(operands, like) is None:
            return None
        tables = dict(operands)
        if "mask" in tables:
            tables["mask"] = self.of_every_pair(tables["mask"])

        def seen(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            found = self.sees(OnePair(self.config, tables, {"b": b, "h": h, "q": i, "k": j}))
            assert found is not None
            return found

        return seen

    def of_every_pair(self, mask: Tensor | None) -> Tensor | None:
        """As it is indexed by batch, head, query and key."""
        c = self.config
        return None if mask is None else mask.expand(c.batch, c.num_heads, c.q_len, c.kv_len)

    @contextmanager
    def traced_by_no_compiler(self) -> Iterator[None]:
        """Called eagerly it would have torch.compile trace the same unfused operations on each call, for 0.2 s each."""
        if self.torch.compiler.is_compiling():
            yield
            return
        before = self.flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
        self.flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
        try:
            yield
        finally:
            self.flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = before
