"""What a pool does with chunks that are under way: tasks whose time is over, and parts that go to workers with nothing to do.

``pool`` builds on it. Everything here runs in the loop thread, or in a caller's that holds its guard.
"""

from __future__ import annotations

from time import monotonic

from manyhands.engine.moving import cut, look_again, work_left, worth_moving
from manyhands.engine.process import end_process
from manyhands.engine.staff import Staff
from manyhands.engine.workers import NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from manyhands.engine.loop import Timer
    from manyhands.engine.streams import Chunk
    from manyhands.engine.workers import WorkerHandle

#: A worker has so many seconds to say where it is, and so many times more if it has not; then it is ended.
STACK_WITHIN, PATIENCE = 0.02, 9
#: So many seconds later every store of a worker has been seen; see ``transport.journal``.
CONFIRMED = 0.001


class Shares(Staff):
    """Workers and the chunks that they run; arguments as ``Staff``."""

    _moving: Timer | None = None

    # tasks whose time is limited

    def _set_alarm(self, worker: WorkerHandle, when: float) -> None:
        """Have somebody look at a worker at that time, or before."""
        if when < worker.alarm:
            assert self._loop is not None
            worker.alarm = when
            self._loop.call_later(when - monotonic(), lambda: self._check_time(worker))

    def _check_time(self, worker: WorkerHandle) -> None:
        """Has the task of a worker run too long?"""
        worker.alarm = NEVER
        chunk = worker.chunk
        if chunk is None or chunk.timeout is None or worker.gone or worker.expired is not None:
            return
        running, now = worker.running(chunk), monotonic()
        if running is not None and running[1] <= now:
            self._doubt(worker, running[0], lambda: self._expire(worker, running[0]), self._check_time)
        elif running is not None and running[2]:
            self._set_alarm(worker, running[1])
        else:  # it is between two of them, or about to begin
            self._set_alarm(worker, now + chunk.timeout)

    def _doubt(
        self,
        worker: WorkerHandle,
        task: int,
        stuck: Callable[[], object],
        gone_on: Callable[[WorkerHandle], object],
    ) -> None:
        """Have a worker begin nothing after a task, and see whether it is still on it.

        Args:
            worker: the worker.
            task: which it was on a moment ago.
            stuck: called if it is still on it; nothing else begins there then.
            gone_on: called if it is not, with the worker: what it does not do any more of its chunk goes elsewhere.
        """
        chunk = worker.chunk
        assert chunk is not None
        worker.doubted = True
        worker.limit(task + 1)

        def check() -> None:
            worker.doubted = False
            if worker.gone or worker.chunk is not chunk:
                return
            if worker.at(chunk) == task:
                stuck()
            else:
                gone_on(worker)

        assert self._loop is not None
        self._loop.call_later(CONFIRMED, check)

    def _expire(self, worker: WorkerHandle, task: int) -> None:
        """The time of a task is over: have the worker say where it is, then end both; nothing else begins there.

        That is its end even if it returns in the meantime: the signal by which the worker is asked may have helped it out of
        the system call it was stuck in.
        """
        assert self._loop is not None
        worker.expired = task
        worker.retired = True
        worker.ask_stack()

        def end(patience: int = PATIENCE) -> None:
            assert self._loop is not None
            if worker.serial not in self._workers or not worker.pid:
                return
            if patience and not worker.stack():  # on a machine that is busy it may not have had its turn yet
                self._loop.call_later(STACK_WITHIN, lambda: end(patience - 1))
            else:
                end_process(worker.pid)

        self._loop.call_later(STACK_WITHIN, end)

    # parts of chunks to workers that have none

    def _look_for_work(self) -> None:
        """Workers are idle and nothing is ready: take a part of the chunk that has most left to do."""
        if self._moving is not None:
            return
        now, later = monotonic(), NEVER
        best: tuple[float, WorkerHandle] | None = None
        for worker in self._workers.values():
            chunk = worker.chunk
            if (
                chunk is None
                or worker.doubted
                or chunk.called_back
                or worker.expired is not None
                or chunk.owner.closed
                or chunk.owner.in_flight >= chunk.owner.limit
            ):
                continue
            begun = worker.begun(chunk)
            if begun >= chunk.stop or chunk.stop - chunk.first < 2:
                continue
            figures = (
                begun - chunk.first,
                chunk.stop - chunk.first,
                now - chunk.sent_at,
                chunk.pace(begun, now),
            )
            if worth_moving(*figures):
                left = work_left(*figures)
                if best is None or left > best[0]:
                    best = (left, worker)
            else:
                later = min(later, look_again(now - chunk.sent_at))
        assert self._loop is not None
        if best is not None:
            self._move(best[1])
        elif later < NEVER:  # too early to tell
            self._moving = self._loop.call_later(later, self._look_again)

    def _look_again(self) -> None:
        self._moving = None
        self._dispatch()

    def _move(self, worker: WorkerHandle) -> None:
        """Take the second part of what a worker has not begun."""
        chunk = worker.chunk
        assert chunk is not None
        assert self._loop is not None
        place = cut(worker.begun(chunk), chunk.stop, len(self._idle))
        worker.limit(place)

        def check() -> None:
            self._moving = None
            self._cut(worker, chunk, place, len(self._idle))
            self._dispatch()

        self._moving = self._loop.call_later(CONFIRMED, check)

    def _cut(self, worker: WorkerHandle, chunk: Chunk, place: int, shares: int) -> None:
        """Make what a worker has not begun ready for others; ``CONFIRMED`` after it was limited to what is before ``place``."""
        if worker.chunk is chunk and worker.begun(chunk) <= place < chunk.stop:
            rest, chunk.stop = chunk.part(place, chunk.stop), place
            if not chunk.owner.closed:
                share = max(1, -(-(rest.stop - rest.first) // max(1, shares)))
                for first in range(rest.first, rest.stop, share):
                    chunk.owner.ready.append(rest.part(first, min(first + share, rest.stop)))

    # what others have of a worker's own lane

    def _calls_back(self, idle: WorkerHandle) -> bool:
        """Whether an idle worker is about to get back what another has of its lane and has not begun; else see to that.

        Its keys are known to it, and may be new to the other: it is better at them than at anything else that is ready.
        """
        strays = [worker for worker in self._workers.values() if self._strays(worker, idle.lane)]
        for worker in strays:
            assert worker.chunk is not None
            if not worker.chunk.called_back:
                worker.chunk.called_back = True
                self._call_back(worker, worker.chunk)
        return bool(strays)

    def _strays(self, worker: WorkerHandle, lane: int) -> bool:
        """Whether a worker has something to do of another's lane."""
        chunk = worker.chunk
        if chunk is None or chunk.lane != lane or worker.lane == lane or chunk.owner.closed:
            return False
        return not worker.doubted and worker.expired is None and worker.begun(chunk) < chunk.stop

    def _call_back(self, worker: WorkerHandle, chunk: Chunk) -> None:
        """Take all that a worker has not begun of a chunk."""
        assert self._loop is not None
        place = worker.begun(chunk)
        worker.limit(place)

        def check() -> None:
            if self._strays(worker, chunk.lane) and worker.chunk is chunk:
                if worker.begun(chunk) > place:  # it has begun another one at that moment
                    self._call_back(worker, chunk)
                    return
                self._cut(worker, chunk, place, 1)
            self._dispatch()

        self._loop.call_later(CONFIRMED, check)
