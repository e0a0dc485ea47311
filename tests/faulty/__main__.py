"""Which faults a tier catches, which checks catch them, and how the suite's verdict compares with other policies.

python -m tests.faulty [--tier TIER] [--all] [FAULT ...]  fault × caught, by the checks of a tier (default: standard);
                                                          exit code 1 if it misses one that full catches
python -m tests.faulty --named [--all] [FAULT ...]        each fault with the checks that it names; 1 if one misses it
python -m tests.faulty --correct N                        false alarms on right backends, N sets of inputs each
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from runner.tiers import DEFAULT, TIERS, Tier
from tests.faulty.detection import OURS, Count, count_refusals_of_correct_backends, count_refusals_of_faults
from tests.faulty.fault import Fault, run_named_checks
from tests.faulty.faults import FAULTS
from tests.faulty.planting import Planting, make_planting
from tests.faulty.plantings import PLANTINGS
from tests.faulty.policies import POLICIES
from tests.faulty.tier_detection import detect

COLUMNS = (OURS, *POLICIES)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faulty", description="Which checks catch which fault.")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="only these (default: all)")
    parser.add_argument("--tier", choices=TIERS, default=DEFAULT, help="whose checks are to catch them (%(default)s)")
    parser.add_argument("--named", action="store_true", help="the checks that a fault names, and other policies")
    parser.add_argument("--all", action="store_true", help="count all checks that catch it, instead of finding one")
    parser.add_argument("--correct", type=int, metavar="N", help="count false alarms instead: N inputs for each check")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    options = parser.parse_args(arguments)
    if unknown := set(options.faults) - {fault.name for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if options.correct:
        return print_false_alarms(options.correct, options.jobs)
    faults = [fault for fault in FAULTS if not options.faults or fault.name in options.faults]
    if not options.named:
        plantings = [make_planting(fault, "numpy * * * *") for fault in faults]
        plantings += [planting for planting in PLANTINGS if planting.fault in faults]
        return print_detections(plantings, options.tier, options.all)
    missed = sum(print_named_checks(fault) for fault in faults)
    print()
    counts = count_refusals_of_faults([fault.name for fault in faults], options.all, options.jobs)
    print_table(counts, "refused, of the trials it changes")
    print(f"{len(faults)} faults, {sum(len(fault.caught_by) for fault in faults)} named checks, {missed} missed")
    return 1 if missed else 0


def print_detections(plantings: Sequence[Planting], tier: Tier, all_checks: bool) -> int:
    """Print for each planted fault whether a tier catches it; return 1 if it misses one that full catches."""
    caught = missed = 0
    print(f"{'fault':<40}{'backend, implementation, mode, dtype, direction':<54}{tier:<8}{'checks':>8}  first")
    for planting in plantings:
        found = detect(planting, tier, all_checks)
        verdict = "caught" if found.caught_by else "MISSED" if found.missed else "-"
        first = found.caught_by[0] if found.caught_by else found.left_out
        row = f"{planting.fault.name:<40}{planting.describe_place():<54}{verdict:<8}"
        print(f"{row}{len(found.caught_by):>4}/{found.ran:<3}  {first.name if first else ''}", flush=True)
        caught += bool(found.caught_by)
        missed += found.missed
    undetectable = len(plantings) - caught - missed
    print(f"{caught} of {len(plantings)} faults caught by {tier}, {missed} only by full, {undetectable} by neither")
    return 1 if missed else 0


def print_named_checks(fault: Fault) -> int:
    """Print the outcome of each named check, with the error as a multiple of the bound; return how many missed."""
    print(f"{fault.name}: {fault.mistake}")
    missed = 0
    for name, finding, record in run_named_checks(fault):
        is_caught = record.verdict == "fail" and finding in record.reason
        ratio = record.measurement.error_ratio
        ratio_column = f"{'':>9}" if ratio is None else f"{ratio:9.3g}"
        print(f"  {'caught' if is_caught else 'MISSED'} {ratio_column}  {name}: {record.reason or record.verdict}")
        missed += not is_caught
    return missed


def print_false_alarms(repetitions: int, jobs: int) -> int:
    """Print how often each policy refuses a right backend; return 1 if the suite ever does."""
    total = print_table(count_refusals_of_correct_backends(repetitions, jobs), "right results refused")
    return 1 if total.refused[OURS] else 0


def print_table(counts: Iterable[Count], title: str) -> Count:
    """Print a row for each count, and one for their sum, which is returned."""
    total = Count("all", 0, Counter())
    print(f"{title:<44}{'trials':>8}" + "".join(f"{name:>15}" for name in COLUMNS))
    for count in counts:
        total = replace(total + count, name="all")
        print(_row(count), flush=True)
    print(_row(total))
    return total


def _row(count: Count) -> str:
    shares = (f"{count.refused[name] / count.trials:15.2%}" if count.trials else f"{'-':>15}" for name in COLUMNS)
    name = count.name if len(count.name) < 44 else f"{count.name[:41]}..."
    return f"{name:<44}{count.trials:>8}" + "".join(shares)


if __name__ == "__main__":
    sys.exit(main())
