"""Tests of comparison, deviations and verdicts."""
