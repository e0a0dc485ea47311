"""How attention is computed: by hand once for every framework, and by each framework's own operations.

Importing a file imports no framework: that is for the first use of an operation.  What is right is not known here.

base         the contract of one way, made for a config, and what it says it cannot do
layout, heads, visibility   what is not yet attention: axes; query, key and value; masks
by_hand      the formula, written as einsum and as matmul
module       what the multi-head modules of all frameworks share
torch, torch_flex, torch_multihead, jax, keras, keras_multihead   what these frameworks offer themselves
"""
