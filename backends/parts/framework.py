"""The modules of a framework by name, as backends and formulations receive them.

Code that computes never imports a framework itself: it takes the modules from the `Framework` that it was created
with.  So it can also run on stand-ins that record how they are called (`backends.standalone.tracing`).
"""

from __future__ import annotations

import importlib
from typing import Any


class Framework:
    """Modules by their full names, each imported on first access: `framework["torch.nn.attention"]`."""

    def __getitem__(self, module: str) -> Any:
        return importlib.import_module(module)


INSTALLED = Framework()
