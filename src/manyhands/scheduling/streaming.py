"""Streams: what a generator function makes in a worker, item by item, and the pipes between such tasks.

::

    producer's worker          caller                         consumer's worker
    Outlet ── ITEMS ───────> Producer ── TaskStream           (the caller's own loop)
           <── WANT ──────────  │
                                └──── ITEMS, as they are ───> Inlet
                                <──── WANT ──────────────────

A producer makes no more than its consumer has asked for. A ``TaskStream`` is an iterator over the items; given to another task as
an argument, it becomes an ``Inlet`` there, and the items go through the caller without being opened.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import Generic, TypeVar

from manyhands.engine.interrupts import take
from manyhands.engine.ports import REFILL, REFILL_BYTES, Inlet, weight
from manyhands.engine.talking import CLOSE, END, ERROR, IN, ITEMS, OUT, WANT
from manyhands.transport.errors import pack
from manyhands.transport.frames import each, join
from manyhands.transport.mapped import Body
from manyhands.transport.serialize import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Any, Self

    from manyhands.engine.streams import Talk
    from manyhands.engine.talks import Dedicated, Talks

T = TypeVar("T")

#: So many items are made ahead of their consumer, unless ``buffersize`` says something else.
AHEAD = 128
#: A producer that is not wanted any more has so many seconds to leave in good order.
GRACE = 5.0
#: ... and so many when Ctrl-C has ended the block that it is for.
HURRY = 0.5

_connecting = threading.local()


class Producer:
    """The caller's end of a task that makes items.

    Args:
        task: the task.
        ahead: so many items may be made ahead of their consumer.
    """

    def __init__(self, task: Dedicated, ahead: int) -> None:
        self.task = task
        self.ahead = ahead
        self._lock = threading.Lock()
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._consumer: tuple[Talks, int] | None = None
        self.closed = False
        self.closing = False  # the task has heard that it is closed
        task.talks.ports[OUT] = self._heard
        task.future.add_done_callback(self._ended)
        self.want(ahead)
        task.start()

    def want(self, count: int) -> None:
        """Let it make so many items more."""
        self.task.talks.say(OUT, WANT, count)

    def connect(self, talks: Talks, port: int) -> None:
        """Have the items go to another task from now on, those that are here first.

        Args:
            talks: the conversations with that task.
            port: the one that the items belong to.
        """

        def heard(event: Talk) -> None:
            if event.kind == WANT:
                self.want(event.count)
            else:
                self.close()

        talks.ports[port] = heard
        with self._lock:
            self._consumer = (talks, port)
            while not self._inbox.empty():
                self._forward(self._inbox.get())

    def next(self) -> Any:
        """Wait for what comes next: items as (ends, data), or the future of the task when it has ended.

        Raises:
            RuntimeError: it would wait for ever here.
        """
        if self._inbox.empty():
            self.task.talks.check_wait()
        found = take(self._inbox)
        if found is self.task.future:
            self._inbox.put(found)  # for who asks next: another thread, or a task that is given the stream
        return found

    def close(self, grace: float = GRACE) -> None:
        """Have the task stop: its generator is closed, and its worker ended if that takes too long.

        Args:
            grace: seconds.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
        if self.task.future.done():
            return
        self.task.talks.say(OUT, CLOSE)
        timer = threading.Timer(grace, self.task.end)
        timer.daemon = True
        timer.start()
        self.task.future.add_done_callback(lambda _: timer.cancel())

    def _heard(self, event: Talk) -> None:
        """In the loop thread: items have come."""
        with self._lock:
            if event.kind == CLOSE:
                self.closing = True
            elif self.closed:
                return
            elif self._consumer is None:
                self._inbox.put(event)
            else:
                self._forward(event)

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            if self._consumer is None:
                self._inbox.put(future)
            else:
                self._forward(future)

    def _forward(self, what: Any) -> None:
        assert self._consumer is not None
        talks, port = self._consumer
        if hasattr(what, "body"):
            body = what.body
            if isinstance(body.obj, Body):  # it is in shared memory that the other worker knows nothing of
                talks.say(port, ITEMS, what.count, join([talks.again(frame) for frame in each(body)]))
            else:
                talks.say(port, ITEMS, what.count, [body])
            return
        error = what.exception()
        if error is None:
            talks.say(port, END)
        else:
            talks.say(port, ERROR, 0, [pack(error)])


class TaskStream(Generic[T]):
    """An iterator over the items that a generator function makes in a worker process.

    It is made by calling a generator function that ``process_task`` has decorated. The function begins at once and is at most
    ``buffersize`` items ahead. Closing the stream, or dropping it, stops the function, whose ``finally`` blocks run. Given to
    another task as an argument, the stream goes there.

    Args:
        producer: the caller's end of the task.
        name: the function's name.

    Example:
        >>> from manyhands import process_task
        >>> @process_task
        ... def squares(n):
        ...     for i in range(n):
        ...         yield i * i
        >>> list(squares(4))
        [0, 1, 4, 9]
    """

    def __init__(self, producer: Producer, name: str) -> None:
        self._producer = producer
        self._name = name
        self._items: deque[Any] = deque()
        self._used = self._used_bytes = 0  # since more were asked for
        self._over = False
        self._given = False  # to a task

    def __iter__(self) -> TaskStream[T]:
        return self

    def __next__(self) -> T:
        if self._given:
            raise RuntimeError(f"{self!r} has been given to a task: its items go there")
        while not self._items:
            if self._over or self._producer.closed:
                raise StopIteration
            what = self._producer.next()
            if hasattr(what, "body"):
                self._items.extend(each(what.body))
                continue
            self._over = True
            error = what.exception()
            if error is not None:
                raise error
            raise StopIteration(what.result())
        item = self._items.popleft()
        self._used += 1
        self._used_bytes += weight(item)
        if self._used >= max(1, self._producer.ahead * REFILL) or self._used_bytes >= REFILL_BYTES:
            self._producer.task.talks.check_wait()  # in a forked child, a lock that is taken next may never be free
            self._producer.want(self._used)
            self._used = self._used_bytes = 0
        return loads(item)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop the function, and wait until its ``finally`` blocks have run.

        Raises:
            BaseException: what these raise.

        Example:
            >>> from manyhands import process_task
            >>> @process_task
            ... def forever():
            ...     while True:
            ...         yield 1
            >>> stream = forever()
            >>> next(stream)
            1
            >>> stream.close()
        """
        self._close(GRACE)

    def _close(self, grace: float) -> None:
        if self._over:
            return
        self._over = True
        self._items.clear()
        self._producer.close(grace)
        error = self._producer.task.future.exception(2 * GRACE)
        if (
            error is not None and self._producer.closing
        ):  # else it was ahead of us, and nobody had come to that
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(HURRY if isinstance(error, KeyboardInterrupt) else GRACE)

    def __del__(self) -> None:
        if not self._over:
            self._producer.close()

    def __reduce__(self) -> Any:
        connections = getattr(_connecting, "streams", None)
        if connections is None:
            raise TypeError(
                f"{self!r} can only be given to a function that process_task has decorated, which reads it in another process"
            )
        if self._given:
            raise TypeError(
                f"{self!r} has been given to a task already: its items go there, and cannot go to two"
            )
        if self not in connections:
            connections.append(self)
        return Inlet, (IN + connections.index(self), self._producer.ahead)

    def _give_away(self, talks: Talks, port: int) -> Producer:
        """The items go to another task from now on."""
        self._over = True
        if self._items:  # which the caller has got and not looked at
            frames = [talks.again(item) for item in self._items]
            talks.say(port, ITEMS, len(frames), join(frames))
            self._items.clear()
        self._given = True
        self._producer.connect(talks, port)
        return self._producer

    def __repr__(self) -> str:
        return f"<stream of {self._name}>"


class connecting:  # noqa: N801 - a context manager
    """While this lasts, streams may be pickled; those that were are then in the list that it gives."""

    def __enter__(self) -> list[TaskStream[Any]]:
        self._before = getattr(_connecting, "streams", None)
        streams: list[TaskStream[Any]] = []
        _connecting.streams = streams
        return streams

    def __exit__(self, *_: object) -> None:
        _connecting.streams = self._before


def connect(streams: list[TaskStream[Any]], talks: Talks, future: Future[Any]) -> None:
    """Have streams go to a task that was given them, and stop what makes them when it has ended.

    Args:
        streams: in the order in which they were pickled.
        talks: the conversations with the task.
        future: of the task.
    """
    producers = [stream._give_away(talks, port) for port, stream in enumerate(streams, IN)]

    def over(_: object) -> None:
        for producer in producers:
            producer.close()

    future.add_done_callback(over)
