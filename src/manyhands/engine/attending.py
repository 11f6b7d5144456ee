"""A future whose result is read by the thread that waits for it, straight from the worker's channel.

::

    caller's thread                       worker
    submit ──── RUN ────────────────────> recv, run, send ─┐
    result: look, look, ... sleep <────── DONE ────────────┘        (the loop thread sleeps on)

A result that comes by way of the loop thread wakes two threads one after the other. For a single task that somebody waits
for at once, the waiting thread takes over the channel of the worker (``Mail.attend``), looks for the answer a while before
it goes to sleep, and gives the channel back. It takes the answer in as the loop thread would, if that calls nobody's code (a
number, a string; no callbacks); else it leaves that to the loop thread. In all other cases, and wherever anything is unusual,
it waits as for any future.

Used by ``submissions``; ``pool`` knows nothing of futures.
"""

from __future__ import annotations

import select
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING, RUNNING
from time import monotonic, perf_counter

from manyhands.engine.interrupts import ring, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Any

    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Chunk
    from manyhands.engine.workers import WorkerHandle

#: A thread that waits looks so many seconds for the answer before it sleeps: about what it takes to wake it up again.
LOOK = 0.000_050
#: The longest sleep that poll() takes, milliseconds.
LONGEST = 1e9
#: States of a future that has no outcome yet.
UNDECIDED = frozenset({PENDING, RUNNING})


class TaskFuture(Future):  # type: ignore[type-arg]
    """The future of one task.

    It does not use the condition of ``Future`` to wait, see ``interrupts``.
    """

    #: Where it was submitted.
    pool: Pool | None = None
    #: The task as it was sent, if it was sent alone.
    chunk: Chunk | None = None
    #: Classes that its result may refer to; they are kept until it is there.
    classes: dict[type, str] | None = None
    #: The queue it went through.
    submissions: Any = None
    #: The worker, by its process id, that the outcome is from.
    worker: int | None = None
    #: The future that this one gives the answer of.
    source: Any = None

    def __init__(self) -> None:
        super().__init__()
        self._bells: list[LockType] = []  # locks that threads wait for

    def result(self, timeout: float | None = None) -> Any:
        """As ``Future.result``."""
        self._wait(timeout)
        if self._state != FINISHED:
            return super().result(0)  # says what is the matter
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                del self  # as Future does: the traceback would hold the future, and the future the traceback
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As ``Future.exception``."""
        self._wait(timeout)
        return self._exception if self._state == FINISHED else super().exception(0)

    def _invoke_callbacks(self) -> None:
        """Called when there is an outcome: first for those who wait, who need not wait for the callbacks as well."""
        ring(self._bells)
        super()._invoke_callbacks()  # type: ignore[misc]

    def _quiet(self) -> bool:
        """Whether nobody is to be called when there is an outcome."""
        return not self._done_callbacks  # type: ignore[attr-defined]

    def _decided(self) -> bool:
        return self._state not in UNDECIDED

    def _wait(self, timeout: float | None) -> None:
        """Wait until there is an outcome, or the time is over."""
        if self._state not in UNDECIDED:
            return
        if self.pool is not None and timeout != 0:
            self.pool.check_wait()
        deadline = None if timeout is None else monotonic() + timeout
        if self.chunk is not None:
            self._attend(self.chunk, deadline)
        if self._state in UNDECIDED:
            sleep(self._bells, self._decided, None if deadline is None else deadline - monotonic())

    def _attend(self, chunk: Chunk, deadline: float | None) -> None:
        """Wait for the worker's answer as long as that goes."""
        pool, reader, answered = chunk.owner.pool, object(), True
        try:
            while answered and self._state in UNDECIDED and (deadline is None or monotonic() < deadline):
                try:
                    worker = pool.attend(chunk, reader)
                    if worker is None:
                        break
                    answered = wait(worker, deadline)
                finally:
                    pool.attended(chunk, reader, quiet=self._quiet())
        except BaseException:  # Ctrl-C, perhaps on the way into attended(), before that holds it back
            pool.attended(chunk, reader, quiet=self._quiet())
            raise


def wait(worker: WorkerHandle, deadline: float | None) -> bool:
    """Wait until something has come from a worker, or its end; first by looking, then asleep. False: it was too late."""
    poll = select.poll()
    poll.register(worker.channel.fileno(), select.POLLIN)
    look_until = perf_counter() + LOOK
    while not poll.poll(0):  # which lets other threads have the interpreter
        if perf_counter() > look_until:
            patience = None if deadline is None else min(max(0.0, deadline - monotonic()) * 1e3, LONGEST)
            return bool(poll.poll(patience))
    return True
