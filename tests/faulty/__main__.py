"""`python -m tests.faulty [--all] [FAULT ...]`: each fault and what catches it; exit code 1 if a check misses it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from backends.numpy import Numpy
from specs.check import Place, checks
from specs.loading import discover
from tests.faulty.fault import ROOT, Fault, cases_of, caught, verdict_on
from tests.faulty.faults import FAULTS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faulty", description="Which checks catch which fault.")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="only these (default: all)")
    parser.add_argument("--all", action="store_true", help="try every check that NumPy has, and count by case file")
    options = parser.parse_args(arguments)
    if unknown := set(options.faults) - {fault.name for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    chosen = [fault for fault in FAULTS if not options.faults or fault.name in options.faults]
    missed = sum(named(fault) for fault in chosen)
    if options.all:
        counted(chosen)
    print(f"{len(chosen)} faults, {sum(len(fault.caught_by) for fault in chosen)} named checks, {missed} missed")
    return 1 if missed else 0


def named(fault: Fault) -> int:
    """Print what the named checks found, the error as a multiple of the bound; how many missed the fault."""
    print(f"{fault.name}: {fault.mistake}")
    missed = 0
    for name, finding, record in caught(fault):
        hit = record.verdict == "fail" and finding in record.reason
        ratio = record.measurement.error_ratio
        found = f"{'':>9}" if ratio is None else f"{ratio:9.3g}"
        print(f"  {'caught' if hit else 'MISSED'} {found}  {name}: {record.reason or record.verdict}")
        missed += not hit
    return missed


def counted(faults: Sequence[Fault]) -> None:
    """Print of each case file how many of the checks that NumPy passes catch each fault."""
    right, wrong = Numpy(), {fault.name: fault.backend() for fault in faults}
    place = Place(
        "numpy", "cpu", Numpy.implementations, ("eager",), on_request=Numpy.on_request, distinct=Numpy.distinct
    )
    hits: dict[str, Counter[str]] = {name: Counter() for name in wrong}
    tried: Counter[str] = Counter()
    for file in discover([], ROOT):
        topic = file.relative_to(ROOT / "cases").with_suffix("").as_posix()
        for check in (check for case in cases_of(file).values() for check in checks(case, [place])):
            if verdict_on(right, check).verdict != "pass":
                continue
            tried[topic] += 1
            for name, backend in wrong.items():
                hits[name][topic] += verdict_on(backend, check).verdict != "pass"
    for name, by_topic in hits.items():
        told = ", ".join(f"{topic} {count}/{tried[topic]}" for topic, count in by_topic.items() if count)
        print(f"{name}: {by_topic.total()} of {tried.total()}: {told or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
