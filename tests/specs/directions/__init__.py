"""Tests of directions: what of a case is computed and compared."""
