"""The operands of a case: random, literal or designed, the same bits for every backend.

What is right for them is not known here.
"""
