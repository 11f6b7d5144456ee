"""What a task uses to talk to its caller while it runs: its stop token, its channel, the stream it makes, streams it reads.

All of it is the worker's end, over ``talking``. ``Started``, ``Producing`` and ``Listing`` are what workers run in the place of a
function that is given these.
"""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter

from manyhands.engine.talking import (
    CHANNEL,
    CLOSE,
    CONTROL,
    ERROR,
    ITEMS,
    OUT,
    STOP,
    WANT,
    Conversations,
    conversations,
)
from manyhands.transport.arena import size_of
from manyhands.transport.frames import each, join
from manyhands.transport.mapped import is_parcel
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

#: Items that are ready go at once if the last ones went so many seconds ago; else they wait for so many seconds at most.
AT_ONCE, SOON = 0.001, 0.003
#: ... or until there are so many bytes of them.
FULL_BYTES = 1 << 16
#: So many bytes may be on their way to a consumer that has not taken them.
AHEAD_BYTES = 16 << 20
#: A task asks for more items when it has used up so much of what it asked for, or so many bytes.
REFILL, REFILL_BYTES = 0.5, AHEAD_BYTES // 4


class StopToken:
    """Tells a task that its caller wants it to stop.

    Example:
        >>> def serve(stop):
        ...     while not stop.wait(0.5):
        ...         ...  # work
    """

    def __init__(self, talk: Conversations) -> None:
        self._talk = talk
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the caller wants the task to stop, or so many seconds have passed; tell which.

        Args:
            timeout: seconds; None: for ever.
        """
        while not self._set:
            try:
                message = self._talk.hear(CONTROL, timeout)
            except EOFError:
                self._set = True
                break
            if message is None:
                break
            self._set = message.flags == STOP
        return self._set

    def is_set(self) -> bool:
        """Tell whether the caller wants the task to stop."""
        return self.wait(0)

    def __bool__(self) -> bool:
        return self.wait(0)


class TaskChannel:
    """The task's end of a two-way channel to its caller."""

    def __init__(self, talk: Conversations) -> None:
        self._talk = talk
        self._closed = False

    def send(self, value: Any) -> None:
        """Send an object.

        Args:
            value: anything that can be pickled.
        """
        self._talk.say(CHANNEL, ITEMS, 1, [self._talk.encode(value)])

    def receive(self, timeout: float | None = None) -> Any:
        """Wait for an object from the caller.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: none came in time.
            EOFError: the caller has closed its end.
        """
        if self._closed:
            raise EOFError("the caller has closed the channel")
        message = self._talk.hear(CHANNEL, timeout)
        if message is None:
            raise TimeoutError(f"the caller has sent nothing for {timeout} s")
        if message.flags == CLOSE:
            self._closed = True
            raise EOFError("the caller has closed the channel")
        return loads(message.body)

    def __iter__(self) -> Iterator[Any]:
        """What comes, until the caller closes its end."""
        while True:
            try:
                yield self.receive()
            except EOFError:
                return


class Outlet:
    """Where a generator's items go: grouped as they come, no more than the consumer has asked for."""

    def __init__(self, talk: Conversations) -> None:
        self._talk = talk
        self._lock = threading.Lock()
        self._frames: list[bytes] = []
        self._size = 0
        self._sent_at = 0.0
        self._asked = 0  # items that the consumer still wants
        self._ahead: deque[int] = deque()  # bytes of the items that it has not said it has taken
        self._ahead_bytes = 0
        self._bell = threading.Event()
        self._sender: threading.Thread | None = None
        self.closed = False

    def put(self, item: Any) -> bool:
        """Hand on an item; waits while nobody wants it. False when nobody ever will.

        Raises:
            UnpicklableError: the item cannot travel.
        """
        try:
            frame = self._talk.encode(item)
        except Exception as error:
            from manyhands.transport.refusal import refuse

            raise refuse(item, "the item", error, dumps) from error
        with self._lock:
            self._frames.append(frame)
            size = size_of(frame)
            self._size += size
            self._ahead.append(size)
            self._ahead_bytes += size
            self._asked -= 1
            waited = perf_counter() - self._sent_at
            if waited < AT_ONCE and self._size < FULL_BYTES and self._asked > 0:
                self._send_soon()
                return True
            self._send()
        self._listen(0)
        while not self.closed and (self._asked <= 0 or self._ahead_bytes > AHEAD_BYTES):
            self._listen(None)
        return not self.closed

    def wait(self) -> bool:
        """Wait until somebody wants an item; False when nobody ever will."""
        while not self.closed and self._asked <= 0:
            self._listen(None)
        return not self.closed

    def unwanted(self) -> bool:
        """Tell whether nobody wants any more items."""
        self._listen(0)
        return self.closed

    def acknowledge(self) -> None:
        """Say that what goes wrong from here on is the generator's way of closing, and not one of its items."""
        self._talk.say(OUT, CLOSE)

    def flush(self) -> None:
        """Send what is there."""
        with self._lock:
            if not self.closed:
                self._send()
            self.closed = True  # nothing comes after it
        self._bell.set()
        if self._sender is not None:
            self._sender.join()

    def _listen(self, timeout: float | None) -> None:
        """Take note of what the consumer says."""
        while True:
            message = self._talk.hear(OUT, timeout)
            if message is None:
                return
            if message.flags == CLOSE:
                self.closed = True
                return
            self._asked += message.count
            for _ in range(min(message.count, len(self._ahead) - len(self._frames))):
                self._ahead_bytes -= self._ahead.popleft()
            timeout = 0

    def _send(self) -> None:
        if self._frames:
            self._talk.say(OUT, ITEMS, len(self._frames), join(self._frames))
            self._frames, self._size = [], 0
        self._sent_at = perf_counter()

    def _send_soon(self) -> None:
        """The next item may be long in coming: have a thread send these if it is."""
        if self._sender is None:
            self._sender = threading.Thread(target=self._run, name="manyhands-outlet", daemon=True)
            self._sender.start()
        self._bell.set()

    def _run(self) -> None:
        while True:
            self._bell.wait()
            self._bell.clear()
            if self.closed:
                return
            threading.Event().wait(SOON)
            with self._lock:
                if self._frames and perf_counter() - self._sent_at > SOON:
                    self._send()
                elif self._frames:
                    self._bell.set()


class Inlet:
    """An iterator over the items that another task makes; what the worker gets where the caller had given that stream.

    Args:
        port: of the conversation.
        ahead: so many items are asked for before they are wanted.
    """

    def __init__(self, port: int, ahead: int) -> None:
        self._port = port
        self._ahead = ahead
        self._items: deque[Any] = deque()
        self._asked = 0
        self._used_bytes = 0  # since it has asked for more
        self._over = False

    def __iter__(self) -> Inlet:
        return self

    def __next__(self) -> Any:
        while not self._items:
            if self._over:
                raise StopIteration
            talk = conversations()
            self._ask(talk)
            message = talk.hear(self._port)
            assert message is not None
            if message.flags == ITEMS:
                self._items.extend(each(message.body))
                self._asked -= message.count
            else:
                self._over = True
                if message.flags == ERROR:
                    from manyhands.transport.errors import unpack

                    raise unpack(message.body)
        item = self._items.popleft()
        self._used_bytes += weight(item)
        if not self._over:
            self._ask(conversations())
        return loads(item)

    def _ask(self, talk: Conversations) -> None:
        have = self._asked + len(self._items)
        if have <= self._ahead * REFILL or self._used_bytes >= REFILL_BYTES:
            talk.say(self._port, WANT, self._ahead - have)
            self._asked += self._ahead - have
            self._used_bytes = 0

    def close(self) -> None:
        """Tell the producer that no more is wanted."""
        if not self._over:
            self._over = True
            self._items.clear()
            conversations().say(self._port, CLOSE)


def weight(item: memoryview) -> int:
    """How much an item counts of what may be on its way, bytes; one that is in shared memory is asked to be followed at once."""
    small = len(item)
    return REFILL_BYTES if 64 < small < 4096 and is_parcel(item) else small


class Called:
    """A function that is called in a way of its own.

    Args:
        function: the function.
    """

    def __init__(self, function: Any) -> None:
        self.function = function

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """For who looks what its code calls."""
        return plain(self.function)


class Started(Called):
    """A function that is called with the means to talk that it wants.

    Args:
        function: the function.
        wanted: "stop" and "channel", or one of them, or none: keywords that it is given.
    """

    def __init__(self, function: Any, wanted: tuple[str, ...]) -> None:
        super().__init__(function)
        self.wanted = wanted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        talk = conversations()
        means = {"stop": StopToken, "channel": TaskChannel}
        return plain(self.function)(*args, **kwargs, **{name: means[name](talk) for name in self.wanted})


class Listing(Called):
    """A generator function whose items come all together.

    Args:
        function: the generator function.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(plain(self.function)(*args, **kwargs))


class Producing(Called):
    """A generator function whose items go to the caller as they come.

    When nobody wants more the generator is closed, as the caller would have done. The result is what the generator returns.

    Args:
        function: the generator function.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outlet = Outlet(conversations())
        generator = plain(self.function)(*args, **kwargs)
        value = None
        try:
            wanted = outlet.wait()
            while wanted:
                try:
                    item = next(generator)
                except StopIteration as end:
                    value = end.value
                    break
                except BaseException:
                    if outlet.unwanted():  # the caller would never have come to this item
                        break
                    raise
                wanted = outlet.put(item)
        finally:
            if outlet.closed:
                outlet.acknowledge()
            outlet.flush()
            generator.close()
        return value


def plain(function: Any) -> Callable[..., Any]:
    """The plain function behind a decorated one."""
    return getattr(function, "__manyhands__", function)  # type: ignore[no-any-return]
