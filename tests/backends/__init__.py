"""Tests of the backends and of the contract that they keep."""
