"""Cases that nobody thought of: generated, run on every backend, and shrunk to the smallest that fails.

    equations, attentions   hypothesis strategies of what a case can say, from the project's own grammar and models
    examples                a seed and a number become a config; a config that fails becomes a smaller one
    writing                 a config becomes the text of a case file
    search                  an example's checks, what they found, and whether that was found before
    session                 pytest plugin: `--fuzz N` in place of the case files

hypothesis is needed for `--fuzz` alone, so only `session` and `writing` can be imported without it.  What a session
runs is handed to a search: nothing of `runner` is imported here, and no verdict is made that `specs` does not make.
"""
