"""How attention is computed: by hand once for every framework, and each framework's own operations.

base       what all of them share: projections, layouts, masks
by_hand    the formula, written as einsum and as matmul
module     what the multi-head modules of all frameworks share
torch, torch_flex, torch_multihead, jax, keras, keras_multihead   what these frameworks offer themselves
"""
