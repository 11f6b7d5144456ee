"""What it costs to count together: ``python tests/benchmarks/counting.py [rounds]``.

Ratios within one run, interleaved, with their spread, two workers, warm:

* a word count of 200 MB of text into one ``Counter``, an accumulator against the loop (goal: at least 1.7 times as fast); what a
  task adds travels and is merged, which shows where it is much in proportion to the work. The same with
  ``multiprocessing.Pool``, and with joblib, mpire and ray where they are installed (``large``): each task returns its
  ``Counter``, and the caller merges them as they come. Each is run beside the loop in a process of its own;
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
from typing import TYPE_CHECKING, Any

from fresh import rotated, run_fresh
from large import CARRIERS
from measure import report

from manyhands import accumulator, managed, parallel_map, shared_state, value

if TYPE_CHECKING:
    from measure import Result

BYTES, DIFFERENT = 200 << 20, 8
VOCABULARY = 50_000
TIME_LIMIT = 300.0


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


def counted(path: Path) -> Counter[str]:
    """What a task returns where there are no accumulators."""
    return Counter(path.read_text().split())


def texts(folder: Path, size: int) -> None:
    """Write files of so many bytes, of words as frequent as those of a language (Zipf's law)."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(VOCABULARY)]
    weights = [1 / (rank + 2.7) for rank in range(VOCABULARY)]
    for number in range(DIFFERENT):
        text = " ".join(chance.choices(words, weights, k=size // 5))[:size]
        (folder / f"{number}.txt").write_text(text)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(figures: list[float], unit: str = "") -> str:
    return f"{statistics.median(figures):.2f}{unit} ({min(figures):.2f} to {max(figures):.2f})"


def measure(carrier: str, folder: str) -> Result:
    """Count the words of 200 MB once as a loop and once with one of the libraries."""
    files = sorted(Path(folder).iterdir())
    paths = files * (BYTES // sum(path.stat().st_size for path in files))
    expected: Counter[str] = Counter()

    def loop() -> None:
        for path in paths:
            expected.update(path.read_text().split())

    if carrier == "manyhands":
        count.map(paths[:4])
        totals.reset()
        alone, together = timed(loop), timed(lambda: count.map(paths))
        assert list(totals.words.items()) == list(expected.items())
    else:
        found: Counter[str] = Counter()
        who = CARRIERS[carrier](2)
        who.load()
        who.setup()
        try:
            list(who.imap(counted, paths[:4]))

            def merge() -> None:
                for words in who.imap(counted, paths):
                    found.update(words)

            alone, together = timed(loop), timed(merge)
        finally:
            who.teardown()
        assert found == expected
    return {"status": "ok", "ratio": alone / together}


def counts(folder: Path, rounds: int) -> dict[str, list[Result]]:
    """Return how many times as fast as the loop each of them is."""
    found: dict[str, list[Result]] = {name: [] for name in CARRIERS}
    for number in range(rounds):
        for name in rotated(list(CARRIERS), number):
            found[name].append(run_fresh(["--one", name, str(folder)], Path(__file__), TIME_LIMIT))
    return found


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
    for size in (1 << 20, 8 << 20):
        with tempfile.TemporaryDirectory() as folder:
            texts(Path(folder), size)
            print(f"a word count of 200 MB in files of {size >> 20} MB, times the loop:")
            for name, results in counts(Path(folder), rounds).items():
                figures = [result["ratio"] for result in results if result["status"] == "ok"]
                failures = [
                    f"{each['status']} ({each['detail']})" for each in results if each["status"] != "ok"
                ]
                found = ([spread(figures)] if figures else []) + sorted(set(failures))
                print(f"    {CARRIERS[name].title}: {'; '.join(found)}", flush=True)
    rates = updates(rounds)
    slowest = statistics.median(rates["a manager's dict"])
    for name, figures in rates.items():
        ratio = statistics.median(figures) / slowest
        print(
            f"{name}: {statistics.median(figures):.4f} million updates a second, {ratio:.0f} times the manager's dict"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        report(measure, *sys.argv[2:])
    else:
        main()
