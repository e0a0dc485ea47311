"""A name that nothing has ends a session before it begins, with the nearest that there is; so do options that exclude
each other.
"""

from __future__ import annotations

import pytest

from tests.support.project import Project


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--backend=rihgt", "*--backend rihgt: unknown (did you mean right?); known: *right*"),
        ("--require=rihgt", "*--require rihgt: unknown (did you mean right?); known: *right*all*"),
        ("--require=numpy", "ERROR: --require numpy: --backend right leaves out numpy"),
        ("--require=all", "ERROR: --require all: --backend right leaves out jax, numpy, tensorflow, torch"),
        ("--device=cuda:9", "*--device cuda:9: unknown; known: cpu"),
        ("--dtype=float23", "*--dtype float23: unknown (did you mean float32?)*"),
        ("--mode=lazy", "*--mode lazy: unknown*eager, jit*"),
        ("--implementation=einsun", "*--implementation einsun: unknown (did you mean einsum?)*"),
        ("--direction=back", "*--direction back: unknown; known: forward, grad"),
        ("--max-memory=lots", "*argument --max-memory: 'lots' is not a number of GiB greater than 0"),
        ("--max-memory=nan", "*argument --max-memory: 'nan' is not a number of GiB greater than 0"),
        ("--fuzz=0", "*argument --fuzz: '0' is not a whole number greater than 0"),
        ("--fuzz=few", "*argument --fuzz: 'few' is not a whole number greater than 0"),
        ("--fuzz-seed=x", "*argument --fuzz-seed: 'x' is not a whole number"),
        ("--timeout=-1", "ERROR: --timeout -1: this is not a number of seconds from 0 (no limit) to 1e+07"),
        ("--timeout=inf", "ERROR: --timeout inf: this is not a number of seconds from 0 (no limit) to 1e+07"),
        ("--timeout=nan", "ERROR: --timeout nan: this is not a number of seconds from 0 (no limit) to 1e+07"),
        ("--adapter=nowhere.py", "*--adapter *nowhere.py: there is no such file"),
    ],
)
def test_unknown_names_are_refused(project: Project, argument: str, message: str) -> None:
    result = project.run("right", argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
