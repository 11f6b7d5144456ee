"""What a running task and its caller say to each other while it runs: the worker's end.

::

    caller                              worker
    tell(port, kind, ...) ── TELL ───>  hear(port)     a request to stop, an object, leave to send more items
    heard(Talk)           <── TALK ───  say(port, ...) an object, items of a stream, "I want more"

It all goes over the worker's one channel, so that it works under every start method and ends with the worker. Ports keep
the conversations of one task apart. ``talks`` is the caller's end; ``worker`` opens a ``Conversations`` for a task whose
chunk has the flag TALKS; what a task uses of it (``StopToken``, ``TaskChannel``, ``Outlet``, ``Inlet``) is in ``ports``.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from time import monotonic

from manyhands.transport import channel as wire
from manyhands.transport.serialize import Encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from manyhands.engine.worker import Worker
    from manyhands.transport.channel import Message

#: Ports: of the task itself, of its channel, of the items that it yields; those of the streams that it reads come after.
CONTROL, CHANNEL, OUT, IN = 0, 1, 2, 3
#: Kinds on CONTROL: the task has begun (worker), the caller wants it to stop (caller).
BEGUN, STOP = 1, 2
#: Kinds on a port that objects or items pass through, and on the way back.
ITEMS, END, ERROR = 1, 2, 3
WANT, CLOSE = 4, 5

#: The conversations of the task that runs.
current: Conversations | None = None


class Conversations:
    """The conversations of one task.

    Args:
        worker: that runs it.
        number: of its chunk.
    """

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._news = threading.Condition()
        self._reading = False  # one thread at a time reads for all
        self._heard: dict[int, deque[Message]] = {}
        self._gone = False

    def say(
        self, port: int, kind: int, count: int = 0, parts: Iterable[bytes | bytearray | memoryview] = ()
    ) -> None:
        """Say something to the caller; waits until it has gone.

        Args:
            port: of which conversation.
            kind: what sort of thing.
            count: a number.
            parts: bytes.
        """
        self._worker.channel.send(wire.TALK, parts, flags=kind, number=self._number, first=port, count=count)

    def encode(self, value: Any) -> bytes:
        """Return an object as bytes to be said, with what is large in shared memory."""
        arena = self._worker.arena
        return Encoder(store=None if arena is None else arena.store).encode(value)

    def hear(self, port: int, timeout: float | None = None) -> Message | None:
        """Wait for what the caller says.

        Args:
            port: in which conversation.
            timeout: seconds; 0: only what is there.

        Returns:
            What was said, or None when nothing was said in time.

        Raises:
            EOFError: the task is over, or the caller is gone.
        """
        deadline = None if timeout is None else monotonic() + timeout
        with self._news:
            while True:
                heard = self._heard.get(port)
                if heard:
                    return heard.popleft()
                if self._gone:
                    raise EOFError("the task is over: there is nobody to talk to")
                left = None if deadline is None else max(0.0, deadline - monotonic())
                if self._reading:
                    if not self._news.wait(left):
                        return None
                elif not self._read(left):
                    return None

    def _read(self, timeout: float | None) -> bool:
        """Read one message for whoever wants it, without the lock; False when none came in time."""
        channel = self._worker.channel
        self._reading = True
        self._news.release()
        message, came = None, False
        try:
            came = channel.ready(timeout)
            message = channel.receive() if came else None
        finally:
            self._news.acquire()
            self._reading = False
            self._news.notify_all()
        if came and message is None:
            self._gone = True
        elif message is not None and message.kind != wire.TELL:
            self._worker.kept.append(message)
        elif message is not None and message.number == self._number:
            self._heard.setdefault(message.first, deque()).append(message)
        return came

    def end(self) -> None:
        """The task is over."""
        with self._news:
            self._gone = True
            self._news.notify_all()


@contextmanager
def talking(worker: Worker, number: int) -> Iterator[None]:
    """Open the conversations of a task for as long as it runs.

    Args:
        worker: that runs it.
        number: of its chunk.
    """
    global current
    current = Conversations(worker, number)
    try:
        current.say(CONTROL, BEGUN)
        yield
    finally:
        current.end()
        current = None


def conversations() -> Conversations:
    """Return those of the task that runs.

    Raises:
        RuntimeError: no task runs here that has any.
    """
    if current is None:
        raise RuntimeError("this belongs to a task that runs in a worker process, and none does here")
    return current
