"""Error bounds: the largest error of each element in correct arithmetic, and the variance of errors of random data.

`bound.py` joins the value and the bound of a case.  No result of a backend is used here.
"""
