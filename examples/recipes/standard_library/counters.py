"""A counter that all tasks add to, and why += loses updates without a lock."""

import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Value
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

files = sorted(Path(json.__file__).parent.parent.glob("*.py"))[:60]
lines = 0
n: Any = None


def count_in_a_global(path: Path) -> None:
    """Each process adds to its own copy, and nobody says so."""
    global lines
    lines += len(path.read_text(encoding="utf-8").splitlines())


def receive(number: "Synchronized[int]") -> None:
    """A Value cannot be an argument of a task: it comes when the worker starts."""
    global n
    n = number


def step(times: int) -> None:
    """Without the lock, += would read, add and write, and lose what others write in between."""
    for _ in range(times):
        with n.get_lock():
            n.value += 1


def count(path: Path) -> tuple[int, Counter[str]]:
    """Return what is counted, and have the caller add it up."""
    text = path.read_text(encoding="utf-8")
    return len(text.splitlines()), Counter(text.split())


if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(count_in_a_global, files))
        print("a global, here:", lines)

    number = Value("q", 0)
    with ProcessPoolExecutor(2, initializer=receive, initargs=(number,)) as pool:
        list(pool.map(step, [10_000] * 4))
    print("add, one step:", number.value)

    total, words = 0, Counter[str]()
    with ProcessPoolExecutor(2) as pool:
        for found, of_file in pool.map(count, files):
            total += found
            words.update(of_file)
    print("lines:", total == sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files))
    print("the most frequent word:", words.most_common(1)[0][0])
