"""Tests of the suite itself, in the same rooms as the suite."""
