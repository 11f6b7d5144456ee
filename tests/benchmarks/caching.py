"""What one cache for all processes is worth: ``python tests/benchmarks/caching.py [rounds]``.

20,000 calls of a function with an ``lru_cache``, Zipf-distributed over 400 keys, 2 ms for each new key, two workers. Speeds
relative to the loop with its ``lru_cache``, interleaved, with their spread:

* the first call (goal: at least 1.8 times the loop; each key computed exactly once, counted in a file), with workers that run
  already; beside it ``multiprocessing.Pool``, joblib and mpire where they are installed, whose processes have a cache each;
* the second call, whose answers are all known, against the loop's own pass (goal: at most 1.5 times its time);
* a function without a cache that calls a helper with one, which each worker has for itself: with and without
  ``affinity="args"`` (goal: at least 1.5 times the loop with it; computations beyond one for each key, counted in the file);
* a hit of ``shared_cache`` in a worker: of what the process has seen (goal: at most 5 µs), and of what another process has
  computed, seen for the first time (goal: at most 50 µs), each with the median of many.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from cachedwork import FOLDER, cached, compute, computed

from manyhands import parallel_map, process_task, shared_cache, shutdown

KEYS, CALLS, SECONDS = 400, 20_000, 0.002


def zipf() -> list[int]:
    """Return keys with the frequencies 1, 1/2, 1/3, ..., each of them at least once."""
    numbers = random.Random(1)
    keys = list(range(KEYS)) + numbers.choices(
        range(KEYS), [1 / (rank + 1) for rank in range(KEYS)], k=CALLS - KEYS
    )
    numbers.shuffle(keys)
    return keys


def ask(key: int) -> int:
    """Has no cache; its helper has, in each process."""
    return cached(key) + 1


def routed(keys: list[int], rounds: int) -> None:
    """Print what routing by key is worth, with new workers each time."""
    for affinity in (None, "args"):
        speeds, repeated = [], []
        for _ in range(rounds):
            cached.cache_clear()
            loop = timed(lambda: [ask(key) for key in keys])
            cached.cache_clear()
            ours = parallel_map(ask, max_workers=2, affinity=affinity)
            shutdown()
            for future in [ours.submit(key) for key in range(8)]:  # starts the workers
                future.result()
            computed()
            speeds.append(loop / timed(lambda: ours.map(keys)))  # noqa: B023
            repeated.append(computed() - KEYS)
        print(f"a helper's cache, affinity={affinity!r}: first call {spread(speeds)} times the loop's speed; computed "
              f"{repeated} more than {KEYS}")  # fmt: skip


def through_pool(keys: list[int]) -> list[int]:
    with get_context("fork").Pool(2) as pool:
        return pool.map(cached, keys)


def through_joblib(keys: list[int]) -> Any:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=2)(delayed(cached)(key) for key in keys)


def through_mpire(keys: list[int]) -> Any:
    from mpire import WorkerPool

    with WorkerPool(2) as pool:
        return pool.map(cached, keys)


@shared_cache(maxsize=None)
def shared(key: int) -> tuple[int, str]:
    return key, f"value {key}"


@process_task(max_workers=1)
def hits(keys: int) -> tuple[float, float]:
    """Return the microseconds of a hit: of what another process has computed, and again."""
    figures = []
    for _ in range(2):
        taken = []
        for key in range(keys):
            start = time.perf_counter()
            shared(key)
            taken.append(time.perf_counter() - start)
        figures.append(statistics.median(taken) * 1e6)
    return figures[0], figures[1]


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(figures: list[float]) -> str:
    return f"{statistics.median(figures):.2f} ({min(figures):.2f} to {max(figures):.2f})"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.makedirs(FOLDER, exist_ok=True)
    keys = zipf()
    parallel_map(abs, max_workers=2, max_tasks_per_child=None).submit(1).result()  # starts the workers
    computed()
    for maxsize in (None, KEYS, 64):
        first, second, counts = [], [], []
        for _ in range(rounds):
            loop = functools.lru_cache(maxsize)(compute)
            ours = parallel_map(functools.lru_cache(maxsize)(compute), max_workers=2)
            loop_first = timed(lambda: [loop(key) for key in keys])  # noqa: B023
            expected = computed()
            ours_first = timed(lambda: ours.map(keys))  # noqa: B023
            counts.append(computed())
            assert ours.cache_info() == loop.cache_info()
            first.append(loop_first / ours_first)
            if maxsize is None or maxsize >= KEYS:
                ours_again = [timed(lambda: ours.map(keys)) for _ in range(5)]  # noqa: B023
                loop_again = [timed(lambda: [loop(key) for key in keys]) for _ in range(5)]  # noqa: B023
                second.append(min(ours_again) / min(loop_again))
        again = f", second call {spread(second)} times its time" if second else ""
        print(f"maxsize={maxsize}: first call {spread(first)} times the loop's speed{again}; computed {counts}, "
              f"by the loop {expected}")  # fmt: skip
    routed(keys, rounds)
    figures = []
    for _ in range(rounds):
        shared.cache_clear()
        for key in range(1_000):
            shared(key)
        figures.append(hits(1_000))
        assert shared.cache_info().misses == 1_000
    print("shared_cache: a hit of what another process has computed", spread([first for first, _ in figures]), "µs; "
          "of what was seen", spread([second for _, second in figures]), "µs")  # fmt: skip
    for name, call in {
        "multiprocessing.Pool": through_pool,
        "joblib": through_joblib,
        "mpire": through_mpire,
    }.items():
        if name in ("joblib", "mpire") and importlib.util.find_spec(name) is None:
            continue
        speeds, counts = [], []
        for _ in range(rounds):
            loop = functools.lru_cache(None)(compute)
            loop_first = timed(lambda: [loop(key) for key in keys])  # noqa: B023
            computed()
            speeds.append(loop_first / timed(lambda: call(keys)))  # noqa: B023
            counts.append(computed())
            if name == "joblib":  # the next round begins with new processes, too
                from joblib.externals.loky import get_reusable_executor

                get_reusable_executor().shutdown()
        print(f"{name}: first call {spread(speeds)} times the loop's speed; computed {counts}")


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
