"""How each framework computes a case: one file per backend, found by its name.

`backends/<name>.py` holds one subclass of `backends.base.Backend`; its known deviations are listed in
`deviations/<name>.yaml`.  Importing such a module imports no framework: that happens when the class is first
instantiated, so a worker that runs only NumPy checks never pays for TensorFlow.

Of the rest of the suite only `specs` is imported here.  A backend neither judges its results nor chooses what runs.
"""
