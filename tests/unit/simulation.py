"""A call in virtual time: the real planner and the real arithmetic of moving, on a machine that exists only as numbers.

A discrete-event simulation. The decisions are those of the package (``Planner``, ``worth_moving``, ``cut``), asked in the
order in which ``scheduling.call`` and ``engine.pool`` ask them; everything they decide about is modelled:

* the caller is one thread: it packs and sends chunks and takes in results, one after the other (half of ``PER_CHUNK`` for
  a chunk on its way there, half for a message of results), or runs a batch of tasks itself;
* the watch looks up when a batch takes longer than expected: it engages the workers, ends the batch after its running task,
  and feeds in the caller's place;
* a worker runs one chunk at a time; its next one has half a round trip to go, and so has the report that it is done;
  results that have waited for ``hold`` seconds are sent without waiting for the end of the chunk;
* travelling costs ``ship`` for a task: a half of it the caller's time, a half the worker's;
* when workers are idle and no chunk is ready, a part of the chunk with most left is moved, a millisecond after asking;
* there are as many cores as workers: what the caller does while all of them are busy is time lost to one of them;
* workers that are not running yet are ready ``start`` seconds after they were first wanted.

No clock is read and nothing is random: the same machine and work always give the same makespan.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyhands.engine.moving import cut, hold, takers, worth_moving
from manyhands.scheduling.chunks import PER_CHUNK, ROUND_TRIP, SHIP, Planner
from manyhands.scheduling.watch import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

#: A worker has given up what was asked of it when so many seconds have passed.
CONFIRMED = 0.001
#: Below this much work, in seconds, no watch is set up.
TRIFLE = 0.000_100


class Work:
    """The tasks of a call, and what each costs.

    Args:
        tasks: how many there are.
        unit: the seconds that one unit of ``sums`` stands for.
        sums: the cost of all tasks before each one, and of all, in units; None: every task is one unit.
    """

    def __init__(self, tasks: int, unit: float, sums: Sequence[float] | None = None) -> None:
        self.tasks = tasks
        self.unit = unit
        self.sums: Sequence[float] = range(tasks + 1) if sums is None else sums
        self.even = sums is None
        self.total = self.sums[tasks] * unit

    def between(self, first: int, stop: int) -> float:
        """Return what the tasks from ``first`` to before ``stop`` cost together, in seconds."""
        return (self.sums[stop] - self.sums[first]) * self.unit

    def begun(self, first: int, stop: int, elapsed: float, extra: float = 0.0) -> int:
        """Return the index after the last task that was begun when those from ``first`` on have run for so long.

        Args:
            first: the task that was begun at once.
            stop: none from here on is begun.
            elapsed: seconds.
            extra: what each task takes beside its cost, in seconds.
        """
        if self.even:
            each = self.unit + extra
            return min(stop, first + 1 + int(elapsed / each)) if elapsed < each * (stop - first) else stop
        sums, unit, base = self.sums, self.unit, self.sums[first]

        def spent(index: int) -> float:
            return (sums[index] - base) * unit + (index - first) * extra

        return bisect_left(range(stop), elapsed + 1e-12, first + 1, stop, key=spent)

    @property
    def longest(self) -> float:
        return self.unit * (1 if self.even else max(b - a for a, b in itertools.pairwise(self.sums)))


@dataclass(frozen=True)
class Machine:
    """What a call runs on; all times in seconds."""

    workers: int
    ship: float = SHIP
    bytes_per_task: float = 8.0
    start: float = 0.0
    round_trip: float = ROUND_TRIP
    per_chunk: float = PER_CHUNK
    flags: str = "abcde"


class Chunk:
    """Tasks that travel together, or a part of such."""

    __slots__ = ("arrived", "first", "flushed", "limit", "plan", "sent", "sent_at", "stolen", "stop")

    def __init__(self, first: int, stop: int) -> None:
        self.first = self.sent = first
        self.stop = self.limit = stop
        self.sent_at = self.arrived = self.flushed = self.stolen = 0.0
        self.plan: tuple[int, float] | None = None


class Batch:
    """Tasks that the caller runs itself."""

    def __init__(self, first: int, stop: int, start: float, expected: float) -> None:
        self.first = first
        self.stop = self.end = stop
        self.start = start
        self.expected = expected


class Simulation:
    """One call.

    Args:
        machine: what it runs on.
        work: what there is to do.
        chunksize: as given by the user.
        cost: what is remembered of an earlier call, seconds for a task.
        sized: the length of the input is known.
    """

    def __init__(
        self, machine: Machine, work: Work, *, chunksize: int | None = None, cost: float | None = None, sized: bool = True
    ) -> None:  # fmt: skip
        self.machine = machine
        self.work = work
        self.sized = sized
        self.planner = Planner(machine.workers, chunksize, cost)
        self.now = 0.0
        self.chunks = 0  # sent to workers, parts included
        self.moves = 0
        self.ran = [0, 0]  # tasks run here, there
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        # the caller
        self._position = 0
        self._returned: list[tuple[int, int]] = []
        self._results = 0
        self._inbox: deque[tuple[int, float]] = deque()
        self._waits = False
        self._batch: Batch | None = None
        self._watched: bool | None = None  # None: no watch; True: a look is due; False: it sleeps
        self._feeding = 0.0  # the watch feeds until then
        self._caller = self._call()
        self._hold = hold(machine.workers) if "a" in machine.flags else 0.005
        # the pool
        self._engaged = False
        self._ready = 0 if machine.start else machine.workers
        self._limit = machine.workers
        self._queue: deque[Chunk] = deque()
        self._idle = self._ready
        self._running: dict[Chunk, None] = {}  # in the order of their sending
        self._flight = 0
        self._looking = False

    def run(self) -> float:
        """Return the makespan, in seconds."""
        self._resume()
        while self._caller is not None:
            self.now, _, action = heapq.heappop(self._events)
            action()
        assert self._results == self.work.tasks == sum(self.ran)
        return self.now

    def _at(self, when: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    # the caller: scheduling.call

    def _resume(self) -> None:
        """Run the caller up to the next thing that takes time."""
        try:
            step = next(self._caller)
        except StopIteration:
            self._caller = None
            return
        if step is None:
            self._waits = True
        elif isinstance(step, float):
            self._steal(step)
            self._at(self.now + step, self._resume)
        else:
            self._end_batch_at(step)

    def _call(self) -> Generator[float | Batch | None, None, None]:
        """``Call.runs``: yields seconds at work, a batch to run, or None to wait for what comes."""
        workers = self.machine.workers
        while True:
            while self._inbox:
                if "b" in self.machine.flags and self._engaged: yield from self._feed(pull=False)
                yield from self._absorb()
            if self._results == self.work.tasks:
                return
            here = False
            if not self._drained():
                remaining = self._remaining()
                here = not self.planner.worth_going(remaining, warm=self._engaged or self._ready > 0)
                if not here:
                    self._engage()
                    if self._ready < workers:
                        if (self._ready or "e" not in self.machine.flags): yield from self._feed(pull=True)
                        here = not self._drained()
            if here:
                yield from self._run_here()
                continue
            yield from self._feed(pull=True)
            self._set_limit(workers)
            if not self._inbox:
                yield None

    def _drained(self) -> bool:
        return not self._returned and self._position == self.work.tasks

    def _remaining(self) -> int | None:
        left = self.work.tasks - self._position + sum(stop - first for first, stop in self._returned)
        return left if self.sized else None

    def _take(self, count: int) -> tuple[int, int]:
        if self._returned:
            first, stop = self._returned.pop(0)
            if stop - first > count:
                self._returned.insert(0, (first + count, stop))
            return first, min(stop, first + count)
        first = self._position
        self._position = min(self.work.tasks, first + count)
        return first, self._position

    def _run_here(self) -> Generator[float | Batch | None, None, None]:
        planner = self.planner
        count = planner.batch(self._remaining(), going=self._engaged)
        assert count >= 1
        first, stop = self._take(count)
        self._stand_watch(stop - first)
        if self._engaged:
            self._set_limit(max(1, self.machine.workers - 1))
        batch = self._batch = Batch(first, stop, self.now, (stop - first) * (planner.cost or 0.0))
        yield batch
        self._batch = None
        if self._feeding > self.now:  # the watch holds the lock
            yield self._feeding - self.now
        if batch.stop < stop:
            self._returned.append((batch.stop, stop))
        self._steal(self.now - batch.start)
        planner.ran_here(batch.stop - first, self.work.between(first, batch.stop))
        self._results += batch.stop - first
        self.ran[0] += batch.stop - first

    def _end_batch_at(self, batch: Batch) -> None:
        stop = batch.stop
        self._at(
            batch.start + self.work.between(batch.first, stop),
            lambda: self._resume() if batch is self._batch and batch.stop == stop else None,
        )

    def _stand_watch(self, tasks: int) -> None:
        if self._watched is not None or self._engaged:
            if self._watched:
                self._at(self.now + PATIENCE, self._look)
            return
        remaining, cost = self._remaining(), self.planner.cost
        if (cost is not None and remaining is not None and (remaining + tasks) * cost < TRIFLE) or self._drained():
            return
        self._watched = True
        self._at(self.now + PATIENCE, self._look)

    def _look(self) -> None:
        """``Call._look``: is the caller stuck?"""
        batch = self._batch
        if batch is None or self._watched is None:
            return  # it looks again with the next batch
        due = batch.start + max(PATIENCE, (2 if "d" in self.machine.flags else 4) * batch.expected)
        if due > self.now + 1e-12:
            self._at(max(due, self.now + PATIENCE), self._look)
            return
        stop = self.work.begun(batch.first, batch.stop, self.now - batch.start)
        if "d" in self.machine.flags and stop < batch.stop:
            batch.stop = stop
            self._end_batch_at(batch)
            self._at(self.now + PATIENCE, self._look)
            return
        if not self._engaged and self._drained() and batch.stop == batch.end:
            self._watched = False
            return
        self._engage()
        if stop < batch.stop:
            batch.stop = stop
            self._end_batch_at(batch)
        self._watched = False
        self._set_limit(max(1, self.machine.workers - 1))
        if self._feeding <= self.now and (self._ready or "e" not in self.machine.flags):
            self._feed_aside(self._feed(pull=False))

    def _feed_aside(self, feeding: Generator[float, None, None]) -> None:
        """Feed in the watch's thread."""
        step = next(feeding, None)
        if step is not None:
            self._feeding = self.now + step
            self._at(self._feeding, lambda: self._feed_aside(feeding))

    def _engage(self) -> None:
        if not self._engaged:
            self._engaged = True
            for _ in range(self.machine.workers - self._ready):
                self._at(self.now + self.machine.start, self._worker_ready)

    def _feed(self, *, pull: bool) -> Generator[float, None, None]:
        workers, planner, machine = self.machine.workers, self.planner, self.machine
        enough = workers + 1 + workers // 8
        while len(self._queue) + self._flight < enough and not self._drained():
            count = planner.chunk(self._remaining())
            assert count >= 1
            first, stop = self._take(count)
            tasks = stop - first
            seconds = tasks * machine.ship / 4
            yield machine.per_chunk / 2 + seconds
            planner.packed(tasks, seconds, int(tasks * machine.bytes_per_task))
            self._queue.append(Chunk(first, stop))
            self._dispatch()
            if pull and self._inbox:
                return

    def _absorb(self) -> Generator[float, None, None]:
        tasks, busy = self._inbox.popleft()
        if tasks:
            yield self.machine.per_chunk / 2 + tasks * self.machine.ship / 4
            self._results += tasks
            self.ran[1] += tasks
            self.planner.ran_there(tasks, busy, self.machine.ship / 2)

    def _deliver(self, tasks: int, busy: float) -> None:
        self._inbox.append((tasks, busy))
        if self._waits:
            self._waits = False
            self._resume()
        elif self._watched is False and self._batch is not None:
            self._look()

    # the pool: engine.pool and engine.worker

    def _worker_ready(self) -> None:
        self._ready += 1
        self._idle += 1
        self._deliver(0, 0.0)
        self._dispatch()

    def _set_limit(self, workers: int) -> None:
        self._limit = workers
        if self._idle:
            self._dispatch()

    def _steal(self, seconds: float) -> None:
        """The caller needs a core; if all of them are busy, it takes turns with the worker that has waited longest."""
        if len(self._running) == self.machine.workers:
            chunk = next(iter(self._running))
            self._running.pop(chunk)
            self._running[chunk] = None
            chunk.stolen += seconds

    def _dispatch(self) -> None:
        while self._idle and self._queue and self._flight < self._limit:
            self._idle -= 1
            self._flight += 1
            self.chunks += 1
            chunk = self._queue.popleft()
            chunk.sent_at = self.now
            chunk.arrived = chunk.flushed = self.now + self.machine.round_trip / 2
            self._running[chunk] = None
            self._plan(chunk)
        if self._idle:
            self._look_for_work()

    def _ends(self, chunk: Chunk, stop: int) -> float:
        """When the worker has done the tasks before ``stop``, as far as is known now."""
        tasks = self.work.between(chunk.first, stop) + (stop - chunk.first) * self.machine.ship / 2
        return chunk.arrived + chunk.stolen + tasks

    def _begun(self, chunk: Chunk, ahead: float = 0.0) -> int:
        """The index after the last task that was begun so many seconds from now."""
        elapsed = self.now + ahead - chunk.arrived - chunk.stolen
        if elapsed < 0:
            return chunk.first
        return self.work.begun(chunk.first, chunk.limit, elapsed, self.machine.ship / 2)

    def _plan(self, chunk: Chunk) -> None:
        """Find out when the worker next has something to say: its results are old enough, or its chunk is done."""
        place, due = chunk.limit, chunk.flushed + self._hold
        if self._ends(chunk, place) > due:
            place = max(self._begun(chunk, due - self.now), min(chunk.sent + 1, place))
        chunk.plan = plan = (place, self._ends(chunk, place))
        self._at(plan[1], lambda: self._say(chunk, plan))

    def _say(self, chunk: Chunk, plan: tuple[int, float]) -> None:
        """The worker sends what it has, unless it was disturbed since it was planned."""
        if chunk.plan is not plan:
            return
        place, when = plan
        if self._ends(chunk, place) > when:
            self._plan(chunk)
            return
        tasks, busy = place - chunk.sent, self.work.between(chunk.sent, place)
        chunk.sent, chunk.flushed = place, self.now
        if place < chunk.limit:
            self._at(self.now + self.machine.round_trip / 2, lambda: self._deliver(tasks, busy))
            self._plan(chunk)
        else:
            chunk.plan = None
            self._at(self.now + self.machine.round_trip / 2, lambda: self._done(chunk, tasks, busy))

    def _done(self, chunk: Chunk, tasks: int, busy: float) -> None:
        """The pool hears that a worker has finished its chunk."""
        del self._running[chunk]
        self._flight -= 1
        self._idle += 1
        if chunk.limit < chunk.stop:
            self._queue.appendleft(Chunk(chunk.limit, chunk.stop))
        self._dispatch()
        self._deliver(tasks, busy)

    def _look_for_work(self) -> None:
        if self._looking:
            return
        best: tuple[float, Chunk] | None = None
        later = float("inf")
        if self._flight < self._limit:
            for chunk in self._running:
                if chunk.plan is None or chunk.sent >= chunk.stop - 1:
                    continue  # all of it was begun
                begun = self._begun(chunk)
                if begun >= chunk.stop:
                    continue
                elapsed, done = self.now - chunk.sent_at, begun - chunk.first
                if worth_moving(done, chunk.stop - chunk.first, elapsed):
                    left = (chunk.stop - begun) * elapsed / max(1, done)
                    if best is None or left > best[0]:
                        best = left, chunk
                else:
                    later = min(later, elapsed)
        if best is not None:
            self._move(best[1])
        elif later < float("inf"):
            self._looking = True
            self._at(self.now + max(0.001, later), self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        self._dispatch()

    def _move(self, chunk: Chunk) -> None:
        begun=self._begun(chunk)
        n=takers(begun-chunk.first, chunk.stop-chunk.first, self.now-chunk.sent_at, self._idle) if "c" in self.machine.flags else self._idle
        place = cut(begun, chunk.stop, n)
        if place < chunk.limit:
            chunk.limit = place
            self._plan(chunk)
        self._looking = True

        def check() -> None:
            self._looking = False
            if chunk in self._running and self._begun(chunk) <= place < chunk.stop:
                self.moves += 1
                stop, chunk.stop = chunk.stop, place
                share = max(1, -(-(stop - place) // max(1, min(n,self._idle) if "c" in self.machine.flags else self._idle)))
                for first in range(place, stop, share):
                    self._queue.append(Chunk(first, min(stop, first + share)))
            self._dispatch()

        self._at(self.now + CONFIRMED, check)
