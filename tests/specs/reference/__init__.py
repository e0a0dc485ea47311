"""Tests of reference values, against independent oracles."""
