"""Tests of formats, double-double and promotion."""
