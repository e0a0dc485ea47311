"""From a result to a verdict: checks, comparison, recorded deviations, and the record of it all.

What runs, and in which order, is for `runner`; what people look at is made of records, by `reports`.
"""
