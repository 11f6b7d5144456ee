"""The measures of the second table: latency, submit rate, memory, many sleepers, import time.

Each probe is a function that runs in a fresh process (see `measure`) for one competitor and returns named
figures, of which `value` is the one that is reported. `PROBES` says which competitors it is run for and
which bar manyhands has to meet.
"""

from __future__ import annotations

import functools
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from adapters import ADAPTERS, find
from rows import Bar
from work import plus_one, sleep_10_ms, spin

if TYPE_CHECKING:
    from work import Task

Values = dict[str, float]
"""Figures by name."""

WORKERS = 2


@dataclass(frozen=True)
class Probe:
    """One measure.

    Attributes:
        key: Its name on the command line.
        title: What is measured, and in which unit.
        measure: Takes the competitor, the iterations of `spin` per second and whether to be quick.
        competitors: Whom it is run for.
        bar: What manyhands has to meet.
        against: The figure reported is the ratio to this competitor's in the same round.
        form: How the figure is printed.
    """

    key: str
    title: str
    measure: Callable[[str, float, bool], Values]
    competitors: tuple[str, ...]
    bar: Bar | None = None
    against: str | None = None
    form: str = "{:.2f}"

    def concerns(self, competitor: str, chosen: Collection[str]) -> bool:
        """Say whether to run for one of `competitors`, where the user has chosen some adapters."""
        return competitor.partition(".")[0] in chosen


def latency(competitor: str, rate: float, quick: bool) -> Values:
    """One warm `submit(...).result()`, in units of a bare pipe round trip.

    The round trip is that of one byte to a forked child and back, over two `os.pipe`s. It takes several
    times as long when the child is on another core, and which core a child is on is the scheduler's choice;
    so both are kept to one core for it, which gives the smaller unit, and the other is told along the way.
    The tasks run where the scheduler puts them. Blocks of all three alternate; each gives one mean, and the
    value is the ratio of the medians.
    """
    with PipeEcho() as echo:  # forked while this process has no thread yet
        pool = Submitter(competitor, WORKERS)

        def one_task() -> int:
            return pool.submit(plus_one, 1)()

        mean_duration(one_task, 200)  # warm-up
        same: list[float] = []
        apart: list[float] = []
        task: list[float] = []
        for _ in range(5 if quick else 15):
            with echo.on_cores(0, 0):
                same.append(mean_duration(echo.round_trip, 500))
            with echo.on_cores(0, 1):
                apart.append(mean_duration(echo.round_trip, 200))
            task.append(mean_duration(one_task, 200))
        pool.close()
    task_us, pipe_us, apart_us = (statistics.median(blocks) * 1e6 for blocks in (task, same, apart))
    return {
        "value": task_us / pipe_us,
        "task_us": task_us,
        "pipe_us": pipe_us,
        "pipe_across_cores_us": apart_us,
        "in_trips_across_cores": task_us / apart_us,
    }


def submit_rate(competitor: str, rate: float, quick: bool) -> Values:
    """5,000 submits at once, then every result: tasks per second, pool warm."""
    pool = Submitter(competitor, WORKERS)
    for wait in [pool.submit(plus_one, i) for i in range(100)]:
        wait()
    taken = []
    for _ in range(1 if quick else 3):
        start = time.perf_counter()
        waits = [pool.submit(plus_one, i) for i in range(5_000)]
        results = [wait() for wait in waits]
        taken.append(time.perf_counter() - start)
        assert results == list(range(1, 5_001))
    pool.close()
    return {"value": 5_000 / statistics.median(taken)}


def imap_memory(competitor: str, rate: float, quick: bool) -> Values:
    """5,000,000 items through `imap`: by how many MB the memory of the process and its workers grows.

    The items come from a generator and the results are consumed one by one and dropped. Growth is the
    highest of many readings less the one before the stream began, when the workers had started and done
    work.
    """
    total, every = (1_000_000, 50_000) if quick else (5_000_000, 100_000)
    stream: Callable[[Iterable[int]], Iterator[int]]
    if competitor == "manyhands":
        parallel_map = find("manyhands:parallel_map")
        parallel_map(spin, max_workers=WORKERS).map([round(rate * 1e-3)] * 50 * WORKERS)
        stream = parallel_map(plus_one, max_workers=WORKERS).imap
    else:
        pool = find("multiprocessing:Pool")(WORKERS)
        pool.map(spin, [round(rate * 1e-3)] * 50 * WORKERS)
        stream = functools.partial(pool.imap, plus_one, chunksize=1_000)
    peak = before = tree_memory()
    start = time.perf_counter()
    results = stream(i for i in range(total))
    count = checksum = 0
    for result in results:
        count += 1
        checksum += result
        if count % every == 0:
            peak = max(peak, tree_memory())
    seconds = time.perf_counter() - start
    assert (count, checksum) == (total, total * (total + 1) // 2)
    return {"value": (max(peak, tree_memory()) - before) / 1e6, "items_per_second": total / seconds}


def sleepers(competitor: str, rate: float, quick: bool) -> Values:
    """64 workers that sleep 10 ms for each of 6,400 items: seconds, of which 1 is ideal; pool warm."""
    adapter = ADAPTERS[competitor](64)
    adapter.load()
    func = adapter.define(sleep_10_ms)
    adapter.setup()
    items = list(range(6_400))
    adapter.map(func, items)
    taken = []
    for _ in range(1 if quick else 3):
        start = time.perf_counter()
        results = adapter.map(func, items)
        taken.append(time.perf_counter() - start)
        assert results == items
    adapter.teardown()
    return {"value": statistics.median(taken)}


IMPORTS = {
    "manyhands": "import manyhands",
    "manyhands.parallel_map": "from manyhands import parallel_map",
    "pool": "from multiprocessing import Pool",
    "executor": "from concurrent.futures import ProcessPoolExecutor",
    "joblib": "import joblib",
    "mpire": "import mpire",
    "pebble": "import pebble",
}


def import_time(competitor: str, rate: float, quick: bool) -> Values:
    """What an import adds to the start of Python, in milliseconds, and whether it loads what it must not.

    Fresh interpreters run `pass` and the import in turn; the value is the median of the differences.
    """
    statement = IMPORTS[competitor]
    check = f"import sys\n{statement}\nprint(*{{'multiprocessing', 'cloudpickle'}} & set(sys.modules))"
    # This run also compiles the modules, so that no measured one has to.
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ImportError(answer.stderr.strip().splitlines()[-1])
    bare: list[float] = []
    imports: list[float] = []
    for _ in range(5 if quick else 15):
        bare.append(interpreter_time("pass"))
        imports.append(interpreter_time(statement))
    added = statistics.median(
        with_import - without for with_import, without in zip(imports, bare, strict=True)
    )
    return {
        "value": added * 1e3,
        "bare_ms": statistics.median(bare) * 1e3,
        "multiprocessing_and_cloudpickle_loaded": len(answer.stdout.split()),
    }


PROBES = {
    probe.key: probe
    for probe in (
        Probe(
            "latency",
            "one warm submit(...).result(), in bare pipe round trips",
            latency,
            ("manyhands", "executor", "pool"),
            Bar(10, at_least=False),
            form="{:.1f}",
        ),
        Probe(
            "submits",
            "5,000 submits at once: rate against Pool.apply_async",
            submit_rate,
            ("manyhands", "executor", "pool"),
            Bar(2),
            against="pool",
        ),
        Probe(
            "imap",
            "imap over 5,000,000 items: growth of memory, MB",
            imap_memory,
            ("manyhands", "pool"),
            Bar(30, at_least=False),
            form="{:.1f}",
        ),
        Probe(
            "sleepers",
            "64 workers sleeping 10 ms over 6,400 items: seconds, ideal 1",
            sleepers,
            ("manyhands", "pool", "executor", "executor_tuned"),
            Bar(1.25, at_least=False),
        ),
        Probe(
            "import",
            "import: added to the start of Python, ms",
            import_time,
            tuple(IMPORTS),
            Bar(10, at_least=False),
            form="{:.1f}",
        ),
    )
}
"""Every probe, by key, in the order of the report."""


class Submitter:
    """A pool that takes single tasks, whatever it calls that."""

    def __init__(self, competitor: str, workers: int) -> None:
        sources = {
            "manyhands": "manyhands:ProcessPool",
            "executor": "concurrent.futures:ProcessPoolExecutor",
            "pool": "multiprocessing:Pool",
        }
        pool = find(sources[competitor])(workers)
        self.submit: Callable[[Task, int], Callable[[], int]]
        """Start a task; return the method that waits for its result."""
        if competitor == "pool":
            self.submit = lambda func, item: pool.apply_async(func, (item,)).get
            self.close = pool.terminate
        else:
            self.submit = lambda func, item: pool.submit(func, item).result
            self.close = pool.shutdown


class PipeEcho:
    """A forked child that sends back every byte it gets."""

    def __enter__(self) -> Self:
        child_reads, self._writes = os.pipe()
        self._reads, child_writes = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._writes)
            while os.read(child_reads, 1):
                os.write(child_writes, b"x")
            os._exit(0)
        os.close(child_reads)
        os.close(child_writes)
        return self

    def round_trip(self) -> None:
        """Send one byte, wait for it to come back."""
        os.write(self._writes, b"x")
        os.read(self._reads, 1)

    @contextmanager
    def on_cores(self, ours: int, echo: int) -> Iterator[None]:
        """Keep this thread and the child each to one of the allowed cores, where the platform can do that."""
        if sys.platform == "linux":
            allowed = os.sched_getaffinity(0)
            cores = sorted(allowed) * 2
            os.sched_setaffinity(0, {cores[ours]})
            os.sched_setaffinity(self._child, {cores[echo]})
            yield
            os.sched_setaffinity(0, allowed)
        else:
            yield

    def __exit__(self, *exception: object) -> None:
        os.close(self._writes)  # the child reads the end of the pipe and exits
        os.close(self._reads)
        os.waitpid(self._child, 0)


def mean_duration(call: Callable[[], object], times: int) -> float:
    """Return the mean seconds of so many calls in a row."""
    start = time.perf_counter()
    for _ in itertools.repeat(None, times):
        call()
    return (time.perf_counter() - start) / times


def interpreter_time(statement: str) -> float:
    """Return the seconds that a fresh interpreter takes to run one statement, from start to exit."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def tree_memory() -> int:
    """Return the bytes resident in this process, its session and their descendants, shared pages each time.

    The harness gives each fresh process a session of its own, so workers that were handed to another parent
    are found.

    Raises:
        ImportError: This platform has no `/proc` to read it from.
    """
    if not Path("/proc/self/statm").exists():
        raise ImportError("memory is read from /proc, which this platform does not have")
    parents: dict[int, int] = {}
    tree = {os.getpid()}
    session = os.getsid(0)
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            # The name of the program, in parentheses, may hold spaces: what follows it does not.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just exited
        parents[pid] = int(fields[1])
        if int(fields[3]) == session:
            tree.add(pid)
    while children := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= children
    return sum(resident_bytes(pid) for pid in tree)


def resident_bytes(pid: int) -> int:
    """Return the bytes resident in one process, 0 if it has exited."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
