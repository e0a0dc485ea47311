"""Examples are the same in every process, and shrink to the smallest config that fails."""

from __future__ import annotations

import subprocess
import sys
import time

from fuzzing.examples import make_example, shrink
from fuzzing.writing import case_name
from specs.case.attention import AttentionConfig
from specs.case.case import Config
from specs.case.einsum import EinsumConfig

FLOATS = ("float32", "float16")
NAMES = """
from fuzzing.examples import make_example
from fuzzing.writing import case_name
print(*(case_name(make_example(7, index, ("float32", "float16"))) for index in (19, 4, 5)))
"""


def soon() -> float:
    return time.monotonic() + 30


def has_a_three(config: Config) -> bool:
    return isinstance(config, EinsumConfig) and any(3 in shape for shape in config.shapes or [])


def test_an_example_does_not_depend_on_the_process_or_on_those_before_it() -> None:
    elsewhere = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.split() == [case_name(make_example(7, index, FLOATS)) for index in (19, 4, 5)]


def test_other_seeds_give_other_examples() -> None:
    assert len({case_name(make_example(seed, 4, FLOATS)) for seed in range(10)}) > 8


def test_a_failing_einsum_shrinks_to_the_smallest_that_fails() -> None:
    index = next(index for index in range(0, 100, 2) if has_a_three(make_example(1, index, FLOATS)))
    smallest = shrink(1, index, FLOATS, has_a_three, soon())
    assert isinstance(smallest, EinsumConfig)
    assert smallest.model_dump(exclude_unset=True) == {
        "equation": "i->",
        "shapes": [[3]],
        "dtypes": ["float32"],
        "seed": 0,
    }


def test_a_failing_attention_shrinks_to_the_smallest_that_fails() -> None:
    def capped(config: Config) -> bool:
        return isinstance(config, AttentionConfig) and config.softcap is not None

    index = next(index for index in range(1, 200, 2) if capped(make_example(1, index, FLOATS)))
    smallest = shrink(1, index, FLOATS, capped, soon())
    assert smallest is not None
    assert smallest.model_dump(exclude_unset=True) == {
        "q_len": 1,
        "head_dim": 1,
        "softcap": 1.0,
        "dtypes": ["float32"],
        "seed": 0,
    }


def test_what_does_not_fail_again_is_not_shrunk() -> None:
    assert shrink(1, 0, FLOATS, lambda config: False, soon()) is None


def test_shrinking_ends_in_time_with_the_smallest_so_far() -> None:
    times: list[float] = []

    def slow(config: Config) -> bool:
        times.append(time.monotonic())
        time.sleep(0.05)
        return has_a_three(config)

    index = next(index for index in range(0, 100, 2) if has_a_three(make_example(1, index, FLOATS)))
    deadline = time.monotonic() + 0.5
    smallest = shrink(1, index, FLOATS, slow, deadline)
    assert smallest is not None
    assert has_a_three(smallest)
    assert max(times) < deadline
