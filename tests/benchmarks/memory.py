"""What it costs to have large data in other processes: ``python tests/benchmarks/memory.py [rounds] [--rows ...] [--who ...]``.

Ratios to one plain copy of the same bytes, interleaved, two workers, warm:

* ``in``: 40 arrays of 8 MB go to workers, a number comes back (goal: at most 1.4);
* ``out``: 40 arrays of 8 MB come back, and are read once (goal: at most 1.4);
* ``constant``: a constant of 200 MB with 64 tasks, in the first call after it has changed (goal: at most 1.5), in the second, and
  in later ones (goal: at most 0.3);
* ``shared``: 40 arrays of 8 MB that processes share, a number comes back (goal: at most 0.05 fresh copies); sharing
  them is not timed.

The same with ``multiprocessing.Pool``, and with joblib, mpire and ray where they are installed (``large``). A plain copy is
``numpy.copyto`` into memory that is there already; the ratio to ``array.copy()``, which asks for fresh memory (huge pages, where
the system has them), is given as well.

Each row is run for each of them in a process of its own, so that nobody finds what another has left. With it goes the memory
of the whole tree of processes: before the first call, when the data and the workers are there, and the highest during the first
call and during the next. The data itself is given apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from fresh import run_fresh
from large import CARRIERS, NUMBERS, Carrier, one_of, produced, scalar
from measure import report

if TYPE_CHECKING:
    from measure import Result

ARRAYS = 40
LARGE = 25_000_000
TASKS = 64
TIME_LIMIT = 600.0


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# memory of the tree


def tree() -> list[int]:
    """This process, its children, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:  # it has ended
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found


def memory() -> int:
    """What the tree holds, bytes, each page counted once: its own and its files' by share (PSS), and shared memory.

    Shared memory is there without being mapped by anybody: all of that counts which is behind a descriptor of the tree, and
    what is in the system's folder for it.
    """
    own = mapped = 0
    files: dict[int, int] = {}
    for pid in tree():
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                shares = {
                    name: int(rest.split()[0]) << 10 for name, _, rest in map(_split, file) if b"Pss" in name
                }
            own += shares[b"Pss_Anon"] + shares[b"Pss_File"]
            mapped += shares[b"Pss_Shmem"]
            for entry in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{entry}"
                if os.readlink(path).startswith("/memfd:"):
                    about = os.stat(path)
                    files[about.st_ino] = about.st_blocks * 512
        except (OSError, KeyError):  # it has ended
            continue
    folder = os.statvfs("/dev/shm")
    return own + max(mapped, sum(files.values()) + (folder.f_blocks - folder.f_bfree) * folder.f_frsize)


def _split(text: bytes) -> tuple[bytes, bytes, bytes]:
    return text.partition(b":")


@contextmanager
def peak() -> Iterator[list[int]]:
    """While this lasts, look at the memory of the tree; the highest is then in the list."""
    highest, over = [memory()], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            highest[0] = max(highest[0], memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()


# rows


class Row:
    """One line of the table: arrays of 8 MB."""

    goals: ClassVar[str] = "at most 1.4"
    #: The first call with new data differs from later ones.
    first_differs: ClassVar[bool] = False

    def __init__(self) -> None:
        self.arrays = [np.random.default_rng(seed).random(NUMBERS) for seed in range(ARRAYS)]
        self._places: list[Any] = []

    @property
    def size(self) -> int:
        """Bytes of the data."""
        return sum(array.nbytes for array in self.arrays)

    def prepare(self, who: Carrier) -> None:
        """Do what is no part of a call."""

    def change(self) -> None:
        """Have the next call find other data."""

    def run(self, who: Carrier) -> None:
        raise NotImplementedError

    def copy(self) -> None:
        """Make a plain copy, in memory that is there from the second time on."""
        self._places = self._places or [np.zeros_like(array) for array in self.arrays]
        for place, array in zip(self._places, self.arrays, strict=True):
            np.copyto(place, array)

    def fresh(self) -> None:
        """Make one in fresh memory."""
        [array.copy() for array in self.arrays]


class In(Row):
    """Arrays to workers."""

    def run(self, who: Carrier) -> None:
        assert list(who.imap(scalar, self.arrays)) == [scalar(array) for array in self.arrays]


class Out(Row):
    """Arrays from workers."""

    def run(self, who: Carrier) -> None:
        total = sum(float(array.sum()) for array in who.imap(produced, range(ARRAYS)))
        assert total == ARRAYS * NUMBERS


class Constant(Row):
    """A constant."""

    goals = "first call at most 1.5, later at most 0.3"
    first_differs = True

    def __init__(self) -> None:
        super().__init__()
        self.arrays = [np.random.default_rng(0).random(LARGE)]
        self._changed = True

    def change(self) -> None:
        np.random.default_rng().random(out=self.arrays[0])
        self._changed = True

    def run(self, who: Carrier) -> None:
        (table,) = self.arrays
        found = list(who.with_constant(one_of, range(TASKS), table, changed=self._changed))
        self._changed = False
        assert found == table[:TASKS].tolist()


class Shared(Row):
    """Arrays that are shared."""

    goals = "at most 0.05 fresh copies"

    def prepare(self, who: Carrier) -> None:
        self._shared = who.share(self.arrays)

    def run(self, who: Carrier) -> None:
        assert list(who.over(self._shared)) == [scalar(array) for array in self.arrays]


ROWS: dict[str, type[Row]] = {"in": In, "out": Out, "constant": Constant, "shared": Shared}


def measure(name: str, carrier: str, rounds: str) -> Result:
    """Measure one of the libraries on one row, in a process that does nothing else."""
    who = CARRIERS[carrier](2)
    who.load()
    row = ROWS[name]()
    who.setup()
    try:
        list(who.imap(scalar, [np.zeros(1)] * 20))  # all workers are there
        row.prepare(who)
        held = {"data": row.size, "before": memory()}
        for which in ("first", "next"):
            with peak() as highest:
                row.run(who)
            held[which] = highest[0]
        return {"status": "ok", "held": held, "ratios": ratios(row, who, int(rounds))}
    finally:
        who.teardown()


def ratios(row: Row, who: Carrier, rounds: int) -> dict[str, list[float]]:
    """Return how many times as long as a copy a call takes."""
    found: dict[str, list[float]] = {}
    if row.first_differs:
        for _ in range(3):  # warm: other constants of this size have been there before
            row.change()
            row.run(who)
    row.copy()  # warm, too
    for _ in range(rounds):
        calls = []
        if row.first_differs:
            row.change()
            calls.append(("first call", seconds(lambda: row.run(who))))
        copy, fresh = seconds(row.copy), seconds(row.fresh)
        if row.first_differs:
            calls.append(("second call", seconds(lambda: row.run(who))))
            calls += [("later", seconds(lambda: row.run(who))) for _ in range(3)]
        else:
            calls.append(("", seconds(lambda: row.run(who))))
        for which, taken in calls:
            found.setdefault(f"{which} copies".strip(), []).append(taken / copy)
            found.setdefault(f"{which} fresh copies".strip(), []).append(taken / fresh)
    return found


def line(name: str, carrier: str, result: Result) -> str:
    """Return what to print of a result."""
    head = f"{name}, {CARRIERS[carrier].title}: "
    if result["status"] != "ok":
        return f"{head}{result['status']} ({result['detail']})"
    figures = "; ".join(
        f"{statistics.median(each):.3g} ({min(each):.3g} to {max(each):.3g}) {which}"
        for which, each in result["ratios"].items()
    )
    held = {what: f"{size / 1e6:,.0f} MB" for what, size in result["held"].items()}
    return (
        f"{head}{figures}\n    data {held['data']}; all processes {held['before']} before, "
        f"at most {held['first']} in the first call, {held['next']} in the next"
    )


def main() -> None:
    parser = argparse.ArgumentParser("memory.py", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=5, help="how often each call is timed (5)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--who", nargs="+", choices=CARRIERS, default=list(CARRIERS), metavar="NAME")
    options = parser.parse_args()
    for name in options.rows:
        print(f"{name}: goal {ROWS[name].goals}")
        for carrier in options.who:
            job = ["--one", name, carrier, str(options.rounds)]
            print(line(name, carrier, run_fresh(job, Path(__file__), TIME_LIMIT)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        report(measure, *sys.argv[2:])
    else:
        main()
