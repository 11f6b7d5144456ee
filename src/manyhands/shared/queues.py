"""``Queue``: items from any process to any process, in order, through shared memory.

There is no thread and no pipe behind it. Items are pickled before the lock is taken and unpickled after it was released;
between that their bytes are copied to and from a ring of shared memory, which grows as needed::

    head ── oldest item ... ── end        (or: head ── ... ── tail, while nothing has come round)
    0 ── ... newest item ── tail

Where the ring begins and ends, and all else there is to know, is written twice. A change is made in the copy that is not
valid, and one store makes it the valid one. So whoever is killed half-way has done nothing: an item is there or it is not, is
taken or it is not.
"""

from __future__ import annotations

import sys
from _queue import Empty
from _struct import Struct
from queue import Full
from typing import NamedTuple

from manyhands.shared.conditions import Condition
from manyhands.shared.handles import Handle
from manyhands.shared.locks import Lock
from manyhands.shared.memory import Memory
from manyhands.shared.waiting import Patience
from manyhands.transport.serialize import Encoder, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):  # noqa: N818 - as the standard library calls it
        """A queue that was closed is put to, or got from when it is empty; from Python 3.13 on ``queue.ShutDown``."""


#: Bytes that a ring begins with, and from how many on memory is given back when the queue is empty.
_RING, _LARGE = 1 << 16, 1 << 20

_STATE = Struct("7Q")
_LENGTH = Struct("Q")


class _State(NamedTuple):
    head: int
    tail: int
    end: int  # where the items behind head end, if some have come round; else 0
    room: int  # the bytes of the ring
    most: int  # how far anything was written since it was empty
    items: int
    closed: int


class Queue(Handle):
    """A queue between threads of any processes: ``queue.Queue`` for processes, with a way to end.

    A queue that is closed takes no more items and hands out those that it has; then the loops of those who read it end::

        for item in queue: ...

    An item whose producer dies while it puts it is not seen. One whose consumer dies after it has taken it is gone with it.

    Args:
        maxsize: how many items wait in it at most, before ``put`` waits; 0: any number.

    Example:
        >>> from manyhands.shared import Queue
        >>> queue = Queue()
        >>> for item in ("spam", "eggs"):
        ...     queue.put(item)
        >>> queue.close()
        >>> list(queue)
        ['spam', 'eggs']
    """

    __slots__ = ("_data", "_encoder", "_lock", "_not_empty", "_not_full", "_valid", "maxsize")

    def __init__(self, maxsize: int = 0) -> None:
        if not isinstance(maxsize, int):
            raise TypeError(f"maxsize is a whole number of items, not {maxsize!r}")
        lock = Lock()
        self._begin(8 + 2 * _STATE.size, max(0, maxsize), Memory(_RING), Condition(lock), Condition(lock))

    def _attach(
        self, maxsize: int, data: Memory, not_empty: Condition, not_full: Condition, *, fresh: bool
    ) -> None:
        self.maxsize, self._data, self._not_empty, self._not_full = maxsize, data, not_empty, not_full
        self._lock = not_empty._lock
        self._encoder = Encoder()
        self._valid = self._words("Q", 0, 1)
        if fresh:
            self._set(_State(0, 0, 0, data.size, 0, 0, 0))

    def _more(self) -> tuple[Any, ...]:
        return self.maxsize, self._data, self._not_empty, self._not_full

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, as soon as there is room.

        Args:
            item: anything that can be pickled; also what only this program knows, such as lambdas.
            block: wait; otherwise, raise at once if there is no room.
            timeout: seconds to wait at most; None: as long as it takes.

        Raises:
            queue.Full: there is no room (any time soon).
            ShutDown: the queue was closed.
        """
        _check(timeout)
        data = self._encoder.encode(item)
        patience = None
        with self._lock:
            while True:
                state = self._get()
                if state.closed:
                    raise ShutDown("this queue was closed, and takes no more items")
                if not self.maxsize or state.items < self.maxsize:
                    break
                patience = self._wait(self._not_full, block, patience, timeout, Full)
            self._write(state, data)
            sleeper = self._not_empty._choose()
        if sleeper is not None:
            self._not_empty._rouse(sleeper)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the item that has waited for longest, as soon as there is one.

        Args:
            block: wait; otherwise, raise at once if there is none.
            timeout: seconds to wait at most; None: as long as it takes.

        Raises:
            queue.Empty: there is none (any time soon).
            ShutDown: the queue was closed, and there will be none any more.
        """
        _check(timeout)
        patience = None
        with self._lock:
            while True:
                state = self._get()
                if state.items:
                    break
                if state.closed:
                    raise ShutDown("this queue was closed, and is empty")
                patience = self._wait(self._not_empty, block, patience, timeout, Empty)
            data = self._read(state)
            sleeper = self._not_full._choose()
        if sleeper is not None:
            self._not_full._rouse(sleeper)
        return loads(data)

    def put_nowait(self, item: Any) -> None:
        """Add an item if there is room; see ``put``."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """Return an item if there is one; see ``get``."""
        return self.get(block=False)

    def qsize(self) -> int:
        """Return how many items wait at this moment."""
        with self._lock:
            return self._get().items

    def empty(self) -> bool:
        """Tell whether no item waits at this moment."""
        return not self.qsize()

    def full(self) -> bool:
        """Tell whether there is no room at this moment."""
        return 0 < self.maxsize <= self.qsize()

    def close(self) -> None:
        """Take no more items, from anybody. Those that are here are handed out; then who waits for one is told so."""
        with self._lock:
            self._set(self._get()._replace(closed=1))
            self._not_empty.notify_all()
            self._not_full.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        with self._lock:
            return self._get().closed != 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                item = self.get()
            except ShutDown:
                return
            yield item

    def __repr__(self) -> str:
        state = self._get()
        return f"<shared Queue, {state.items} items{', closed' if state.closed else ''}>"

    # What follows is done with the lock held.

    @staticmethod
    def _wait(
        condition: Condition,
        block: bool,
        patience: Patience | None,
        timeout: float | None,
        error: type[Exception],
    ) -> Patience:
        patience = patience or Patience(timeout)
        left = patience.left()
        if not block or left <= 0:
            raise error
        condition.wait(left)
        return patience

    def _get(self) -> _State:
        at = self._offset + 8 + self._valid[0] * _STATE.size
        return _State._make(_STATE.unpack_from(self._memory.map, at))

    def _set(self, state: _State) -> None:
        other = 1 - self._valid[0]
        _STATE.pack_into(self._memory.map, self._offset + 8 + other * _STATE.size, *state)
        self._valid[0] = other  # x86 and the mutex keep it behind the stores above

    def _write(self, state: _State, data: bytes) -> None:
        head, tail, end, room, most, count, closed = state
        need = -(-(len(data) + _LENGTH.size) // 8) * 8
        if not count:
            head = tail = end = most = 0
        if end and tail + need > head:
            state = self._unrolled(state, need)
            head, tail, end, room, most, count, closed = state
        elif not end and tail + need > room:
            if need <= head:  # go round
                end, tail = tail, 0
            else:
                room = max(2 * room, tail + need)
        self._data.grow(room)
        memory = self._data.map
        _LENGTH.pack_into(memory, tail, len(data))
        start = tail + _LENGTH.size
        memory[start : start + len(data)] = data
        tail += need
        self._set(_State(head, tail, end, room, max(most, tail), count + 1, closed))

    def _unrolled(self, state: _State, need: int) -> _State:
        """Make the ring larger while items have come round: those at its beginning are copied behind the others."""
        head, tail, end, room, most, count, closed = state
        room = max(2 * room, end + tail + need)
        self._data.grow(room)
        memory = self._data.map
        memory[end : end + tail] = memory[:tail]
        return _State(head, end + tail, 0, room, max(most, end + tail), count, closed)

    def _read(self, state: _State) -> bytes:
        head, tail, end, room, most, count, closed = state
        self._data.grow(room)
        memory = self._data.map
        (length,) = _LENGTH.unpack_from(memory, head)
        start = head + _LENGTH.size
        data = memory[start : start + length]
        head += -(-(length + _LENGTH.size) // 8) * 8
        if end and head == end:
            head = end = 0
        if count == 1:
            head = tail = end = 0
        self._set(_State(head, tail, end, room, most, count - 1, closed))
        if count == 1 and most > _LARGE:
            self._give_back(most)
        return data

    def _give_back(self, size: int) -> None:
        """Let the system have the memory of an empty ring; it is zeros, and there, when it is written to again."""
        import mmap

        if hasattr(mmap, "MADV_REMOVE"):
            try:
                self._data.map.madvise(mmap.MADV_REMOVE, 0, size)
            except OSError:
                pass  # it is kept for the next items


def _check(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"the timeout must be 0 seconds or more, not {timeout!r}")
