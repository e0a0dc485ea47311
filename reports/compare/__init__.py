"""What changed between two runs, above all between two versions of a framework.

Modules, each building on those before it:

    outcome     what the framework did in a check, read from its record
    change      two records of one check: what differs, and whether for the worse
    shift       a group of checks: how bits, errors and seconds changed as a whole
    model       the comparison, as data
    runs        compares two runs
    sections    the comparison in words, the most important question first
    text, markdown, page    the sections on a terminal, in a pull request, in a browser

`command` is the command line; `reports.baseline` compares at the end of a session.
"""
