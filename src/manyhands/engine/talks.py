"""What a running task and its caller say to each other while it runs: the caller's end, and tasks with a worker of their own.

``talking`` has the drawing, and the worker's end. What the caller says before the task has begun is kept until then. What the
task says is heard in the loop thread.
"""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import wait

from manyhands.engine.attending import TaskFuture
from manyhands.engine.opening import opened
from manyhands.engine.process import end_process
from manyhands.engine.streams import Broken, Crash, Results, Talk
from manyhands.engine.submissions import EAGER, FULL, TALKS, resolve
from manyhands.engine.talking import BEGUN, CLOSE, CONTROL, OUT, STOP
from manyhands.engine.teller import Teller
from manyhands.transport.arena import repacked
from manyhands.transport.errors import again, crash, unpack
from manyhands.transport.frames import join
from manyhands.transport.mapped import is_parcel
from manyhands.transport.outcomes import FAILED
from manyhands.transport.serialize import Encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Chunk, Definition, Event


class Talks:
    """The conversations with one task.

    Args:
        pool: where it runs.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._early: list[tuple[int, int, int, Sequence[bytes | memoryview]]] | None = []
        self.ports: dict[int, Callable[[Talk], object]] = {}  # who hears what is said, by port
        self.chunk: Chunk | None = None
        self.begun = threading.Event()

    def say(self, port: int, kind: int, count: int = 0, parts: Sequence[bytes | memoryview] = ()) -> bool:
        """Say something to the task, at once or when it begins; False when it is over.

        Args:
            port: of which conversation.
            kind: what sort of thing.
            count: a number.
            parts: bytes.
        """
        with self._lock:
            if self._early is not None:
                self._early.append((port, kind, count, parts))
                return True
        assert self.chunk is not None
        return self._pool.tell(self.chunk, port, kind, count, parts)

    def check_wait(self) -> None:
        """Refuse to wait for the task where that would be for ever; as ``Pool.check_wait``."""
        self._pool.check_wait()

    def encode(self, value: Any) -> bytes:
        """Return an object as bytes to be said, with what is large in shared memory."""
        return Encoder(store=self._pool.store).encode(value)

    def again(self, frame: bytes | memoryview) -> bytes:
        """Return what another worker has said as bytes to be said to this one."""
        return repacked(frame, self._pool.store) if is_parcel(frame) else bytes(frame)

    def heard(self, event: Talk) -> None:
        """The task says something."""
        if event.port == CONTROL and event.kind == BEGUN:
            with self._lock:
                self.chunk = event.chunk
                for port, kind, count, parts in self._early or ():
                    self._pool.tell(event.chunk, port, kind, count, parts)
                self._early = None
            self.begun.set()
        elif event.port in self.ports:
            self.ports[event.port](event)


#: Those that may still run.
_live: weakref.WeakSet[Dedicated] = weakref.WeakSet()


def ask_all_to_stop(grace: float) -> None:
    """Tell tasks that run by themselves, or stream, that the program is about to end, and give them a moment.

    Args:
        grace: seconds, for all of them together.
    """
    tasks = [task for task in _live if not task.future.done()]
    for task in tasks:
        task.talks.say(CONTROL, STOP)
        task.talks.say(OUT, CLOSE)
    wait([task.future for task in tasks], grace)


class Dedicated:
    """One task in a worker that is reserved for it; its outcome is in ``future``.

    Args:
        pool: which the worker is added to, for as long as the task runs.
        definition: the function.
        frame: its arguments, as bytes.
        timeout: seconds that it may take, or None.
        explain: adds to its exception which task it was; called with the exception and the worker's pid.
    """

    def __init__(
        self, pool: Pool, definition: Definition, frame: bytes, timeout: float | None,
        explain: Callable[[BaseException, int | None], object],
    ) -> None:  # fmt: skip
        self.future = TaskFuture()
        self.future.pool = pool
        self.future.set_running_or_notify_cancel()
        self.talks = Talks(pool)
        self._pool = pool
        self.exitcode: int | None = None
        self._explain = explain
        self._definition = definition
        self._frame = frame
        self._timeout = timeout
        teller = Teller(self._take, pool.later)
        self._stream = pool.open(teller.deliver, 1, reserved=True)
        _live.add(self)

    def start(self) -> None:
        """Send it on its way, when all who are to hear it are there."""
        self._stream.post(self._definition, join([self._frame]), FULL | EAGER | TALKS, 1, 0, self._timeout)

    def expire(self, deadline: float) -> None:
        """End it if it has no outcome in so many seconds."""

        def over() -> None:
            if not self.future.done():
                from manyhands.exceptions import TaskTimeoutError

                error = TaskTimeoutError(
                    f"the call took longer than its deadline of {deadline:g} s", limit=deadline
                )
                self._explain(error, self.pid)
                self._stream.close(kill=True)
                self._settle(-9, error=error)

        self._pool.later(deadline, over)

    @property
    def pid(self) -> int | None:
        """The process id of its worker; None before it has begun."""
        chunk = self.talks.chunk
        return None if chunk is None or chunk.worker is None else chunk.worker.pid

    def end(self, signal: int = 9) -> None:
        """Send its worker a signal, if it runs; else see to it that it never begins."""
        chunk = self.talks.chunk
        worker = chunk.worker if chunk is not None else None
        if worker is not None and worker.chunk is chunk and not self.future.done():
            worker.fault = "was ended by its caller"
            end_process(worker.pid, signal)
        elif not self.future.done():
            self._stream.close(kill=True)
            from manyhands.exceptions import WorkerCrashedError

            self._settle(-signal, error=WorkerCrashedError("the task was ended before it had begun"))

    def _take(self, event: Event) -> None:
        if isinstance(event, Talk):
            self.talks.heard(event)
        elif isinstance(event, Results) and event.outcomes:
            (kind, outcome), *_ = event.outcomes
            if kind == FAILED:
                self._fail(1, unpack(outcome), event.worker)
                return
            try:
                value = opened(kind, outcome)
            except BaseException as error:
                self._fail(1, error, event.worker)
            else:
                self._settle(0, value)
        elif isinstance(event, Crash):
            self._fail(event.exitcode, crash(event), event.pid)
        elif isinstance(event, Broken):
            self._settle(1, error=again(event.error))

    def _fail(self, exitcode: int | None, error: BaseException, worker: int) -> None:
        self._explain(error, worker)
        self._settle(exitcode, error=error)

    def _settle(self, exitcode: int | None, value: Any = None, error: BaseException | None = None) -> None:
        if self.future.done():
            return
        self.exitcode = exitcode
        self._stream.close()
        self.talks.begun.set()  # those who wait for that need wait no longer
        resolve(self.future, value, error)


def _after_fork_in_child() -> None:
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
