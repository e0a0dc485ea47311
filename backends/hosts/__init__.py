"""Backends on which another library computes.

The library's own formulations of attention stand in `backends.attention`.
"""
