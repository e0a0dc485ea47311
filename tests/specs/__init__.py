"""Tests of what is computed and of what counts as right, room by room."""
