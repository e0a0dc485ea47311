"""Fuzzing: generated cases, run on every backend, and shrunk to the smallest that fails.

    equations, attentions   hypothesis strategies for configs, built from the project's own grammar and models
    examples                a seed and an index become a config; a config that fails becomes a smaller one
    writing                 a config becomes the text of a case file
    search                  runs the checks of an example and reports new failures
    session                 pytest plugin: `--fuzz N` in place of the case files

Only `--fuzz` needs hypothesis; `session` and `writing` can be imported without it.  `runner` hands its plan to a search
and is not imported here; all verdicts come from `specs`.
"""
