"""What failures cost, and what it costs to be ready for them: ``python tests/benchmarks/faults.py [rounds]``.

Ratios within one run, interleaved, with their spread:

* 10,000 tasks of 1 ms, one in every 100 of which kills its worker, against the same work without kills (goal: at most 1.5);
* from the death of an idle worker to the answer of its successor (goal: at most 15 ms);
* ``on_error="collect"`` with no failures (goal: at most 1.02) and ``timeout=`` (goal: at most 1.05) against neither, on tasks
  of 1 ms.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from manyhands import ProcessPool, parallel_map


def work(number: int) -> int:
    """Take a millisecond of processor time."""
    until = time.thread_time() + 0.001
    while time.thread_time() < until:
        pass
    return number


def work_and_kill(number: int) -> int:
    """Take a millisecond, and sometimes the worker."""
    work(number)
    if number % 100 == 50:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def timed(call: Callable[[Any], Any], items: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    results = call(items)
    return time.perf_counter() - start, results


def spread(figures: list[float], unit: str = "") -> str:
    return f"{statistics.median(figures):.3f}{unit} ({min(figures):.3f} to {max(figures):.3f})"


def kills(rounds: int) -> list[float]:
    """Return the ratios of the time with kills to that without."""
    calm = parallel_map(work, max_workers=2, on_error="collect")
    deadly = parallel_map(work_and_kill, max_workers=2, on_error="collect")
    items, ratios = range(10_000), []
    calm.map(range(200))
    for _ in range(rounds):
        without, _ = timed(calm.map, items)
        seconds, results = timed(deadly.map, items)
        assert len(results) == len(items)
        assert results.values == [number for number in items if number % 100 != 50]
        ratios.append(seconds / without)
    return ratios


def replacements(rounds: int) -> list[float]:
    """Return the milliseconds from the death of an idle worker to the first answer of the next."""
    found = []
    with ProcessPool(1) as pool:
        pid = pool.submit(os.getpid).result()
        for _ in range(rounds):
            time.sleep(0.01)  # it goes to sleep, too
            start = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            after = pid
            while after == pid:
                try:
                    after = pool.submit(os.getpid).result()
                except Exception:  # it was sent to the one that was dying
                    continue
            found.append((time.perf_counter() - start) * 1e3)
            pid = after
    return found


def readiness(rounds: int) -> dict[str, list[float]]:
    """Return the ratios of the time with an option to that without."""
    plain = parallel_map(work, max_workers=2)
    ways = {
        "neither, again (noise)": plain,
        'on_error="collect"': plain.options(on_error="collect"),
        "timeout=60": plain.options(timeout=60),
    }
    items = range(1_000)
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for function in (plain, *ways.values()):
        function.map(items)
    for _ in range(rounds):
        without, _ = timed(plain.map, items)
        for name, function in ways.items():
            ratios[name].append(timed(function.map, items)[0] / without)
    return ratios


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("one task in 100 kills its worker, against none:", spread(kills(rounds)))
    print("a replaced worker answers after", spread(replacements(10 * rounds), " ms"))
    for name, ratios in readiness(6 * rounds).items():
        print(f"{name}, against neither:", spread(ratios))


if __name__ == "__main__":
    main()
