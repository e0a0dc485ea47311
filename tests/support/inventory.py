"""Fill an inventory with findings about adapters that are examined in one process, instead of one for each.

python -m tests.support.inventory CACHE CASE-FILE ADAPTER…
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from backends.discovery import inventory
from backends.discovery.inventory import Finding


def examine(name: str, case_files: Sequence[str], timeout: float) -> Finding:
    return inventory.examine(name, list(map(Path, case_files)))


def main(cache: str, case_file: str, *adapters: str) -> None:
    inventory._probe_in_process = examine
    inventory.probe([Path(file).stem for file in adapters], adapters, Path(cache), case_files=[Path(case_file)])


if __name__ == "__main__":
    main(*sys.argv[1:])
