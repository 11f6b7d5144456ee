"""A call in virtual time: the real planner and the real arithmetic of moving, on a machine that exists only as numbers.

A discrete-event simulation. Decisions are the package's own (``Planner``, ``worth_moving``, ``cut``, ...), asked for in the order
in which ``scheduling.call`` and ``engine.pool`` ask. What is decided about is modelled:

* the caller is one thread: it packs and sends chunks and takes in results, one after the other (half of ``PER_CHUNK`` for a
  chunk on its way there, half for its results), or runs a batch of tasks itself;
* the watch looks up when a batch takes longer than it should: it ends the batch after the task that is running, and if that
  one goes on, engages the workers and feeds them in the caller's place;
* a worker runs one chunk at a time; the next has half a round trip to go, and so has the report that it is done;
* travelling costs ``ship`` for a task: a half of it the worker's time, a quarter the caller's when it packs, a quarter when
  it takes in the result;
* when a worker is idle and the caller has no more to send, a part of the longest chunk is moved, ``CONFIRMED`` after asking;
* there are as many cores as workers: what the caller does while all of them are busy is time lost to one of them;
* workers that are not running yet are ready ``start`` seconds after they were first wanted.

No clock is read and nothing is random: the same machine and the same work always give the same makespan.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyhands.engine import streams
from manyhands.engine.moving import cut, look_again, work_left, worth_moving
from manyhands.scheduling.call import TRIFLE
from manyhands.scheduling.chunks import PER_CHUNK, ROUND_TRIP, SHIP, Planner
from manyhands.scheduling.watch import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

#: A worker has seen that a part of its chunk is wanted back when so many seconds have passed.
CONFIRMED = 0.001


class Work:
    """The tasks of a call, and what each costs.

    Args:
        mean: what the tasks cost on average, seconds.
        profile: how costs go along the input: so many tasks of such a cost each (in any unit), and so on.
    """

    def __init__(self, mean: float, profile: Sequence[tuple[int, float]]) -> None:
        self._edges = list(itertools.accumulate((tasks for tasks, _ in profile), initial=0))
        self.tasks = self._edges[-1]
        self.mean = mean
        self.total = mean * self.tasks
        scale = self.total / sum(tasks * cost for tasks, cost in profile)
        self._costs = [cost * scale for _, cost in profile]
        self._sums = list(
            itertools.accumulate((tasks * cost * scale for tasks, cost in profile), initial=0.0)
        )
        self.longest = max(self._costs)

    def before(self, index: int) -> float:
        """Return what the tasks before ``index`` cost together, in seconds."""
        part = bisect_right(self._edges, index) - 1
        if part == len(self._costs):
            return self._sums[part]
        return self._sums[part] + (index - self._edges[part]) * self._costs[part]

    def between(self, first: int, stop: int) -> float:
        """Return what the tasks from ``first`` to before ``stop`` cost together, in seconds."""
        return self.before(stop) - self.before(first)

    def begun(self, first: int, stop: int, elapsed: float, extra: float = 0.0) -> int:
        """Return the index after the last task that was begun when those from ``first`` on have run for so long.

        Args:
            first: the task that was begun at once.
            stop: none from here on is begun.
            elapsed: seconds.
            extra: what each task takes beside its cost, in seconds.
        """
        edges, sums = self._edges, self._sums
        target = self.before(first) + first * extra + elapsed * (1 + 1e-9)
        part = bisect_right(range(len(edges)), target, key=lambda edge: sums[edge] + edges[edge] * extra) - 1
        if part == len(self._costs):
            return stop
        done = int((target - sums[part] - edges[part] * extra) / (self._costs[part] + extra))
        return max(first + 1, min(stop, edges[part] + done + 1))


@dataclass(frozen=True)
class Machine:
    """What a call runs on; all times in seconds."""

    workers: int
    ship: float = SHIP
    bytes_per_task: float = 8.0
    start: float = 0.0


class Chunk:
    """Tasks that travel together, or a part of such."""

    pace = streams.Chunk.pace

    __slots__ = ("arrived", "ends", "first", "limit", "seen", "seen_at", "sent_at", "stolen", "stop")

    def __init__(self, first: int, stop: int) -> None:
        self.first = first
        self.stop = self.limit = stop  # the worker stops before ``limit``; the pool has heard of ``stop``
        self.sent_at = self.arrived = self.stolen = self.seen_at = 0.0
        self.seen = -1
        self.ends: float | None = None  # None: it has ended, or is not yet on its way


class Batch:
    """Tasks that the caller runs itself."""

    def __init__(self, first: int, stop: int, start: float, expected: float) -> None:
        self.first = first
        self.stop = stop
        self.start = start
        self.expected = expected
        self.cut = False


#: What the caller does next: work for so many seconds, run a batch, or wait for results.
Step = float | Batch | None


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
        self,
        machine: Machine,
        work: Work,
        *,
        chunksize: int | None = None,
        cost: float | None = None,
        sized: bool = True,
    ) -> None:
        self.machine = machine
        self.work = work
        self.sized = sized
        self.planner = Planner(machine.workers, chunksize, cost)
        self.now = 0.0
        self.chunks = self.moves = 0
        self.ran_here = self.ran_there = 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        # the caller
        self._position = 0
        self._returned: list[tuple[int, int]] = []
        self._inbox: deque[tuple[int, float]] = deque()
        self._waits = False
        self._batch: Batch | None = None
        self._watched: bool | None = None  # None: no watch yet; False: it sleeps until something comes
        self._alarmed = False
        self._feeding = 0.0  # the watch packs a chunk until then
        self._caller: Generator[Step, None, None] | None = self._call()
        # the pool
        self._engaged = False
        self._ready = self._idle = 0 if machine.start else machine.workers
        self._limit = machine.workers
        self._queue: deque[Chunk] = deque()
        self._running: dict[Chunk, None] = {}
        self._looking = False

    def run(self) -> float:
        """Return the makespan, in seconds."""
        self._resume()
        while self._caller is not None:
            self.now, _, action = heapq.heappop(self._events)
            action()
        assert self.ran_here + self.ran_there == self.work.tasks, "every task was run once"
        return self.now

    def _at(self, when: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    # the caller: scheduling.call

    def _resume(self) -> None:
        """Run the caller up to the next thing that takes time."""
        assert self._caller is not None
        try:
            step = next(self._caller)
        except StopIteration:
            self._caller = None
            return
        if step is None:
            self._waits = True
        elif isinstance(step, Batch):
            self._run_until(step)
        else:
            self._steal(step)
            self._at(self.now + step, self._resume)

    def _call(self) -> Generator[Step, None, None]:
        """``Call.runs``."""
        workers = self.machine.workers
        while True:
            while self._inbox:
                if self._engaged and not self._drained() and self._worth_going():
                    yield from self._feed(most=1)  # workers do not wait until all results are taken in
                yield from self._absorb()
            if self.ran_here + self.ran_there == self.work.tasks:
                return
            if not self._drained() and not self._worth_going():
                yield from self._run_here()
                continue
            if not self._drained():
                self._engage()
                if self._ready < workers:
                    if self._ready:
                        yield from self._feed(pull=True)
                    if not self._drained():
                        yield from self._run_here()
                    continue
            yield from self._feed(pull=True)
            self._set_limit(workers)
            if not self._inbox:
                yield None

    def _worth_going(self) -> bool:
        return self.planner.worth_going(self._remaining(), warm=self._engaged or self._ready > 0)

    def _drained(self) -> bool:
        return not self._returned and self._position == self.work.tasks

    def _remaining(self) -> int | None:
        returned = sum(stop - first for first, stop in self._returned)
        return self.work.tasks - self._position + returned if self.sized else None

    def _take(self, count: int) -> tuple[int, int]:
        if self._returned:
            first, stop = self._returned.pop(0)
            if stop - first > count:
                self._returned.insert(0, (first + count, stop))
            return first, min(stop, first + count)
        first = self._position
        self._position = min(self.work.tasks, first + count)
        return first, self._position

    def _run_here(self) -> Generator[Step, None, None]:
        first, stop = self._take(self.planner.batch(self._remaining(), going=self._engaged))
        self._stand_watch(stop - first)
        if self._engaged:
            self._set_limit(max(1, self.machine.workers - 1))
        batch = Batch(first, stop, self.now, (stop - first) * (self.planner.cost or 0.0))
        self._batch = batch
        yield batch
        self._batch = None
        if self._feeding > self.now:
            yield self._feeding - self.now
        if batch.stop < stop:
            self._returned.append((batch.stop, stop))
        self._steal(self.now - batch.start)
        self.planner.ran_here(batch.stop - first, self.work.between(first, batch.stop))
        self.ran_here += batch.stop - first

    def _run_until(self, batch: Batch) -> None:
        """Go on when the batch is over, unless it is ended earlier."""
        stop = batch.stop
        over = batch.start + self.work.between(batch.first, stop)
        self._at(over, lambda: self._resume() if batch is self._batch and batch.stop == stop else None)

    def _feed(self, *, pull: bool = False, most: int | None = None) -> Generator[float, None, None]:
        """``Call._feed``."""
        machine, planner = self.machine, self.planner
        enough = machine.workers + 1 + machine.workers // 8
        while len(self._queue) + len(self._running) < enough and not self._drained():
            first, stop = self._take(planner.chunk(self._remaining()))
            seconds = (stop - first) * machine.ship / 4
            yield PER_CHUNK / 2 + seconds
            planner.packed(stop - first, seconds, int((stop - first) * machine.bytes_per_task))
            self._queue.append(Chunk(first, stop))
            self._dispatch()
            most = None if most is None else most - 1
            if most == 0 or (pull and self._inbox):
                return

    def _absorb(self) -> Generator[float, None, None]:
        tasks, busy = self._inbox.popleft()
        if tasks:
            yield PER_CHUNK / 2 + tasks * self.machine.ship / 4
            self.ran_there += tasks
            self.planner.ran_there(tasks, busy, self.machine.ship / 2)

    def _deliver(self, tasks: int, busy: float) -> None:
        self._inbox.append((tasks, busy))
        if self._waits:
            self._waits = False
            self._resume()
        elif self._watched is False and self._batch is not None:
            self._look()

    def _engage(self) -> None:
        if not self._engaged:
            self._engaged = True
            for _ in range(self.machine.workers - self._ready):
                self._at(self.now + self.machine.start, self._worker_ready)

    # the watch

    def _stand_watch(self, tasks: int) -> None:
        """``Call._stand_watch``."""
        cost = self.planner.cost
        if self._watched is None and not self._engaged:
            remaining = self._remaining()
            trifle = cost is not None and remaining is not None and (remaining + tasks) * cost < TRIFLE
            self._watched = True if not trifle and not self._drained() else None
        if self._watched:
            self._alarm(max(PATIENCE, tasks * (cost or 0.0)))

    def _alarm(self, wait: float) -> None:
        """Have the watch look up after so many seconds."""
        if not self._alarmed:
            self._alarmed = True
            self._at(self.now + wait + 1e-9, self._wake)

    def _wake(self) -> None:
        self._alarmed = False
        self._look()

    def _look(self) -> None:
        """``Call._look``: is the caller stuck?"""
        batch = self._batch
        if batch is None:
            self._watched = not self._engaged  # it looks again with the next batch, or when something comes
            return
        tasks, elapsed = batch.stop - batch.first, self.now - batch.start
        begun = self.work.begun(batch.first, batch.stop, elapsed)
        if not batch.cut:
            wait = self.planner.look_again(begun - batch.first, tasks, elapsed, batch.expected)
            if wait:
                self._alarm(wait)
                return
            if tasks > 1:
                batch.cut = True
                batch.stop = begun
                self._run_until(batch)
                self._alarm(PATIENCE)
                return
        self._watched = False
        if not self._engaged and self._drained() and not batch.cut:
            return
        self._engage()
        self._set_limit(max(1, self.machine.workers - 1))
        if (
            self._feeding <= self.now
            and self._ready
            and self.planner.worth_feeding(self._remaining(), elapsed)
        ):
            self._feed_aside(batch)

    def _feed_aside(self, batch: Batch) -> None:
        """Feed in the watch's thread, as long as the caller is stuck."""
        if batch is not self._batch:
            return
        feeding = self._feed(most=1)
        seconds = next(feeding, None)
        if seconds is not None:
            self._feeding = self.now + seconds
            self._at(self._feeding, lambda: (next(feeding, None), self._feed_aside(batch)))

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
        """The caller needs a core; if all of them are busy, the workers give it up in turn."""
        if len(self._running) == self.machine.workers:
            chunk = next(iter(self._running))
            self._running[chunk] = self._running.pop(chunk)
            chunk.stolen += seconds

    def _dispatch(self) -> None:
        while self._idle and self._queue and len(self._running) < self._limit:
            chunk = self._queue.popleft()
            chunk.sent_at = self.now
            chunk.arrived = self.now + ROUND_TRIP / 2
            self._idle -= 1
            self._running[chunk] = None
            self.chunks += 1
            self._plan(chunk)
        if self._idle:
            self._look_for_work()

    def _plan(self, chunk: Chunk) -> None:
        """Find out when the worker has done its chunk, as far as is known now."""
        chunk.ends = ends = self._end(chunk)
        self._at(ends, lambda: self._finish(chunk, ends))

    def _end(self, chunk: Chunk) -> float:
        travel = (chunk.limit - chunk.first) * self.machine.ship / 2
        return chunk.arrived + chunk.stolen + self.work.between(chunk.first, chunk.limit) + travel

    def _begun(self, chunk: Chunk) -> int:
        """The index after the last task that was begun, as the journal of its worker shows it."""
        elapsed = self.now - chunk.arrived - chunk.stolen
        if elapsed < 0:
            return chunk.first
        return self.work.begun(chunk.first, chunk.limit, elapsed, self.machine.ship / 2)

    def _finish(self, chunk: Chunk, ends: float) -> None:
        """The worker has done its chunk, unless it was disturbed since that was planned."""
        if chunk.ends != ends:
            return
        if self._end(chunk) > ends:
            self._plan(chunk)
            return
        chunk.ends = None
        self._at(self.now + ROUND_TRIP / 2, lambda: self._done(chunk))

    def _done(self, chunk: Chunk) -> None:
        """The pool hears that a worker has finished its chunk."""
        del self._running[chunk]
        self._idle += 1
        if chunk.limit < chunk.stop:
            self._queue.appendleft(Chunk(chunk.limit, chunk.stop))
        self._dispatch()
        self._deliver(chunk.limit - chunk.first, self.work.between(chunk.first, chunk.limit))

    def _look_for_work(self) -> None:
        if self._looking or len(self._running) >= self._limit or not self._drained():
            return
        best: tuple[float, Chunk] | None = None
        later = float("inf")
        for chunk in self._running:
            if chunk.ends is None or chunk.stop - chunk.first < 2:
                continue
            begun, elapsed = self._begun(chunk), self.now - chunk.sent_at
            if begun >= chunk.stop:
                continue
            pace = chunk.pace(begun, self.now)
            figures = begun - chunk.first, chunk.stop - chunk.first, elapsed, pace
            if worth_moving(*figures):
                if best is None or work_left(*figures) > best[0]:
                    best = work_left(*figures), chunk
            else:
                later = min(later, look_again(elapsed))
        if best is not None:
            self._move(best[1])
        elif later < float("inf"):
            self._looking = True
            self._at(self.now + later, self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        self._dispatch()

    def _move(self, chunk: Chunk) -> None:
        place = cut(self._begun(chunk), chunk.stop, self._idle)
        if place < chunk.limit:
            chunk.limit = place
            self._plan(chunk)
        self._looking = True

        def check() -> None:
            self._looking = False
            if chunk in self._running and self._begun(chunk) <= place < chunk.stop:
                self.moves += 1
                stop, chunk.stop = chunk.stop, place
                share = max(1, -(-(stop - place) // max(1, self._idle)))
                for first in range(place, stop, share):
                    self._queue.append(Chunk(first, min(stop, first + share)))
            self._dispatch()

        self._at(self.now + CONFIRMED, check)
