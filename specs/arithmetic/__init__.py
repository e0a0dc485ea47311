"""Number formats, rounding to them, dtype promotion, declared precision, and double-double arithmetic.

Nothing here knows about cases, frameworks or tests.
"""
