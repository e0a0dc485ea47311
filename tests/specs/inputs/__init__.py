"""Tests of operands."""
