"""A check as a program of its own, which needs only its framework.

tracing       a backend's own code, written down as the calls that it makes
expressions   values as text
lines         a program's lines, and which of them are needed
program       such a trace with its operands and with what is right
"""
