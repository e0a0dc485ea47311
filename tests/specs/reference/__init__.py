"""Tests of values, against independent oracles."""
