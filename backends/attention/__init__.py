"""How attention is computed: by hand once for every framework, and each framework's own operations.

base       what all of them share: projections, layouts, masks
by_hand    the formula, written as einsum and as matmul
torch, jax, tensorflow   what these frameworks offer themselves
"""
