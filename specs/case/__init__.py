"""What a case file says, and what that means: its fields, its YAML, the grammar of equations, shapes, who sees whom.

A case is read and understood here without a number being computed; what operands hold is for `specs.inputs`.
"""
