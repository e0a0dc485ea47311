"""`python -m tests.benchmarks`: what a session of the suite costs, and what of that is the frameworks' own.

Nothing here is a test: no assertion depends on a time.
"""
