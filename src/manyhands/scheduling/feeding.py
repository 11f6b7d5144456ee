"""The way there: what a call knows of itself, and how its items are handed over to the workers.

``arriving`` builds on it, and ``call`` on that. The caller's thread feeds, and the watch's while that is stuck in a task;
whoever does holds the call's lock.
"""

from __future__ import annotations

import _thread
from time import monotonic, perf_counter

from manyhands.scheduling.chunks import Planner
from manyhands.scheduling.job import HERE
from manyhands.scheduling.watch import PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.backends import Backend, Line
    from manyhands.engine.streams import Event
    from manyhands.scheduling.batch import Batch
    from manyhands.scheduling.job import Job
    from manyhands.scheduling.policy import Policy
    from manyhands.scheduling.source import Source
    from manyhands.scheduling.watch import Watch

#: Where ``imap`` has no ``buffersize``, results may wait for their consumer up to so many tasks, or what so many
#: chunks for each worker hold, whichever is more.
WINDOW_TASKS, WINDOW_CHUNKS = 64, 4
#: ... but no more than the workers do in so many seconds, nor than so many bytes, unless that would leave a worker idle.
WINDOW_TIME = 0.25
WINDOW_BYTES = 128 << 20
#: An iterator that takes longer than this to give a few items is not asked for more than needed.
QUICK = 0.000_200
#: More results than anybody can wait for.
_END = 1 << 62


class Feeding:
    """A call, and its way to the workers; arguments as ``Call``."""

    def __init__(
        self, job: Job, source: Source, backend: Backend | None, *, chunksize: int | None = None, window: int | None = None,
        lazy: bool = False, away: bool = False, ordered: bool = True, policy: Policy | None = None,
        timeout: float | None = None, deadline: float | None = None,
    ) -> None:  # fmt: skip
        self.job = job
        self.source = source
        self.backend = backend
        self.workers = 2  # until it matters: finding out reads files
        self.isolated = backend is not None and (away or backend.isolated)
        self.planner = Planner(self.workers, chunksize, job.memory.cost)
        self.ordered = ordered
        self.lazy = lazy
        self.timeout = timeout
        self.deadline = deadline
        self._ends = None if deadline is None else monotonic() + deadline
        self.ledger = source.ledger(
            job, policy, ordered=ordered, counts=policy is not None and deadline is not None
        )
        self._window = window
        self._lock = _thread.allocate_lock()  # of source, planner and line: the watch may feed too
        self._line: Line | None = None
        self._inbox: Any = None
        self._watch: Watch | None = None
        self._doze = PATIENCE
        self._batch: Batch | None = None  # while one runs here
        self._result_size = 0.0  # bytes of a result, of late
        self._out = 0  # tasks that were sent and have not come back
        self._quick = False  # the input gives what it is asked for at once
        self._warned = False
        self._stopped = self._ended = self._overdue = False
        self._refused: BaseException | None = None  # what the watch could not send
        self._counted = False
        self._cold = False  # tasks take longer here than in workers that have their caches warm
        self._reading: float | None = None  # what the input takes for an item, of late: seconds
        self._froze = [0.0]  # seconds that went into freezing items since the last chunk
        source.apart = job.way is not None and job.way.seeds
        if backend is not None and backend.shares:
            source.share(self.ledger.items_out)

    def _blocked(self) -> bool:
        """Tell whether the consumer has to take results before more tasks may begin."""
        return self._free() < 1

    def _free(self) -> int:
        """How many tasks may begin. Those that were read already are not held back: others may be waiting for them."""
        source = self.source
        failure = self.ledger.failure
        if (
            failure is not None
        ):  # it is raised when all before it are done, and some of these may have been given back
            return (source.given_back() or 1) if source.first() < failure[0] else 0
        return max(source.waiting(), self._unfilled())

    def _unfilled(self) -> int:
        """How many more items may be read than results were taken."""
        return self._room() - (self.source.position - self.ledger.handed)

    def _room(self) -> int:
        if self._window is not None:
            return self._window
        if not self.lazy:
            return _END
        planner, few = self.planner, WINDOW_CHUNKS * self.workers
        tasks = max(WINDOW_TASKS, few * max(planner.chunk(None), planner.last_batch))
        # Nobody knows whether the consumer wants them all: no more than the workers do in a while.
        tasks = max(few, min(tasks, int(self.workers * WINDOW_TIME / (planner.cost or 1e-9))))
        size = max(self._result_size, planner.bytes_per_task, 1.0)
        return min(tasks, max(self.workers + 1, int(WINDOW_BYTES / size)))

    def _engage(self, *, locked: bool = False) -> None:
        """Open the way to the workers."""
        if not locked:
            with self._lock:
                self._engage(locked=True)
            return
        if self._line is not None:
            return
        from queue import SimpleQueue

        assert self.backend is not None
        self._inbox = SimpleQueue()
        self._line = self.backend.open(
            self.job.shipped(),
            self.job.constants,
            self.job.shape,
            self._deliver,
            eager=self.lazy or self.source.eager,
        )
        self._line.check_wait()
        if not self.backend.shares:
            self.source.travel(_timed(self._line.freeze, self._froze))
        self.source.engage()

    def _deliver(self, event: Event) -> None:
        """In the loop thread: something has come."""
        self._inbox.put(event)
        if self._watch is not None and self._batch is not None:
            self._watch.wake()

    def _feed(self, *, pull: bool) -> None:
        """Hand over chunks until the workers have enough; the lock is held."""
        line, source, planner = self._line, self.source, self.planner
        if line is None:
            return
        enough = self.workers + 1 + self.workers // 8
        while line.outstanding() < enough and not source.drained():
            # What there is room for is for all workers.
            each = min(planner.chunk(source.remaining()), max(1, self._room() // enough))
            count = min(each * line.spread, self._free())
            if count < 1:
                return
            before = source.position
            pull = pull and not (self._out and source.holds_back())
            if pull:  # what takes its time is sent as it comes
                look_for = min(enough, self._free()) if source.holds_back() else count
                source.look_ahead(look_for, QUICK)
                self._quick = source.at_hand() >= look_for
                count = min(count, max(1, source.at_hand()))
            index, items = source.take(count, pull=pull)
            if not len(items):
                if source.position > before:  # the checkpoint had their results
                    continue
                return
            items = items[:]
            try:
                self._send(line, index, items)
            except Exception as error:  # one of them cannot travel
                if not pull or (self.ledger.policy is None and not self.lazy):
                    raise
                if len(items) == 1:
                    self.ledger.fail(index, items[0], error, HERE)
                    return
                for place, item in enumerate(items, index):  # it is not known which
                    source.give_back(place, [item])
            if pull and not self._inbox.empty():
                return  # results first: an input that takes its time must not hold them back

    def _feed_meanwhile(self) -> None:
        """See that the workers have enough before the consumer is given something: it may take its time with that."""
        if self._quick and self.ledger.ready():
            with self._lock:
                self._feed(pull=True)

    def _send(self, line: Line, index: int, items: Sequence[Any]) -> None:
        """Hand over one chunk."""
        start = perf_counter()
        packed, size = line.pack(items, index)
        self.planner.packed(len(items), perf_counter() - start + self._froze[0], size)
        self._froze[0] = 0.0
        self.ledger.sent(index, items)
        self._out += len(items)
        line.send(packed, len(items), index, self.timeout)


def _timed(freeze: Callable[[Any], bytes], spent: list[float]) -> Callable[[Any], bytes]:
    """Have somebody know what is spent on freezing; not by the call itself, which items must not keep."""

    def timed(item: Any) -> bytes:
        start = perf_counter()
        try:
            return freeze(item)
        finally:
            spent[0] += perf_counter() - start

    return timed
