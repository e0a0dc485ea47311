"""Numbers: what a format can hold, how a value is rounded to it, and arithmetic with twice its digits.

Nothing here knows of cases, frameworks or tests.
"""
