"""What runs in each fresh process: one competitor on one row, or one probe, and nothing else.

The process is `python measure.py JOB…`; its figures are the last line it prints, as JSON. The order of
events for a row:

1. The library is imported (timed apart, in no ratio): the import statement stands at the head of a user's
   module.
2. *The loop before*: the plain loop over the same items, on a copy of the function's code object, so that the
   interpreter has not specialised the function that the competitor gets. No pool, thread or child exists.
3. *Cold*: `define`, `setup` and the first `map` in the life of the process, once. For manyhands this is
   decorating the function and the first call; whatever it imports or starts lazily falls into it.
4. *Warm-up*: the first call was one; another function's tasks then see to it that every worker runs.
5. *Warm*: the row again, where it is short several times and in turn with the loop.
6. Teardown, then for a short row *the loop after*.

Work of less than 50 ms is compared with its neighbours in time: the first call with the loops before, each warm
call with the loop run just before it, because what the allocator has kept from earlier work makes the cheapest rows a
quarter faster later in a process. Longer work is compared with the loop before, which nothing of the
competitor's can slow. The loops between run beside an idle pool, and pay for pages that a forking pool has made
copy-on-write; both flatter the pool. That is what the loop after is for: the report says so where it is faster
by more than a fifth. Results are freed between all runs, and those of the first call are compared with the
loop's.

What this module needs beyond the barest is imported when the measuring is done (`work` says why).
"""

from __future__ import annotations

import sys
import time
import types

from adapters import ADAPTERS, Adapter
from work import JOBS, spin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    from work import Task

    R = TypeVar("R")
    Result: TypeAlias = dict[str, Any]
    """A `status` ("ok", "cannot", "not available", "wrong", "failed", "no answer"); figures or a `detail`."""


def measure_row(
    key: str, adapter: Adapter, rate: float, *, items_at_most: int, overhead: bool, quick: bool
) -> Result:
    """Measure one competitor on one row; the order of events is told at the head of this module.

    Args:
        key: The row, as in `work.JOBS`.
        adapter: The competitor, not yet loaded.
        rate: Iterations of `spin` per second.
        items_at_most: Take so many of the items, evenly spread; 0 for all.
        overhead: The row asks for microseconds: run it often.
        quick: Take the fewest runs that give a figure.

    Returns:
        For the first call and warm calls the speed against the loop and the extra seconds, and the durations
        that they come from, as medians. The speed of the first call includes defining the function, the
        extra time does not: it is asked of tiny inputs, and defining is done elsewhere and once.
    """
    func, items = JOBS[key](rate)
    total = len(items)
    if 0 < items_at_most < total:
        items = items[:: total // items_at_most]
    _, import_time = timed(adapter.load)

    copy = fresh_copy(func)

    def plain_loop() -> list[int]:
        return [copy(item) for item in items]

    # A short loop's very first run pays for memory that the later ones reuse, so it does not count.
    results, first_time = timed(plain_loop)
    expected = digest(results)
    del results
    short = first_time < 0.05
    loop_runs = Runs(51 if overhead else 5, 0.1)
    before = loop_runs.of(plain_loop)[0] if short else [first_time]

    defined, define_time = timed(lambda: adapter.define(func))
    _, setup_time = timed(adapter.setup)
    results, cold_time = timed(lambda: adapter.map(defined, items))
    if digest(results) != expected:
        return {"status": "wrong", "detail": "its results differ from the loop's"}
    del results

    if adapter.takes_other_functions:
        adapter.map(adapter.define(spin), [round(rate * 1e-3)] * 50 * adapter.workers)
    warm_runs = Runs(500, 0.2) if overhead else Runs(9, 0.2) if quick else Runs(25, 0.4)
    if short:
        between, warm = warm_runs.of(plain_loop, lambda: adapter.map(defined, items))
        adapter.teardown()
        (after,) = loop_runs.of(plain_loop)
    else:
        (warm,) = warm_runs.of(lambda: adapter.map(defined, items))
        adapter.teardown()
        between, after = before * len(warm), before

    from statistics import median

    return {
        "status": "ok",
        "items": len(items),
        "of": total,
        "import": import_time,
        "loop_cold": median(before),
        "loop_warm": median(between),
        "loop_after": median(after),
        "define": define_time,
        "cold": setup_time + cold_time,
        "warm": median(warm),
        "cold_speed": median(before) / (define_time + setup_time + cold_time),
        "warm_speed": median(loop / call for loop, call in zip(between, warm, strict=True)),
        "cold_extra": setup_time + cold_time - median(before),
        "warm_extra": median(call - loop for loop, call in zip(between, warm, strict=True)),
        "warm_runs": len(warm),
    }


class Runs:
    """How often to run something: at most so often, and until so many seconds have gone."""

    def __init__(self, at_most: int, seconds: float) -> None:
        self.at_most = at_most
        self.seconds = seconds

    def of(self, *calls: Callable[[], object]) -> list[list[float]]:
        """Run the calls in turn; return the duration of each run, by call. The seconds are the last one's."""
        taken: list[list[float]] = [[] for _ in calls]
        last = taken[-1]
        while not last or (len(last) < self.at_most and sum(last) < self.seconds):
            for call, durations in zip(calls, taken, strict=True):
                durations.append(timed(call)[1])
        return taken


def digest(results: list[int]) -> int:
    """Return what tells equal results from others, without keeping them in memory."""
    return hash(tuple(results))


def timed(call: Callable[[], R]) -> tuple[R, float]:
    """Return a call's result and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def fresh_copy(func: Task) -> Task:
    """Return the same function with a code object of its own, which the interpreter has not specialised."""
    assert isinstance(func, types.FunctionType)
    code = func.__code__.replace()
    return types.FunctionType(code, func.__globals__, func.__name__, func.__defaults__, func.__closure__)


def run(kind: str, key: str, competitor: str, workers: str, rate: str, quick: str, *row: str) -> Result:
    """Do one job, given as the words of the command line."""
    if kind == "probe":
        from probes import PROBES

        return {"status": "ok", **PROBES[key].measure(competitor, float(rate), quick == "quick")}
    adapter = ADAPTERS[competitor](int(workers))
    items_at_most, overhead = row
    return measure_row(
        key,
        adapter,
        float(rate),
        items_at_most=int(items_at_most) if adapter.one_by_one else 0,
        overhead=overhead == "overhead",
        quick=quick == "quick",
    )


def report(job: Callable[..., Result], *words: str) -> None:
    """Do a job and print its result as the last line; whatever goes wrong in it is a result too."""
    outcome = _outcome(job, *words)

    import json

    print("\n" + json.dumps(outcome), flush=True)


def _outcome(job: Callable[..., Result], *words: str) -> Result:
    try:
        return job(*words)
    except ImportError as error:
        return {"status": "not available", "detail": str(error)}
    except NotImplementedError as error:
        return {"status": "cannot", "detail": str(error)}
    except Exception as error:
        # Libraries refuse a closure with PicklingError, AttributeError or TypeError; all say "pickle".
        text = f"{type(error).__name__}: {error}"
        return {"status": "cannot" if "pickle" in text.lower() else "failed", "detail": text}


if __name__ == "__main__":
    report(run, *sys.argv[1:])
