"""Reference values of a case's result and gradients, in higher precision, and their cache in memory and on disk.

`Reference` also has an error bound, which only `specs.bound` computes.
"""
