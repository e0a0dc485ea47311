"""What backends and formulations are made of: a framework's modules and primitives, an einsum of operands by name.

Nothing here knows what is made of it.
"""
