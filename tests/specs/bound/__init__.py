"""Tests of error bounds, with simulated arithmetic, correct and incorrect."""
