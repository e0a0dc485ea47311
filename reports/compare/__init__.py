"""What changed between two runs, above all between two versions of a framework.

Rooms that build on each other:

    outcome     what a record says that its framework did
    change      two records of one check: what is different, and whether for the worse
    shift       a group of checks: how bits, errors and seconds moved as a whole
    model       the answer, as data
    runs        two runs become the answer
    sections    the answer in words, in the order in which one asks
    text, markdown, page    the words on a terminal, in a pull request, in a browser

`command` is the command line, and `reports.baseline` the same at the end of a session.
"""
