"""What backends and formulations share: a framework's modules and primitives, and an einsum of operands by name."""
