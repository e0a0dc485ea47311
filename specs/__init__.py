"""What is computed, and what counts as right.

Data flows one way through this package, and each step is one module:

    loading      a YAML file becomes cases                     (case, equation)
    inputs       a case and a dtype become operands            (formats)
    reference    operands become a value and an error bound    (einsum, attention, gradient, precision)
    comparison   a backend's result meets the reference        (ulps, error ratio, worst element)
    verdict      what that means, recorded deviations applied  (deviation, record)

No framework but NumPy is imported here, and nothing here knows which backends exist.
"""
