"""Workers that are set up once, replaced after some tasks, and limited in memory."""

import os
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

from manyhands import parallel_map

opened: list[sqlite3.Connection] = []


def connect(path: str) -> None:
    """Open the database: once in each worker."""
    opened.append(sqlite3.connect(path))


def population(name: str) -> tuple[int, int, int]:
    """Return how many people live in a city, who has looked it up, and how many connections there are in that process."""
    ((number,),) = opened[0].execute("SELECT people FROM cities WHERE name = ?", [name])
    return number, os.getpid(), len(opened)


def reserve(megabytes: int) -> int:
    """Return how many bytes were asked for, if they could be had."""
    return len(bytearray(megabytes * 10**6))


with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder, "cities.db"))
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE cities (name TEXT PRIMARY KEY, people INTEGER)")
        database.executemany(
            "INSERT INTO cities VALUES (?, ?)", [(f"city {n}", 1_000 * n) for n in range(40)]
        )
    database.close()
    names = [f"city {n}" for n in range(40)]

    # Set up once in each worker. No task runs in this process, which has not opened anything.
    looking = parallel_map(population, max_workers=2, initializer=connect, initargs=(path,))
    found = looking.map(names)
    print("people:", sum(people for people, _, _ in found))
    print("connections in each worker:", {connections for *_, connections in found})
    print("opened here:", len(opened))

    # A worker is replaced after five tasks, however they travel: for libraries that never give back what they take.
    replaced = looking.options(max_tasks_per_child=5).map(names)
    tasks = Counter(pid for _, pid, _ in replaced)
    print("no worker has done more than five:", max(tasks.values()) <= 5)

# No worker gets more than so much memory. The task that wants more fails, and the worker goes on.
limited = parallel_map(reserve, memory_limit="500 MB", on_error="collect")
results = limited.map([1, 10, 2_000, 100])
print("reserved:", results.values)
print("failed:", [(failure.item, type(failure.exception).__name__) for failure in results.errors])
