"""Backends that are wrong on purpose, and the checks that must catch them."""
