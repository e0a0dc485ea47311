"""Which features of a case meet in the case files, at which sizes, dtypes and directions: the table of reach."""
