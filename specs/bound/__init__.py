"""Error bounds: the largest error of each element in correct arithmetic, and the variance of errors of random data.

`attention.py` and `einsum.py` join the value and the bound of a result, the files named `…_gradient.py` those of a
gradient.  No result of a backend is used here.
"""
