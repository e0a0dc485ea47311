"""How each framework computes a case: one file per backend, found by its name.

`backends/<name>.py` holds one subclass of `backends.base.Backend`; what it is known to do differently stands
beside it in `deviations/<name>.yaml`.  Importing such a module imports no framework: that happens when the class is
first instantiated, so that a worker which runs only NumPy checks never pays for TensorFlow.

Of the suite only `specs` is imported here.  A backend never judges what it computes, nor chooses what runs.
"""
