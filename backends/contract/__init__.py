"""What a backend states of itself; with `backends/base.py`, the contract between the suite and a framework."""
