"""How wrong correct arithmetic may be: the largest error of each element, derived, and how errors of random data stray.

`bound.py` puts value and bound of a case together.  No result of a backend is looked at here.
"""
