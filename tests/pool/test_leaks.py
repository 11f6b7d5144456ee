"""Nothing grows with the number of calls: large arrays both ways, changing constants, shared arrays, failures, kills between.

After every so many calls the test looks at what this process and its oldest worker hold. What is kept for use again has its
limits, which are reached in the first half of the calls; so the most that was held in the second half must be what it was in the
first, but for a little (``SLACK``). What is left when the pool is closed is the concern of ``nothing_left``.

A short form runs by default. ``-m stress`` runs ``MANYHANDS_LEAKS`` calls with each start method (10,000), and with ``-s`` prints
what was held.
"""

from __future__ import annotations

import gc
import os
import random
import signal
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from manyhands import WorkerCrashedError, parallel_map, share
from manyhands.backends import processes
from tests.conftest import PROC, descendants
from tests.pool import tasks
from tests.pool.conftest import PATIENCE

np = pytest.importorskip("numpy")
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no memory without a name here"),
    pytest.mark.skipif(not PROC, reason="looks into /proc"),
]

CALLS = int(os.environ.get("MANYHANDS_LEAKS", "10000"))
#: From 200 KB to 2 MB.
SIZES = (25_000, 40_000, 90_000, 130_000, 250_000)


class Held(NamedTuple):
    """What one process holds; ``shared`` (its memory files) and ``memory`` (its own) in bytes."""

    descriptors: int
    threads: int
    mappings: int
    shared: int
    memory: int

    @classmethod
    def by(cls, process: int) -> Held:
        root = Path(f"/proc/{process}")
        files = {}
        names = os.listdir(root / "fd")
        for name in names:
            try:
                target, about = os.readlink(root / "fd" / name), os.stat(root / "fd" / name)
            except FileNotFoundError:  # the one that lists the folder
                continue
            if "memfd:manyhands" in target:
                files[about.st_ino] = about.st_blocks * 512
        status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines())
        return cls(
            len(names),
            int(status["Threads"]),
            len((root / "maps").read_text().splitlines()),
            sum(files.values()),
            int(status["RssAnon"].split()[0]) << 10,
        )


#: So much more may be held in the second half of the calls: how many segments there are at once is a matter of chance.
SLACK = Held(descriptors=20, threads=0, mappings=30, shared=16_000_000, memory=8_000_000)


class Sample(NamedTuple):
    """What there is at a moment."""

    here: Held
    worker: Held
    children: int
    segments: int

    @classmethod
    def now(cls, worker: int) -> Sample:
        gc.collect()
        names = sum("manyhands" in name for name in os.listdir("/dev/shm"))
        return cls(Held.by(os.getpid()), Held.by(worker), len(descendants(os.getpid())), names)


def doubled(array: Any) -> tuple[int, Any]:
    return os.getpid(), array * 2


def ends(array: Any) -> float:
    return float(array[0] + array[-1])


def looked_up(index: int, *, table: Any) -> float:
    return float(table[index])


def refused(array: Any) -> None:
    raise LookupError("refused", array)


def incremented(array: Any) -> None:
    array[0] += 1


class Load:
    """Calls of all kinds, in an order that is the same each time.

    Args:
        method: the start method.
        sizes: of the arrays, in numbers. The fewer there are, the sooner all that is kept for use again is there.
    """

    def __init__(self, method: str, sizes: tuple[int, ...]) -> None:
        options: dict[str, Any] = {"max_workers": 2, "start_method": method, "initializer": tasks.nothing}
        self.doubled, self.ends, self.looked_up, self.refused, self.incremented = (
            parallel_map(function, **options) for function in (doubled, ends, looked_up, refused, incremented)
        )
        self.sizes = sizes
        self.chance = random.Random(1)
        self.kept: deque[Any] = deque(maxlen=6)
        self.table = np.zeros(sizes[-1])
        self.shared = share(np.zeros(sizes[0]))
        self.count = 0

    def workers(self) -> list[int]:
        """Those that are ready, the oldest first."""
        (pool,) = processes._pools.values()
        return [worker.pid for worker in list(pool._workers.values()) if worker.pid]

    def array(self) -> Any:
        return np.full(self.chance.choice(self.sizes), float(self.count))

    def call(self) -> None:
        """Make the next call."""
        self.count += 1
        kind = self.count % 8
        if kind in {0, 4}:  # in and out, and kept for a while
            array = self.array()
            _, result = self.doubled.submit(array).result(PATIENCE)
            assert result[0] == result[-1] == 2 * self.count
            self.kept.append(result)
        elif kind in {1, 5}:
            assert self.ends.map([self.array(), self.array()]) == [2.0 * self.count] * 2
        elif kind in {2, 6}:  # the same constant, or another
            if self.count % 40 == 2:
                self.table[:] = self.count
            assert self.looked_up.map(range(4), table=self.table) == [self.table[0]] * 4
        elif kind == 3:
            error = self.refused.submit(self.array()).exception(PATIENCE)
            assert isinstance(error, LookupError)
            assert error.args[1][-1] == self.count
        else:
            if self.count % 5 == 0:
                self.shared = share(self.array())
            before = self.shared[0]
            self.incremented.submit(self.shared).result(PATIENCE)
            assert self.shared[0] == before + 1

    def kill(self) -> None:
        """Kill the younger worker, whatever it is doing; what was under way elsewhere has its result."""
        array = self.array()
        futures = [self.doubled.submit(array) for _ in range(6)]
        victim = self.workers()[-1]
        os.kill(victim, signal.SIGKILL)
        for future in futures:
            error = future.exception(PATIENCE)
            assert error is None or isinstance(error, WorkerCrashedError)
            if error is None:
                assert future.result()[1][-1] == 2 * array[-1]


def run(method: str, calls: int, deadly_every: int, sizes: tuple[int, ...]) -> list[Sample]:
    """Make so many calls; return what was held at 20 moments."""
    load = Load(method, sizes)
    while len(load.workers() if processes._pools else []) < 2:
        load.call()
    oldest = load.workers()[0]
    samples = []
    for number in range(calls):
        load.call()
        if number % deadly_every == deadly_every // 2 and len(load.workers()) == 2:
            load.kill()
        if number % (calls // 20) == calls // 20 - 1:
            samples.append(Sample.now(oldest))
            print(number, samples[-1], load.workers())
    assert load.workers()[0] == oldest
    return samples


def most(samples: list[Sample]) -> Sample:
    """The highest of each figure."""
    here, worker = (
        Held(*map(max, zip(*(getattr(each, of) for each in samples), strict=True)))
        for of in ("here", "worker")
    )
    return Sample(
        here, worker, max(each.children for each in samples), max(each.segments for each in samples)
    )


def check(samples: list[Sample]) -> None:
    first, second = (most(half) for half in (samples[: len(samples) // 2], samples[len(samples) // 2 :]))
    print(f"first half  {first}\nsecond half {second}")
    for before, after in ((first.here, second.here), (first.worker, second.worker)):
        assert all(b + more >= a for b, more, a in zip(before, SLACK, after, strict=True)), (before, after)
    assert second.children <= first.children
    assert second.segments <= first.segments


def test_nothing_grows_over_three_hundred_calls(method: str) -> None:
    check(run(method, 300, 10, SIZES[::3]))


@pytest.mark.stress
def test_nothing_grows_over_ten_thousand_calls(method: str) -> None:
    check(run(method, CALLS, 100, SIZES))
