"""The pytest side: options, what a session runs and in which order, crashes, and the hand-over to reports.

What a check computes, and whether it is right, is for `specs`; `conftest.py` names which of these files pytest loads.
"""
