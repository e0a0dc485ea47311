"""torch.nn.attention.flex_attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, reduce

from backends.attention.base import Attention, first_reason
from backends.attention.heads import HEADS
from backends.attention.visibility import VISIBILITY
from backends.parts.framework import INSTALLED
from backends.parts.mode import Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from backends.parts.versions import version
from specs.case.attention import AttentionConfig
from specs.case.operands import LOGITS, logits_of, terms_of
from specs.case.score_functions import FUNCTION_FIELDS, functions_of
from specs.case.visibility import Pairs
from specs.verdict.check import Check

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]  # score, batch, head, query, key
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # batch, head, query, key
FLEX = "torch.nn.attention.flex_attention"


@cache
def missing_feature() -> str | None:
    """What the installed torch does not have: the function came with 2.5, its argument return_aux later."""
    try:
        exists = hasattr(INSTALLED[FLEX], "AuxRequest")
    except ImportError:
        exists = False
    return None if exists else f"torch {version('torch')} has no flex_attention with return_aux"


class SinglePair(Pairs):
    """The pair that flex_attention passes to a function, with its head and batch item; operands have all their axes."""

    def __init__(self, config: AttentionConfig, operands: Operands, position: Mapping[str, Tensor]) -> None:
        super().__init__(config)
        self.operands, self.position = operands, position

    @property
    def query(self) -> Tensor:
        return self.position["q"]

    @property
    def key(self) -> Tensor:
        return self.position["k"]

    def read(self, name: str, axes: str) -> Tensor:
        return self.operands[name][tuple(self.position[axis] for axis in axes)]


class FlexAttention(Attention):
    """torch.nn.attention.flex_attention, with functions of one score and of one (batch, head, query, key).

    It is made to be compiled: eager, torch warns that it only writes the formula out.
    """

    usual_mode = "jit"
    axes = "bhsd"
    understands = HEADS | VISIBILITY | FUNCTION_FIELDS | LOGITS | {"num_kv_heads", "value_dim", "scale"}
    limitations = {
        "relative": "flex_attention gives its functions a score and not the query",
        "scale_at": "flex_attention scales the scores only",
    }

    @classmethod
    def unsupported(cls, config: AttentionConfig, check: Check) -> str | None:
        if reason := missing_feature():
            return reason
        no_gradient = check.direction == "grad" and check.device == "cpu"
        reason = super().unsupported(config, check)
        return reason or ("flex_attention has no gradient on the CPU" if no_gradient else None)

    @classmethod
    def mode_limitation(cls, config: AttentionConfig, check: Check, mode: Mode) -> str | None:
        compiled = mode.execution == "compiled" and check.device == "cpu"
        return first_reason(
            {
                "flex_attention compiled for the CPU divides by numbers of queries and keys, and ends the process "
                "where there are none (docs/findings/torch_compile_flex.py)": (
                    compiled and 0 in (config.q_len, config.kv_len)
                ),
                "flex_attention compiled for any sizes refuses functions that hold a number, and makes no valid C++ of "
                "some masks (cur_qSplitSize2 in cpp_flex_attention_template.py)": compiled and mode.any_sizes,
                "flex_attention compiled for the CPU has no float64": compiled and check.dtype == "float64",
                "flex_attention compiled for the CPU returns no sum for a sink": compiled and bool(logits_of(config)),
            }
        )

    def __init__(self, primitives: Primitives, config: AttentionConfig) -> None:
        super().__init__(primitives, config)
        self.torch, self.flex = (primitives.framework[name] for name in ("torch", FLEX))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, operands: Operands) -> Tensor:
        c, flex, logits = self.config, self.flex, [operands[name] for name in logits_of(self.config)]
        mask_mod = self.mask_mod(operands, query)
        block_mask = None
        if mask_mod is not None:
            block_mask = flex.create_block_mask(mask_mod, c.batch, c.num_heads, c.q_len, c.kv_len, device=query.device)
        with self.without_compilation():
            output, aux = flex.flex_attention(
                query,
                key,
                value,
                score_mod=self.score_mod(operands),
                block_mask=block_mask,
                scale=c.scale,
                enable_gqa=c.num_heads != c.num_kv_heads,
                return_aux=flex.AuxRequest(lse=bool(logits)),
            )
        if not logits:
            return output
        # exp(lse) is the sum of all exponentials, to which those of further logits are added
        logit = reduce(self.torch.logaddexp, [logit.to(aux.lse.dtype) for logit in logits])
        share = (aux.lse - logit[:, None]).sigmoid()
        return (output * share[..., None]).to(output.dtype)

    def score_mod(self, operands: Operands) -> ScoreMod | None:
        """The function from the scaled product of one query and one key to its score; None where it is the identity."""
        c, torch, functions = self.config, self.torch, functions_of(self.config)
        shape = (c.num_heads, c.q_len, c.kv_len)
        terms = [(operands[n].expand(shape), c.score_scale if n in c.scaled_terms else 1.0) for n in terms_of(c)]
        mask = self.expand_mask(self.additive_mask(operands))
        if not terms and not functions and mask is None:
            return None

        def score(product: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            for term, factor in terms:
                product = product + term[h, i, j].to(product.dtype) * factor
            for function in functions:
                parameter = operands[function.field][h] if function.field in operands else None
                product = function.value(c, product, parameter, torch)
            return product if mask is None else product + mask[b, h, i, j]

        return score

    def mask_mod(self, operands: Operands, like: Tensor) -> MaskMod | None:
        """The function that says whether a query sees a key; None where all keys are visible."""
        if self.visible(operands, like) is None:
            return None
        tables = dict(operands)
        if "mask" in tables:
            tables["mask"] = self.expand_mask(tables["mask"])

        def sees(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            visible = self.is_visible(SinglePair(self.config, tables, {"b": b, "h": h, "q": i, "k": j}))
            assert visible is not None
            return visible

        return sees

    def expand_mask(self, mask: Tensor | None) -> Tensor | None:
        """The mask with all of its axes: batch, head, query and key."""
        c = self.config
        return None if mask is None else mask.expand(c.batch, c.num_heads, c.q_len, c.kv_len)

    @contextmanager
    def without_compilation(self) -> Iterator[None]:
        """Keep an eager call from tracing the same unfused operations with torch.compile each time, at 0.2 s a call."""
        if self.torch.compiler.is_compiling():
            yield
            return
        before = self.flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
        self.flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
        try:
            yield
        finally:
            self.flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = before
