"""A check as a program of its own, which needs only its framework.

How a backend computes is found out here and stated nowhere a second time, and what is right comes from `specs`.

program       the whole: its text, made of the parts that follow
dialects      a framework's tensors as text, and the operands by that
calls         what a backend does for a check
expectation   what is right, and the lowest and the highest that is accepted, of every number
comparison    a result held against that
tracing       a backend's own code, written down as the calls that it makes
operators     of Python's, those that tensors have
expressions   values as text
lines         a program's lines, and which of them are needed
"""
