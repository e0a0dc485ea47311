"""From a result to a verdict: checks, comparison, recorded deviations, and the record of a check.

`runner` decides what runs and in which order; `reports` turns records into what people look at.
"""
