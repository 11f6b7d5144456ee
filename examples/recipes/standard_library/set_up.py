"""Workers that are set up once, replaced after some tasks, and limited in memory."""

import multiprocessing
import os
import resource
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

opened: list[sqlite3.Connection] = []


def connect(path: str) -> None:
    """Open the database: once in each worker."""
    opened.append(sqlite3.connect(path))


def limit(size: int) -> None:
    """Let this worker have so many bytes; there is no option for that, and this works on Linux."""
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def population(name: str) -> tuple[int, int, int]:
    """Return how many people live in a city, who has looked it up, and how many connections there are in that process."""
    ((number,),) = opened[0].execute("SELECT people FROM cities WHERE name = ?", [name])
    return number, os.getpid(), len(opened)


def reserve(megabytes: int) -> int:
    """Return how many bytes were asked for, if they could be had."""
    return len(bytearray(megabytes * 10**6))


def main() -> None:
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

        with multiprocessing.Pool(2, connect, (path,)) as pool:
            found = pool.map(population, names)
        print("people:", sum(people for people, _, _ in found))
        print("connections in each worker:", {connections for *_, connections in found})
        print("opened here:", len(opened))

        # For the pool a task is a chunk: without chunksize=1 it would be five times as many calls as one thinks.
        with multiprocessing.Pool(2, connect, (path,), maxtasksperchild=5) as pool:
            replaced = pool.map(population, names, chunksize=1)
        tasks = Counter(pid for _, pid, _ in replaced)
        print("no worker has done more than five:", max(tasks.values()) <= 5)

    with multiprocessing.Pool(2, limit, (500 * 10**6,)) as pool:
        outcomes = {size: pool.apply_async(reserve, (size,)) for size in (1, 10, 2_000, 100)}
        reserved, failed = [], []
        for size, outcome in outcomes.items():
            try:
                reserved.append(outcome.get())
            except MemoryError as error:
                failed.append((size, type(error).__name__))
    print("reserved:", reserved)
    print("failed:", failed)


if __name__ == "__main__":
    main()
