"""Tests of what people look at, in a real browser where it is a page."""
