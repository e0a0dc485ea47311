"""A check as a stand-alone program, which needs only its framework.

The calls are recorded from the backend itself, so they are not stated a second time; expected values come from `specs`.

program       the text of the whole program, made from the following parts
arrays        the lines that make the operands
calls         the calls that a backend makes for a check
expectation   for every number the expected value, and the lowest and the highest that is accepted
comparison    the lines that compare results with those
tracing       recording the calls that a backend's code makes
operators     the Python operators that tensors have
expressions   values as text
lines         a program's lines, and which of them are needed
"""
