"""Backends on which another library computes.

The library's own formulations of attention are in `backends.attention`.
"""
