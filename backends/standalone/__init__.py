"""A check as a program of its own, which needs only its framework.

tracing   a backend's own code, written down as the calls that it makes
program   such a trace with its operands and with what is right
"""
