"""Case files: their fields, YAML parser, equation grammar, operand shapes, and which keys each query may see.

Cases are read and validated here without any numerical computation; operand values are made in `specs.inputs`.
"""
