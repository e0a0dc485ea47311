"""The floating-point environment of this thread: how it rounds, and whether it keeps subnormal numbers.

Everything here is computed in the standard environment of IEEE 754: to nearest, with subnormal numbers.  A library may
leave another one behind (`torch.set_flush_denormal`, whatever is linked with `-ffast-math`).  In that one references
would be wrong, and wrong results right.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

# Of variables, because Python computes with constants before it runs
ONE, HALF = 1.0, 0.5
SMALLEST_NORMAL, SUBNORMAL = 2.0**-1022, 2.0**-1074
BELOW_HALF, ABOVE_HALF = 2.0**-54, 3 * 2.0**-54  # in units of the last place of 1: a quarter and three quarters
LARGEST = 1024  # bytes that a `fenv_t` has, at most; glibc's has 32, musl's 28, macOS's 16


def find_change() -> str | None:
    """What is not standard in the environment of this thread; None if it is standard.  Takes half a microsecond."""
    if ONE + BELOW_HALF != ONE or ONE + ABOVE_HALF == ONE:
        return "it does not round to nearest"
    if SUBNORMAL * ONE == 0 or SMALLEST_NORMAL * HALF == 0:
        return "subnormal numbers are taken for zero"
    return None


def restore() -> str | None:
    """Put the standard environment back; what was not standard, None if all was."""
    change = find_change()
    if change and _STANDARD:
        _C.fesetenv(_STANDARD)
    return change


def _keep() -> ctypes.Array[ctypes.c_char] | None:
    """The present environment, for C's `fesetenv`; None where it is not standard, or C's library cannot be called."""
    environment = ctypes.create_string_buffer(LARGEST)
    with suppress(AttributeError):  # of None, or of a library without the function
        if not find_change() and _C.fegetenv(environment) == 0:
            return environment
    return None


def _library() -> Any:
    with suppress(OSError, TypeError):  # TypeError: on Windows
        return ctypes.CDLL(None)
    return None


_C = _library()
_STANDARD = _keep()
