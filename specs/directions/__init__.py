"""What a check computes: one file for each direction, which is named like it.

`specs.verdict.direction` is the contract, and finds the files by their names.  A direction states which cases have it,
what a backend is given and must return, and the right values with their bounds: from `specs.bound`, or its own.
"""
