"""Benchmarks: `python tests/benchmarks`.

The first table holds, for each kind of work and each competitor, the speed against the plain loop (2 is twice as
fast), once the pool is warm and for the first call in the life of a process; for tiny inputs, the microseconds
added. The second table holds everything else. Nothing here fails because a figure is bad: it is printed beside its
bar. How a row is measured is told at the head of `measure.py`, how rounds are run at the head of `fresh.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from adapters import ADAPTERS
from fresh import Plan, use_cores
from probes import PROBES, WORKERS
from report import machine, render
from rows import ROWS
from work import calibrate


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python tests/benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how often each is run in a fresh process (4; with --quick 1)"
    )
    parser.add_argument("--rows", nargs="*", choices=ROWS, metavar="ROW", help="of: " + ", ".join(ROWS))
    parser.add_argument(
        "--probes", nargs="*", choices=PROBES, metavar="PROBE", help="of: " + ", ".join(PROBES)
    )
    parser.add_argument(
        "--competitors",
        nargs="+",
        choices=ADAPTERS,
        default=[name for name, adapter in ADAPTERS.items() if not adapter.optional],
        metavar="NAME",
        help="of: " + ", ".join(ADAPTERS),
    )
    parser.add_argument(
        "--quick", action="store_true", help="about two minutes: one round, few runs, no spread"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write every result of every round to FILE"
    )
    parser.add_argument("--markdown", action="store_true", help="print tables for docs/benchmarks.md")
    options = parser.parse_args(given)
    # Naming rows without probes, or probes without rows, asks for those alone.
    if options.rows is None:
        options.rows = list(ROWS) if options.probes is None else []
        options.probes = list(PROBES) if options.probes is None else options.probes
    options.probes = options.probes or []
    options.rounds = options.rounds or (1 if options.quick else 4)
    return options


def main() -> None:
    """Run what the command line asks for; print the report."""
    options = arguments()
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start:5.0f} s] {text}", file=sys.stderr, flush=True)

    cores = use_cores(WORKERS)
    plan = Plan(
        options.rows,
        options.probes,
        options.competitors,
        options.rounds,
        WORKERS,
        calibrate(),
        options.quick,
        say,
    )
    rows, probes = plan.run()
    heading = [
        *machine(cores, options.competitors),
        f"{WORKERS} workers, {options.rounds} rounds in {time.perf_counter() - start:.0f} s: median (least–greatest)",
    ]
    if options.json:
        raw = {"heading": heading, "rate": plan.rate, "rows": rows, "probes": probes}
        options.json.write_text(json.dumps(raw, indent=1) + "\n")
    print(render(rows, probes, heading, markdown=options.markdown))


if __name__ == "__main__":
    main()
