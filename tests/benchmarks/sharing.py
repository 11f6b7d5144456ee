"""What sharing costs: ``python tests/benchmarks/sharing.py [rounds]``.

Ratios within one run, interleaved, with their spread:

* ``value.add(1)`` against an increment of a ``multiprocessing.Value`` under its lock, not contended: where it was made, and in
  a worker of each start method (goal: at most 3);
* a lock, a semaphore, an event and a queue against those of ``multiprocessing``, not contended.

What it costs to have shared arrays in tasks is in ``memory``, beside other libraries.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from manyhands import ProcessPool
from manyhands.shared import Event, Lock, Queue, Semaphore, Value

TIMES = 5_000


def seconds(call: Callable[[], Any], times: int = TIMES) -> float:
    """Return how long so many calls take, the least of three."""
    found = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(times):
            call()
        found.append(time.perf_counter() - start)
    return min(found) / times


def spread(figures: list[float], unit: str = "") -> str:
    return f"{statistics.median(figures):.3f}{unit} ({min(figures):.3f} to {max(figures):.3f})"


def increment(value: Any) -> None:
    with value.get_lock():
        value.value += 1


def adding(value: Value[int]) -> float:
    """Return the ratio of the two increments, in the process that runs this."""
    theirs = multiprocessing.Value("q")
    return seconds(lambda: value.add(1)) / seconds(lambda: increment(theirs))


def pair(lock: Any) -> None:
    lock.acquire()
    lock.release()


def happen(event: Any) -> None:
    event.set()
    event.wait()
    event.clear()


def pass_through(queue: Any) -> None:
    queue.put(1)
    queue.get()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    value = Value(int)
    print("value.add, here:", spread([adding(value) for _ in range(rounds)]))
    for method in multiprocessing.get_all_start_methods():
        ours = {"forkserver": "template"}.get(method, method)
        with ProcessPool(1, start_method=ours) as pool:
            print(f"value.add, {ours}:", spread([pool.submit(adding, value).result() for _ in range(rounds)]))
    for name, ours, theirs, call in (
        ("lock", Lock(), multiprocessing.Lock(), pair),
        ("semaphore", Semaphore(2), multiprocessing.Semaphore(2), pair),
        ("event", Event(), multiprocessing.Event(), happen),
        ("queue", Queue(), multiprocessing.SimpleQueue(), pass_through),
    ):
        figures = [
            (
                seconds(lambda ours=ours, call=call: call(ours)),
                seconds(lambda theirs=theirs, call=call: call(theirs)),
            )
            for _ in range(rounds)
        ]
        print(
            f"{name}: {min(first for first, _ in figures) * 1e6:.2f} µs, multiprocessing's "
            f"{min(second for _, second in figures) * 1e6:.2f} µs"
        )


if __name__ == "__main__":
    main()
