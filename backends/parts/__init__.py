"""What backends and formulations are made of: a framework's modules, an einsum as a function of its operands.

Nothing here knows what is made of it.
"""
