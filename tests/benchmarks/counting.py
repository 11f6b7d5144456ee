"""What it costs to count together: ``python tests/benchmarks/counting.py [rounds]``.

Ratios within one run, interleaved, with their spread, two workers, warm:

* a word count of 200 MB of text into one ``Counter``, an accumulator against the loop (goal: at least 1.7 times as fast); what a
  task adds travels and is merged, which shows where it is much in proportion to the work;
* updates of a counter for each second: an accumulator's against those of a manager's dict (goal: at least 100 times), and of a
  managed field, and of a value.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import Manager
from pathlib import Path
from typing import Any

from manyhands import accumulator, managed, parallel_map, shared_state, value

BYTES, DIFFERENT = 200 << 20, 8
VOCABULARY = 50_000


@shared_state
class Totals:
    words: Counter[str] = accumulator(Counter)
    n: int = accumulator(int)
    seen: Any = managed(dict)
    shared: Any = value(int)


totals = Totals()


@parallel_map(max_workers=2)
def count(path: Path) -> None:
    totals.words.update(path.read_text().split())


def texts(folder: Path, size: int) -> list[Path]:
    """Return files of so many bytes, 200 MB together, of words as frequent as those of a language (Zipf's law)."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(VOCABULARY)]
    weights = [1 / (rank + 2.7) for rank in range(VOCABULARY)]
    paths = []
    for number in range(DIFFERENT):
        text = " ".join(chance.choices(words, weights, k=size // 5))[:size]
        paths.append(folder / f"{size}-{number}.txt")
        paths[-1].write_text(text)
    return [paths[number % DIFFERENT] for number in range(BYTES // size)]


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(figures: list[float], unit: str = "") -> str:
    return f"{statistics.median(figures):.2f}{unit} ({min(figures):.2f} to {max(figures):.2f})"


def counts(paths: list[Path], rounds: int) -> list[float]:
    """Return how many times as fast as the loop it is."""
    ratios = []
    count.map(paths[:4])
    for _ in range(rounds):
        totals.reset()
        together = timed(lambda: count.map(paths))
        words: Counter[str] = Counter()

        def loop(words: Counter[str] = words) -> None:
            for path in paths:
                words.update(path.read_text().split())

        alone = timed(loop)
        assert list(totals.words.items()) == list(words.items())
        ratios.append(alone / together)
    return ratios


@parallel_map(max_workers=2, max_tasks_per_child=1_000_000)
def add_many(times: int) -> None:
    for _ in range(times):
        totals.n += 1


@parallel_map(max_workers=2, max_tasks_per_child=1_000_000)
def count_many(times: int) -> None:
    words = totals.words
    for number in range(times):
        words[number & 15] += 1  # type: ignore[index]


@parallel_map(max_workers=2, max_tasks_per_child=1_000_000)
def increment_many(times: int) -> None:
    for _ in range(times):
        totals.seen.increment("n")


@parallel_map(max_workers=2, max_tasks_per_child=1_000_000)
def add_to_value(times: int) -> None:
    for _ in range(times):
        totals.shared.add(1)


@parallel_map(max_workers=2, max_tasks_per_child=1_000_000)
def update_manager(times: int, seen: Any) -> None:
    for _ in range(times):
        seen["n"] = seen.get("n", 0) + 1  # which loses updates, and a lock would be dearer


def updates(rounds: int) -> dict[str, list[float]]:
    """Return millions of updates for each second, of two workers together."""
    found: dict[str, list[float]] = {}
    with Manager() as manager:
        seen = manager.dict()
        ways: dict[str, tuple[Callable[[int], object], int]] = {
            "accumulator, totals.n += 1": (lambda times: add_many.map([times] * 2), 200_000),
            "accumulator, words[w] += 1": (lambda times: count_many.map([times] * 2), 1_000_000),
            "value, totals.shared.add(1)": (lambda times: add_to_value.map([times] * 2), 100_000),
            "managed, seen.increment(n)": (lambda times: increment_many.map([times] * 2), 1_000),
            "a manager's dict": (lambda times: update_manager.map([times] * 2, seen=seen), 1_000),
        }
        for name, (way, _) in ways.items():
            way(10)
            found[name] = []
        for _ in range(rounds):
            for name, (way, times) in ways.items():
                found[name].append(2 * times / timed(lambda way=way, times=times: way(times)) / 1e6)  # type: ignore[misc]
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        for size in (1 << 20, 8 << 20):
            figures = spread(counts(texts(Path(folder), size), rounds))
            print(
                f"a word count of 200 MB in files of {size >> 20} MB, times the loop: {figures}", flush=True
            )
    found = updates(rounds)
    slowest = statistics.median(found["a manager's dict"])
    for name, rates in found.items():
        ratio = statistics.median(rates) / slowest
        print(
            f"{name}: {statistics.median(rates):.4f} million updates a second, {ratio:.0f} times the manager's dict"
        )


if __name__ == "__main__":
    main()
