"""Single tasks and their futures: packed together for the way when many wait, each with an outcome of its own.

Used by ``executor`` for a pool of its own, and by ``submit`` of decorated functions for the shared pool.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic

from manyhands.engine.interrupts import HeldBack, interrupted, ring, sleep
from manyhands.engine.lanes import ANY
from manyhands.engine.opening import opened
from manyhands.engine.streams import Broken, Crash, Results, Talk
from manyhands.engine.teller import Teller
from manyhands.transport.errors import add_note, again, crash, unpack
from manyhands.transport.outcomes import FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from manyhands.engine.attending import TaskFuture
    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Definition, Event
    from manyhands.retries import Retries

#: Tasks grouped into one message last together about as long as this, in seconds, and never more than so many.
TOGETHER, MOST = 0.005, 512
#: Of tasks that are to go to certain workers, so many groups for each are ready: that a free one finds its own among them.
CHOICE = 3
#: The shape of a task, (args, kwargs), and: send results as they come.
FULL, EAGER, TALKS = 2, 16, 64


class Task:
    """One call on its way, and what was asked for it.

    Args:
        future: has its outcome.
        definition: the function.
        frame: the arguments, as bytes.
        timeout: seconds that it may take in its worker, or None.
        retries: when it is tried again, or None.
        explain: adds to its exception which task it was; called with the exception and the worker's pid, or None.
        heard: takes what it says while it runs (``Talk``); None: it says nothing. It travels alone, then.
        lane: of the worker that should have it; see ``lanes``.
    """

    __slots__ = (
        "attempts",
        "begun",
        "definition",
        "explain",
        "frame",
        "future",
        "heard",
        "lane",
        "last",
        "retries",
        "timeout",
    )

    def __init__(
        self, future: TaskFuture, definition: Definition, frame: bytes, timeout: float | None = None,
        retries: Retries | None = None, explain: Callable[[BaseException, int | None], object] | None = None,
        heard: Callable[[Talk], object] | None = None, lane: int = ANY,
    ) -> None:  # fmt: skip
        self.future = future
        self.definition = definition
        self.frame = frame
        self.timeout = timeout
        self.retries = retries
        self.explain = explain
        self.heard = heard
        self.lane = lane
        self.attempts = 0
        self.begun = False
        self.last: BaseException | None = None  # what it has failed of, while it waits for another try

    def begin(self) -> bool:
        """Tell whether it is still wanted; after this, it cannot be cancelled any more."""
        if not self.begun:
            self.begun = self.future.set_running_or_notify_cancel()
        return self.begun

    def goes_with(self, other: Task) -> bool:
        """Tell whether both can travel in one message."""
        same = self.definition is other.definition and self.timeout == other.timeout
        return same and self.lane == other.lane and self.heard is None and other.heard is None


class Submissions:
    """The futures of one pool.

    Args:
        pool: the pool; started with the first submission.
        initializer: of the pool; what it sets in the workers is not sent to them.
    """

    def __init__(self, pool: Pool, initializer: Callable[..., object] | None = None) -> None:
        self.pool = pool
        self.initializer = initializer
        self._lock = threading.Lock()
        self._bells: list[Any] = []  # of those who wait until nothing is unfinished
        self._pending: deque[Task] = deque()
        self._running: dict[int, Task] = {}  # those that wait for another try, too
        self._count = 0
        self._cost = 0.0
        self._teller = Teller(self._take, pool.later)
        self._stream = pool.open(self._teller.deliver, pool.size)

    def submit(self, task: Task) -> None:
        """Queue one task."""
        task.future.pool = self.pool
        task.future.submissions = self
        self._teller.stay()
        with HeldBack():  # a task that is taken from the queue is sent
            with self._lock:
                self._pending.append(task)
                wanted = self._wants_more()
            if wanted:
                self._post()

    def unfinished(self) -> bool:
        """Whether any future has no outcome yet."""
        with HeldBack(), self._lock:  # between the two a task is in neither
            return bool(self._pending or self._running)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every future has its outcome; False when ``timeout`` seconds were not enough.

        At the end of a program that Ctrl-C has ended nobody wants to wait: what is not done is cancelled.
        """
        if interrupted():
            from concurrent.futures import CancelledError

            self.cancel_pending()
            self.fail(CancelledError("Ctrl-C has ended the program"))
        deadline = None if timeout is None else monotonic() + timeout
        while not sleep(self._bells, self._idle, None if deadline is None else deadline - monotonic()):
            if deadline is not None and monotonic() >= deadline:
                return False
        return True

    def _idle(self) -> bool:
        return not self.unfinished()

    def cancel_pending(self) -> None:
        """Cancel what has not been sent."""
        with HeldBack(), self._lock:
            pending, self._pending = list(self._pending), deque()
            ring(self._bells)
        for task in pending:
            if task.future.cancel():
                task.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """Give every unfinished future this exception."""
        with HeldBack(), self._lock:
            tasks = [*self._running.values(), *self._pending]
            self._running.clear()
            self._pending.clear()
            ring(self._bells)
        for task in tasks:
            if not task.future.done() and task.begin():
                resolve(task.future, error=again(error))

    def expire(self, task: Task, deadline: float) -> None:
        """End a task if it has no outcome in so many seconds, whether it has begun or not."""

        def over() -> None:
            if not task.future.done():
                from manyhands.exceptions import TaskTimeoutError

                error = TaskTimeoutError(
                    f"the call took longer than its deadline of {deadline:g} s", limit=deadline
                )
                if task.explain is not None:
                    task.explain(error, None)
                self.end(task.future, error)

        self.pool.later(deadline, over)

    def end(self, future: Future[Any], error: BaseException | None = None) -> None:
        """End a task, with its worker if it has begun.

        Args:
            future: of the task.
            error: its outcome; None: that its worker was ended.
        """
        with HeldBack(), self._lock:
            index = next((index for index, task in self._running.items() if task.future is future), None)
            waiting = next((task for task in self._pending if task.future is future), None)
            if waiting is not None:
                self._pending.remove(waiting)
            task = waiting if index is None else self._running[index]
            if task is None:
                return
            task.retries = None
            error = error or task.last
            if error is not None and index is not None:
                del self._running[index]
            ring(self._bells)
        if error is not None and task.begin():
            resolve(future, error=error)
        if index is not None:
            self.pool.loop_soon(lambda: self.pool.end_task(self._stream, index))

    def close(self, *, kill: bool) -> None:
        self._stream.close(kill=kill)

    def _wants_more(self) -> bool:
        stream, enough = self._stream, self.pool.size
        if self._pending and self._pending[0].lane != ANY:
            enough *= CHOICE
        return len(stream.ready) + stream.in_flight <= enough

    def _post(self) -> None:
        """Send a group of tasks of the same function, one task where nothing is known of their cost."""
        with self._lock:
            fair = -(-len(self._pending) // (3 * self.pool.size))
            most = max(1, min(fair, MOST, int(TOGETHER / self._cost) if self._cost else 1))
            group: list[Task] = []
            others: list[Task] = []
            while self._pending and len(group) < most:
                if group and not self._pending[0].goes_with(group[0]):
                    if self._pending[0].lane == ANY or len(others) == MOST:
                        break
                    others.append(self._pending.popleft())
                    continue
                task = self._pending.popleft()
                if task.begin():
                    group.append(task)
            self._pending.extendleft(reversed(others))
            self._stream.limit = self.pool.size  # which may have grown
            base, self._count = self._count, self._count + len(group)
            for place, task in enumerate(group):
                self._running[base + place] = task
            if not group and not self._pending and not self._running:
                ring(self._bells)
        if group:
            from manyhands.transport.frames import join

            first = group[0]
            chunk = self._stream.post(
                first.definition, join([task.frame for task in group]),
                FULL | EAGER | (TALKS if first.heard is not None else 0), len(group), base, first.timeout, first.lane,
            )  # fmt: skip
            if first.heard is None and len(group) == 1:
                first.future.chunk = chunk

    def _take(self, event: Event) -> None:
        """Something has come."""
        if isinstance(event, Results):
            if event.outcomes and event.busy:
                cost = event.busy / len(event.outcomes)
                self._cost = (self._cost + cost) / 2 if self._cost else cost
            for place, (kind, outcome) in enumerate(event.outcomes):
                self._settle(event.first + place, kind, outcome, event.worker)
        elif isinstance(event, Crash):
            if event.index in self._running:
                self._fail_one(event.index, crash(event), event.pid)
        elif isinstance(event, Talk):
            task = self._running.get(event.index)
            if task is not None and task.heard is not None:
                task.heard(event)
        elif isinstance(event, Broken):
            self.fail(event.error)
        while self._pending and self._wants_more():
            self._post()
        with self._lock:
            if not self._pending and not self._running:
                ring(self._bells)

    def _settle(self, index: int, kind: int, outcome: memoryview, worker: int) -> None:
        if kind == FAILED:
            self._fail_one(index, unpack(outcome), worker)
            return
        task = self._pop(index)
        if task is None:
            return
        future = task.future
        future.worker = worker
        try:
            value = opened(kind, outcome)
        except BaseException as error:
            add_note(error, "manyhands: the result came, but could not be unpickled in the caller's process")
            resolve(future, error=error)
        else:
            resolve(future, value)

    def _fail_one(self, index: int, error: BaseException, worker: int) -> None:
        """A task has failed: its outcome, unless it is worth another try."""
        task = self._running.get(index)
        if task is None:
            return
        task.attempts += 1
        if task.retries is not None and task.retries.worth(error, task.attempts):
            task.last = error
            self.pool.later(task.retries.wait(task.attempts), lambda: self._try_again(index))
            return
        self._pop(index)
        task.future.worker = worker
        if task.explain is not None:
            task.explain(error, worker)
        if task.attempts > 1:
            add_note(error, f"manyhands: tried {task.attempts} times")
        resolve(task.future, error=error)

    def _try_again(self, index: int) -> None:
        with self._lock:
            task = self._running.pop(index, None)
            if task is None:
                return
            task.last = None
            self._pending.append(task)
            wanted = self._wants_more()
        if wanted:
            self._post()

    def _pop(self, index: int) -> Task | None:
        with self._lock:
            return self._running.pop(index, None)


def resolve(future: Future[Any], value: Any = None, error: BaseException | None = None) -> None:
    """Give a future its outcome, and outlive its callbacks.

    ``concurrent.futures`` logs an ``Exception`` of a callback and goes on; ``SystemExit`` and its like would end the loop
    thread, or the delivery of what came with this result.
    """
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
    except BaseException:
        import logging

        logging.getLogger("concurrent.futures").exception("exception calling callback for %r", future)
