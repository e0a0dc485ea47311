"""How attention is computed: by hand once for every framework, and by each framework's own operations.

Importing a file imports no framework; the first use of an operation does.  Results are not judged here.

base         the contract of a formulation, created for a config, and what it declares not to support
layout, heads, visibility   the steps around attention: axes; query, key and value; masks
by_hand      the formula, written with einsum and with matmul
module       what the multi-head modules of all frameworks share
torch, torch_flex, torch_multihead, jax, keras, keras_multihead   the frameworks' own operations
"""
