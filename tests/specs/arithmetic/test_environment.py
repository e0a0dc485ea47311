"""A floating-point environment that a library left behind is named, and put back."""

import ctypes
import platform
from collections.abc import Callable

import pytest

from specs.arithmetic import environment

ROUNDING = {"x86_64": {"down": 0x400, "up": 0x800, "zero": 0xC00}}  # for fesetround
FLUSH_RESULTS, FLUSH_OPERANDS = 0x8000, 0x40  # bits of MXCSR, the eighth number of glibc's fenv_t


def set_rounding(mode: str) -> None:
    ctypes.CDLL(None).fesetround(ROUNDING[platform.machine()][mode])


def set_flags(flags: int) -> None:
    state, c = (ctypes.c_uint32 * 64)(), ctypes.CDLL(None)
    c.fegetenv(state)
    state[7] |= flags
    c.fesetenv(state)


@pytest.mark.skipif(platform.machine() not in ROUNDING, reason="the numbers are those of x86")
@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        (set_rounding, "down", "it does not round to nearest"),
        (set_rounding, "up", "it does not round to nearest"),
        (set_rounding, "zero", "it does not round to nearest"),
        (set_flags, FLUSH_RESULTS, "subnormal numbers are taken for zero"),
        (set_flags, FLUSH_OPERANDS, "subnormal numbers are taken for zero"),
        (set_flags, FLUSH_RESULTS | FLUSH_OPERANDS, "subnormal numbers are taken for zero"),
    ],
)
def test_what_is_not_standard_is_named_and_put_back(
    change: Callable[[object], None], value: object, message: str
) -> None:
    change(value)
    restored = environment.restore()  # before anything else computes in it
    assert restored == message
    assert environment.find_change() is None


def test_the_standard_environment_is_left_alone() -> None:
    assert environment.restore() is None
