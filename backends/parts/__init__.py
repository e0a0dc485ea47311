"""What backends and formulations are made of: a framework's modules, its primitives, an einsum as a function of operands.

Nothing here knows what is made of it.
"""
