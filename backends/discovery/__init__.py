"""Which backends there are, and what each of them has on this machine.

What a backend computes is for the files beside this folder.
"""
