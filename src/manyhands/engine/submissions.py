"""Single tasks and their futures: packed together for the way when many wait, each with an outcome of its own.

Used by ``executor`` for a pool of its own, and by ``submit`` of decorated functions for the shared pool.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from time import monotonic

from manyhands.engine.host import show
from manyhands.engine.interrupts import HeldBack, ring, sleep
from manyhands.engine.streams import Broken, Crash, Results, Said
from manyhands.transport.errors import crash, unpack
from manyhands.transport.outcomes import FAILED, VALUE, unplain
from manyhands.transport.serialize import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from manyhands.engine.attending import TaskFuture
    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Definition, Event

    Pending = tuple[TaskFuture, Definition, bytes]

#: Tasks grouped into one message last together about as long as this, in seconds, and never more than so many.
TOGETHER, MOST = 0.005, 512
#: The shape of a task, (args, kwargs), and: send results as they come.
FULL, EAGER = 2, 16


class Submissions:
    """The futures of one pool.

    Args:
        pool: the pool; started with the first submission.
        initializer: of the pool; what it sets in the workers is not sent to them.
    """

    def __init__(self, pool: Pool, initializer: Callable[..., object] | None = None) -> None:
        self._pool = pool
        self.initializer = initializer
        self._lock = threading.Lock()
        self._bells: list[Any] = []  # of those who wait until nothing is unfinished
        self._pending: deque[Pending] = deque()
        self._running: dict[int, Future[Any]] = {}
        self._count = 0
        self._cost = 0.0
        self._stream = pool.open(self._deliver, pool.size)

    def submit(self, definition: Definition, frame: bytes, future: TaskFuture) -> None:
        """Queue one task."""
        future.pool = self._pool
        with HeldBack():  # a task that is taken from the queue is sent
            with self._lock:
                self._pending.append((future, definition, frame))
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
        for future, _, _ in pending:
            if future.cancel():
                future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """Give every unfinished future this exception."""
        with HeldBack(), self._lock:
            futures = [*self._running.values(), *(future for future, _, _ in self._pending)]
            self._running.clear()
            self._pending.clear()
            ring(self._bells)
        for future in futures:
            if not future.done() and (future.running() or future.set_running_or_notify_cancel()):
                resolve(future, error=error)

    def close(self, *, kill: bool) -> None:
        self._stream.close(kill=kill)

    def _wants_more(self) -> bool:
        stream = self._stream
        return len(stream.ready) + stream.in_flight <= self._pool.size

    def _post(self) -> None:
        """Send a group of tasks of the same function, one task where nothing is known of their cost."""
        with self._lock:
            fair = -(-len(self._pending) // (3 * self._pool.size))
            most = max(1, min(fair, MOST, int(TOGETHER / self._cost) if self._cost else 1))
            group: list[Pending] = []
            while self._pending and len(group) < most:
                if group and self._pending[0][1] is not group[0][1]:
                    break
                entry = self._pending.popleft()
                if entry[0].set_running_or_notify_cancel():
                    group.append(entry)
            self._stream.limit = self._pool.size  # which may have grown
            base, self._count = self._count, self._count + len(group)
            for place, (future, _, _) in enumerate(group):
                self._running[base + place] = future
            if not group and not self._pending and not self._running:
                ring(self._bells)
        if group:
            from manyhands.transport.frames import join

            chunk = self._stream.post(
                group[0][1], join([frame for _, _, frame in group]), FULL | EAGER, len(group), base
            )
            if len(group) == 1:
                group[0][0].chunk = chunk

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Results):
            if event.outcomes and event.busy:
                cost = event.busy / len(event.outcomes)
                self._cost = (self._cost + cost) / 2 if self._cost else cost
            for place, (kind, outcome) in enumerate(event.outcomes):
                self._settle(event.first + place, kind, outcome)
        elif isinstance(event, Crash):
            future = self._pop(event.index)
            if future is not None:
                resolve(future, error=crash(event))
        elif isinstance(event, Broken):
            self.fail(event.error)
        elif isinstance(event, Said):
            show(event)
        while self._pending and self._wants_more():
            self._post()
        with self._lock:
            if not self._pending and not self._running:
                ring(self._bells)

    def _settle(self, index: int, kind: int, outcome: memoryview) -> None:
        future = self._pop(index)
        if future is None:
            return
        if kind == FAILED:
            resolve(future, error=unpack(outcome))
            return
        try:
            value = loads(outcome) if kind == VALUE else unplain(outcome)
        except BaseException as error:
            error.add_note("manyhands: the result came, but could not be unpickled in the caller's process")
            resolve(future, error=error)
        else:
            resolve(future, value)

    def _pop(self, index: int) -> Future[Any] | None:
        with self._lock:
            return self._running.pop(index, None)


def interrupted() -> bool:
    """Tell whether an unhandled Ctrl-C has ended the program (in an interactive session it ends a statement only)."""
    return isinstance(getattr(sys, "last_value", None), KeyboardInterrupt) and not hasattr(sys, "ps1")


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
