"""What is computed, and what counts as right: seven rooms along the way of a case.

Each imports only from those before it:

    arithmetic   formats, rounding, double-double, declared precision
    case         a YAML file becomes cases: fields, equations, shapes
    inputs       a case and a dtype become operands
    reference    operands become the value, in higher precision
    bound        and the largest error that correct arithmetic may have
    verdict      a backend's result meets both: comparison, deviations, the record
    directions   what of a case is computed and compared: one file for each direction, found by its name

No framework but NumPy is imported here, nor pytest, and nothing here knows which backends exist.  The file that has its
room's name is the room's front door; `__main__` is a command line over all of them.
"""
