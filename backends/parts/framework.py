"""A framework's modules by name, as a backend and its formulations are given them.

Nothing that computes imports a framework by itself: it takes the modules from what it was made with.  So the same code
can be run with others in their place, which write down how they are called (`backends.standalone.tracing`).
"""

from __future__ import annotations

import importlib
from typing import Any


class Framework:
    """Modules by their full names, each imported when it is first asked for: `framework["torch.nn.attention"]`."""

    def __getitem__(self, module: str) -> Any:
        return importlib.import_module(module)


INSTALLED = Framework()
