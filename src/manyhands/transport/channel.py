"""Messages over a pipe: one two-way channel per worker, blocking at the worker's end, never blocking at the pool's.

A message is a fixed header and a body of bytes. The ids are in the header, outside of anything pickled, so that an
unreadable body costs the tasks it holds and nothing else. The header begins with a key drawn for this channel: bytes
that anyone else writes into the descriptor are recognised as junk and never unpickled.

Worker's end: ``receive`` and ``send`` wait. Pool's end (``PoolChannel``): ``pump`` takes what has come, ``push`` and
``flush`` write what goes; only one thread at a time calls them.

Parts that are ``Frame``s refer to shared memory: a message LEND goes before theirs, and is not seen by who receives; the body
of theirs is then a ``Body``, which holds what it refers to.
"""

from __future__ import annotations

import os
from _struct import Struct, pack
from _thread import allocate_lock
from collections import deque
from time import perf_counter

from manyhands.transport.arena import Frame, leases_of
from manyhands.transport.mapped import Body

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator
    from typing import Any

    from manyhands.transport.arena import Peer
    from manyhands.transport.mapped import Held, Remote

    Buffer = bytes | bytearray | memoryview

# pool -> worker
SETUP, PATH, DEFINE, FORGET, RUN, STOP, TELL, HOST, COUNT = 1, 2, 3, 4, 5, 6, 7, 8, 10
# both ways: what the next message refers to in shared memory
LEND = 9
# worker -> pool
READY, RESULTS, DONE, SAY, TALK, KEEP, COUNTED = 16, 17, 18, 19, 20, 21, 22
KINDS = frozenset(
    {SETUP, PATH, DEFINE, FORGET, RUN, STOP, TELL, HOST, COUNT, LEND}
    | {READY, RESULTS, DONE, SAY, TALK, KEEP, COUNTED}
)

#: key, kind, flags, number (of a chunk), definition, first (task), count (of tasks), seconds (to the worker: the index in
#: the input of the body's first task), seconds, size of the body
HEADER = Struct("<QBBxxIIIIddQ")
Fields = tuple[int, int, int, int, int, int, float, float, int]
#: Small enough to come from the heap: a larger buffer would be mapped and unmapped for every message.
READ_SIZE = 1 << 14
_PARTS = 64  # of one sendmsg; the kernel's limit is 1,024


class Message:
    """One message as it came: the fields of its header, and its body."""

    __slots__ = ("body", "busy", "count", "definition", "first", "flags", "kind", "number", "overhead")

    def __init__(
        self, kind: int, flags: int, number: int, definition: int, first: int, count: int, busy: float, overhead: float,
        body: memoryview,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.flags = flags
        self.number = number
        self.definition = definition
        self.first = first
        self.count = count
        self.busy = busy
        self.overhead = overhead
        self.body = body


class BrokenChannel(Exception):  # noqa: N818 - not an error of the user's: the worker at the other end is given up
    """What came through a channel is not a message."""


class Channel:
    """The worker's end: waits for whole messages, and until what it writes has gone.

    Args:
        connection: a connected stream socket.
        key: the 8 bytes, as a number, that every header begins with.
    """

    def __init__(self, connection: socket.socket, key: int) -> None:
        self.connection = connection
        self.key = key
        self.peer: Peer | None = None  # the pool, that is lent segments of this process's arena
        self.remote: Remote | None = None  # the pool's arena
        self._rest: Buffer = b""  # read and not yet given out
        self._poll: Any = None
        self._sending = allocate_lock()  # a task's own threads may have something to say

    def fileno(self) -> int:
        return self.connection.fileno()

    def close(self) -> None:
        self.connection.close()

    def header(
        self, kind: int, size: int, *, flags: int = 0, number: int = 0, definition: int = 0, first: int = 0,
        count: int = 0, busy: float = 0.0, overhead: float = 0.0,
    ) -> bytes:  # fmt: skip
        return HEADER.pack(self.key, kind, flags, number, definition, first, count, busy, overhead, size)

    def look(self, seconds: float) -> None:
        """Look for the next message for so many seconds; then, or when it has come, ``receive`` waits for it.

        Waking up takes longer than it takes somebody who waits for an answer to ask the next question.
        """
        if self._poll is None:
            import select

            if not hasattr(select, "poll") or not hasattr(os, "sched_yield"):
                return
            self._poll = select.poll()
            self._poll.register(self.connection.fileno(), select.POLLIN)
        until = perf_counter() + seconds
        while not self._rest and not self._poll.poll(0) and perf_counter() < until:
            os.sched_yield()  # to whoever has work for this core

    def ready(self, seconds: float | None) -> bool:
        """Wait until there is something to receive, or so many seconds have passed; tell which."""
        if self._rest:
            return True
        import select

        return bool(select.select([self.connection], [], [], seconds)[0])

    def receive(self) -> Message | None:
        """Wait for the next message; None when the other end is gone."""
        message = self._receive(None)
        if message is None or message.kind != LEND:
            return message
        if self.remote is None:
            raise BrokenChannel("there is no arena to be lent from")
        return self._receive(self.remote.receive(message.body))

    def _receive(self, held: dict[int, Held] | None) -> Message | None:
        while len(self._rest) < HEADER.size:
            data = self.connection.recv(READ_SIZE)  # most messages are there whole, with one system call
            if not data:
                return None
            self._rest = bytes(self._rest) + data if self._rest else memoryview(data)
        fields = parse(self._rest[: HEADER.size], self.key)
        end = HEADER.size + fields[-1]
        if end <= len(self._rest):
            body = memoryview(self._rest)[HEADER.size : end]
            self._rest = self._rest[end:]
            return Message(*fields[:-1], body if held is None else keep(body, held))
        buffer = bytearray(fields[-1])
        if held is not None:
            buffer = Body(fields[-1], held)
        view, have = memoryview(buffer), len(self._rest) - HEADER.size
        view[:have] = self._rest[HEADER.size :]
        self._rest = b""
        while have < len(buffer):
            got = self.connection.recv_into(view[have:], min(len(buffer) - have, 1 << 30))
            if not got:
                return None
            have += got
        return Message(*fields[:-1], view)

    def send(self, kind: int, parts: Iterable[Buffer], **fields: float) -> None:
        """Write one message and wait until it has gone."""
        parts = list(parts)
        size = sum(map(len, parts))
        parts.insert(0, self.header(kind, size, **fields))  # type: ignore[arg-type]
        with self._sending:
            if Frame in set(map(type, parts)):
                assert self.peer is not None
                told = lend(self.peer, parts)
                parts = [self.header(LEND, len(told)), told, *parts]
            write_all(self.connection, parts)


def lend(peer: Peer, parts: Iterable[Any]) -> bytes:
    """Lend a peer what the parts of a message refer to; return the body of the message that says so."""
    told = peer.lend(leases_of(parts))
    return pack(f"{len(told)}Q", *told)


def keep(body: Buffer, held: dict[int, Held]) -> memoryview:
    """Return a body that holds what it refers to."""
    return memoryview(Body(body, held))


def parse(head: Buffer, key: int) -> Fields:
    """Take a header apart.

    Raises:
        BrokenChannel: it is not one of ours.
    """
    found, *fields = HEADER.unpack(head)
    if found != key or fields[0] not in KINDS:
        raise BrokenChannel("junk on the channel")
    return tuple(fields)


def write_all(connection: socket.socket, parts: list[Buffer]) -> None:
    """Write all parts to a blocking socket with as few system calls and copies as there can be."""
    pending = deque(part for part in parts if len(part))
    while pending:
        _advance(pending, _send_some(connection, pending))


class PoolChannel:
    """The pool's end: takes and gives what goes without waiting. One thread at a time may use it.

    Args:
        connection: a connected stream socket; it is made non-blocking.
        key: the 8 bytes, as a number, that every header begins with.
    """

    def __init__(self, connection: socket.socket, key: int) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.key = key
        self.peer: Peer | None = None  # the worker, that is lent segments of the pool's arena
        self.remote: Remote | None = None  # the worker's arena
        self.outgoing: deque[Buffer] = deque()
        self._lent: dict[int, Held] | None = None  # what the next message refers to
        self._head = bytearray()
        self._fields: Fields | None = None
        self._body = bytearray()
        self._have = 0

    def fileno(self) -> int:
        return self.connection.fileno()

    def close(self) -> None:
        self.outgoing.clear()
        self.connection.close()

    def shut(self) -> None:
        """Let nothing pass any more, and keep the descriptor."""
        try:
            self.connection.shutdown(2)  # both ways
        except OSError:
            pass  # the other end is gone

    def push(
        self, kind: int, parts: Iterable[Buffer], *, flags: int = 0, number: int = 0, definition: int = 0, first: int = 0,
        count: int = 0, base: int = 0,
    ) -> None:  # fmt: skip
        """Put one message into the queue of what goes; ``flush`` sends it."""
        parts = list(parts)
        size = sum(map(len, parts))
        if Frame in set(map(type, parts)):
            assert self.peer is not None
            told = lend(self.peer, parts)
            self.outgoing.append(HEADER.pack(self.key, LEND, 0, 0, 0, 0, 0, 0.0, 0.0, len(told)))
            self.outgoing.append(told)
        self.outgoing.append(
            HEADER.pack(self.key, kind, flags, number, definition, first, count, base, 0.0, size)
        )
        self.outgoing.extend(part for part in parts if len(part))

    def flush(self) -> bool:
        """Write what goes without waiting; True when nothing is left.

        Raises:
            OSError: the other end is gone.
        """
        try:
            while self.outgoing:
                _advance(self.outgoing, _send_some(self.connection, self.outgoing))
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def pump(self) -> Iterator[Message]:
        """Yield the messages that have come, without waiting for more.

        Raises:
            EOFError: the other end is gone (after all it had sent has been yielded).
            BrokenChannel: what came is not a message.
        """
        while True:
            if self._fields is not None:  # in the middle of a body: read straight into its place
                view = memoryview(self._body)[self._have :]
                try:
                    got = self.connection.recv_into(view, min(len(view), 1 << 30))
                except (BlockingIOError, InterruptedError):
                    return
                except ConnectionError:
                    got = 0
                if not got:
                    raise EOFError
                self._have += got
                if self._have == len(self._body):
                    fields, body = self._fields, memoryview(self._body)
                    self._fields, self._body, self._have = None, bytearray(), 0
                    yield from self._complete(fields, body)
                continue
            try:
                data = self.connection.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            yield from self._split(data)
            if len(data) < READ_SIZE and self._fields is None:
                return  # most likely nothing more: the selector will say so if there is

    def _split(self, data: bytes) -> Iterator[Message]:
        """Cut what came into messages; keep the beginning of an unfinished one."""
        rest = memoryview(bytes(self._head) + data if self._head else data)
        self._head.clear()
        while len(rest) >= HEADER.size:
            fields = parse(rest[: HEADER.size], self.key)
            rest = rest[HEADER.size :]
            size = fields[-1]
            if len(rest) >= size:
                yield from self._complete(fields, rest[:size])
                rest = rest[size:]
                continue
            self._fields, self._body, self._have = fields, bytearray(size), len(rest)
            self._body[: len(rest)] = rest
            return
        self._head += rest

    def _complete(self, fields: Fields, body: memoryview) -> Iterator[Message]:
        """Yield the message that has come, or take in what the next one refers to."""
        if fields[0] == LEND:
            if self.remote is None or len(body) % 24:
                raise BrokenChannel("there is no arena to be lent from")
            self._lent = self.remote.receive(body)
            return
        if self._lent is not None:
            body, self._lent = keep(body, self._lent), None
        yield Message(*fields[:-1], body)


def _send_some(connection: socket.socket, parts: deque[Buffer]) -> int:
    if hasattr(connection, "sendmsg"):
        return connection.sendmsg([part for part, _ in zip(parts, range(_PARTS), strict=False)])
    return connection.send(parts[0])  # Windows


def _advance(parts: deque[Buffer], sent: int) -> None:
    """Take ``sent`` bytes off the front of the parts."""
    while sent:
        first = parts[0]
        if sent < len(first):
            parts[0] = memoryview(first)[sent:]
            return
        sent -= len(first)
        parts.popleft()
