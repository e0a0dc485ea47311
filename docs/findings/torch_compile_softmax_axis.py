"""PyTorch: torch.compile takes a softmax over any axis for one over the last.

Of attention written as softmax(q k^T / sqrt(d), axis) v it makes scaled_dot_product_attention.  The patterns that it
looks for (torch/_inductor/fx_passes/serialized_patterns) leave the axes of the two reductions of a softmax out of the
comparison, so every axis matches, and the compiled function returns attention over the keys whatever was asked for.
Only operands of four axes are affected.  Seen with torch 2.13.0, forward and in gradients; a deliberately wrong
implementation of this suite, with its softmax over the queries, passed when it was compiled.

Reported as https://github.com/pytorch/pytorch/issues/196468.
"""

import math

import torch


def attend(query, key, value, axis):  # (batch, heads, sequence, features)
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return torch.softmax(scores, axis) @ value


print("torch", torch.__version__)
operands = [torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(i)) for i in range(3)]
for axis in (-1, -2, 0):
    torch.compiler.reset()
    error = (torch.compile(attend)(*operands, axis) - attend(*operands, axis)).abs().max().item()
    print(f"axis {axis}: expected an error of at most 1e-6, got {error}")
