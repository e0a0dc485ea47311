"""What a case's result is, and its gradients are, in higher precision; and the store that keeps them.

`Reference` also holds a bound, which only `specs.bound` computes.
"""
