"""Tests of sessions, run as a user runs them."""
