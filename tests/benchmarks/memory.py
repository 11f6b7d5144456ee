"""What it costs to have large data in other processes: ``python tests/benchmarks/memory.py [rounds] [row ...]``.

Ratios to one plain copy of the same bytes, within one run, interleaved, two workers, warm:

* ``in``: 40 arrays of 8 MB go to workers, a number comes back (goal: at most 1.4);
* ``out``: 40 arrays of 8 MB come back, and are read once (goal: at most 1.4);
* ``constant``: a constant of 200 MB with 64 tasks, in the first call (goal: at most 1.5) and in later ones (at most 0.3);

the same with ``multiprocessing.Pool``, and with joblib and mpire where they are installed. A plain copy is ``numpy.copyto`` into
memory that is there already; the ratio to ``array.copy()``, which asks for fresh memory (huge pages, where the system has them),
is given as well. ``Pool`` has no constants: it gets the array with the function, once for each chunk.

With each row goes the highest memory of the whole tree of processes while it ran, the sum of what is each one's share (PSS), in
multiples of the data.

Rows are functions in ``ROWS``; each returns what to time, the bytes of its data, and the goal.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

import manyhands
from manyhands import parallel_map

ARRAYS, NUMBERS = 40, 1_000_000
LARGE = 25_000_000
TASKS = 64

_made: list[Any] = []


def scalar(array: Any) -> float:
    return float(array[0] + array[-1])


def produced(_: int) -> Any:
    """Give an array that the worker has already: what is timed is its way."""
    if not _made:
        _made.append(np.full(NUMBERS, 1.0))
    return _made[0]


def one_of(index: int, *, table: Any) -> float:
    return float(table[index])


def read(arrays: Any) -> float:
    return sum(float(array.sum()) for array in arrays)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(figures: list[float], unit: str = "") -> str:
    return f"{statistics.median(figures):.2f}{unit} ({min(figures):.2f} to {max(figures):.2f})"


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
    """What the tree holds, bytes, each shared page counted once."""
    total = 0
    for pid in tree():
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                total += next(int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:"))
        except (OSError, StopIteration):
            continue
    return total


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


# who is measured


class Ours:
    """This library. The limit in time keeps every task in a worker, however cheap it is."""

    name = "manyhands"
    options: dict[str, Any] = {"max_workers": 2, "timeout": 600}  # noqa: RUF012 - never changed

    def map(self, function: Any, items: Any) -> Any:
        return parallel_map(function, **self.options).imap(items)

    def with_constant(self, function: Any, items: Any, table: Any) -> Any:
        return parallel_map(function, **self.options).map(items, table=table)

    def close(self) -> None:
        manyhands.shutdown()


class Pool:
    """The standard library."""

    name = "multiprocessing.Pool"

    def __init__(self) -> None:
        self._pool = multiprocessing.get_context("fork").Pool(2)

    def map(self, function: Any, items: Any) -> Any:
        return self._pool.imap(function, items)

    def with_constant(self, function: Any, items: Any, table: Any) -> Any:
        return self._pool.map(partial(function, table=table), items)

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class Joblib:
    """joblib, which writes large arrays into files and maps them."""

    name = "joblib"

    def __init__(self) -> None:
        import joblib

        self._joblib = joblib

    def map(self, function: Any, items: Any) -> Any:
        delayed = self._joblib.delayed(function)
        return self._joblib.Parallel(n_jobs=2)(delayed(item) for item in items)

    def with_constant(self, function: Any, items: Any, table: Any) -> Any:
        delayed = self._joblib.delayed(function)
        return self._joblib.Parallel(n_jobs=2)(delayed(item, table=table) for item in items)

    def close(self) -> None:
        """Its workers go by themselves."""


class Mpire:
    """mpire, whose shared objects are inherited by workers that are forked for them."""

    name = "mpire"

    def __init__(self) -> None:
        from mpire import WorkerPool

        self._make = WorkerPool
        self._pool = WorkerPool(2, keep_alive=True)

    def map(self, function: Any, items: Any) -> Any:
        return self._pool.imap(function, [(item,) for item in items])

    def with_constant(self, function: Any, items: Any, table: Any) -> Any:
        with self._make(2, shared_objects=table) as pool:
            return pool.map(_shared_first, [(function, item) for item in items])

    def close(self) -> None:
        self._pool.terminate()


def _shared_first(table: Any, function: Any, item: Any) -> Any:
    return function(item, table=table)


def contestants() -> list[Any]:
    found: list[Any] = [Ours(), Pool()]
    for name, kind in (("joblib", Joblib), ("mpire", Mpire)):
        if importlib.util.find_spec(name) is not None:
            found.append(kind())
    return found


# rows


class Row:
    """One line of the table.

    Args:
        size: bytes of its data.
        copy: makes one plain copy of them, in memory that is there.
        fresh: makes one in fresh memory.
        run: does the work with one of the contestants.
        goals: what ratio is wanted, in words.
        begin: called before each first call; None: there is no difference between the first and later ones.
    """

    def __init__(
        self, size: int, copy: Callable[[], Any], fresh: Callable[[], Any], run: Callable[[Any], Any], goals: str,
        begin: Callable[[], Any] | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self.copy = copy
        self.fresh = fresh
        self.run = run
        self.goals = goals
        self.begin = begin


def arrays_in() -> Row:
    """Arrays to workers."""
    arrays = [np.random.default_rng(seed).random(NUMBERS) for seed in range(ARRAYS)]
    places = [np.zeros(NUMBERS) for _ in arrays]

    def copy() -> None:
        for place, array in zip(places, arrays, strict=True):
            np.copyto(place, array)

    return Row(
        8 * NUMBERS * ARRAYS, copy, lambda: [array.copy() for array in arrays],
        lambda who: list(who.map(scalar, arrays)), "at most 1.4",
    )  # fmt: skip


def arrays_out() -> Row:
    """Arrays from workers."""
    row = arrays_in()
    row.run = lambda who: read(who.map(produced, range(ARRAYS)))
    return row


def constant() -> Row:
    """A constant."""
    table, place = np.random.default_rng(0).random(LARGE), np.zeros(LARGE)

    def change() -> None:
        table[:] = np.random.default_rng().random(LARGE)

    return Row(
        8 * LARGE, lambda: np.copyto(place, table), table.copy,
        lambda who: list(who.with_constant(one_of, range(TASKS), table)), "first call at most 1.5, later at most 0.3", change,
    )  # fmt: skip


ROWS: dict[str, Callable[[], Row]] = {"in": arrays_in, "out": arrays_out, "constant": constant}


def measure(name: str, row: Row, who: Any, rounds: int) -> None:
    """Print one contestant's line of one row."""
    ratios: dict[str, list[float]] = {}
    before = memory()
    row.run(who)
    with peak() as highest:
        row.run(who)
    if row.begin is not None:
        for _ in range(3):  # warm: other constants of this size have been there before
            row.begin()
            row.run(who)
    row.copy()  # warm, too
    for _ in range(rounds):
        if row.begin is not None:
            row.begin()
            first = seconds(lambda: row.run(who))
            copy, fresh = seconds(row.copy), seconds(row.fresh)
            ratios.setdefault("first call", []).append(first / copy)
            ratios.setdefault("first call, fresh", []).append(first / fresh)
        else:
            copy, fresh = seconds(row.copy), seconds(row.fresh)
        again = seconds(lambda: row.run(who))
        ratios.setdefault("", []).append(again / copy)
        ratios.setdefault("fresh", []).append(again / fresh)
    print(
        f"{name}, {who.name}: ",
        "; ".join(f"{what} {spread(found)}".strip() for what, found in ratios.items()),
    )
    print(
        f"    peak {highest[0] / row.size:.2f} times the data, {before / row.size:.2f} before ({row.goals})"
    )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for name in sys.argv[2:] or ROWS:
        row = ROWS[name]()
        for who in contestants():
            try:
                measure(name, row, who, rounds)
            finally:
                who.close()


if __name__ == "__main__":
    main()
