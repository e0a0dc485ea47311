"""Tests of bounds, against simulated arithmetic that is right and that is wrong."""
