"""How the commands of the suite (`python -m specs`, `backends`, `reports`, `runner`) end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

OUTPUT_CLOSED = 141  # what a shell says of a program that SIGPIPE ended


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Exit with the status that `main` returns, and without a word if the reader of its output has left (`| head`)."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        status = OUTPUT_CLOSED
    sys.exit(status)
