"""`python -m tests.benchmarks`: what a check costs beside the framework's own time."""
