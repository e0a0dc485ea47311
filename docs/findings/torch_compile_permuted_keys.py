"""PyTorch: torch.compile takes keys that are permuted at once for keys of which two axes are exchanged.

Of attention written as softmax(q k^T / sqrt(d)) v it makes scaled_dot_product_attention.  The pattern that it looks
for (`_sfdp_pattern_1` in torch/_inductor/fx_passes/fuse_attention.py) has `key.transpose(-2, -1)`, but of that
permutation it compares no axes, so `key.permute(0, 2, 3, 1)` matches too: `key` is then (batch, sequence, heads,
features), and is used as if it were (batch, heads, sequence, features).  With as many heads as keys the result is
wrong; with another number of heads compilation fails.  Seen with torch 2.13.0.  With two items this program is right,
because the copies of its operands that their product needs are not in the pattern; other programs are not.
"""

import math

import torch


def attend(query, key, value):  # (batch, sequence, heads, features)
    scores = query.permute(0, 2, 1, 3) @ key.permute(0, 2, 3, 1) / math.sqrt(query.shape[-1])
    return (torch.softmax(scores, -1) @ value.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)


print("torch", torch.__version__)
for batch, keys, heads in ((2, 4, 4), (1, 4, 4), (1, 5, 4)):
    operands = [torch.randn(batch, keys, heads, 8, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    torch.compiler.reset()
    try:
        error = (torch.compile(attend)(*operands) - attend(*operands)).abs().max().item()
    except Exception as failure:
        error = str(failure).strip().splitlines()[1]
    print(f"batch {batch}, keys {keys}, heads {heads}: expected an error of at most 1e-6, got {error}")
