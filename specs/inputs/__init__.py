"""The operands of a case: random, literal or designed, the same bits for every backend.

Their results are not computed here.
"""
