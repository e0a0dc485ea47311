"""PyTorch: flex_attention compiled for the CPU ends the process where there is no query or no key.

The kernel that torch.compile makes (torch/_inductor/kernel/flex/flex_cpu.py) divides integers by a number that is then
0: SIGFPE.  Eager, it raises an exception.  Seen with torch 2.13.0 on x86.
"""

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

QUERIES, KEYS = 3, 0  # or the other way round

query, key, value = (torch.ones(2, 2, length, 8) for length in (QUERIES, KEYS, KEYS))
mask = create_block_mask(lambda b, h, i, j: j <= i, 2, 2, QUERIES, KEYS, device="cpu")

print("torch", torch.__version__)
print("expected a tensor of shape", tuple(query.shape), "or an exception", flush=True)
print("got", tuple(torch.compile(flex_attention)(query, key, value, block_mask=mask).shape))
