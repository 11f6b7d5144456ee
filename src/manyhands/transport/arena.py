"""Large things on their way to other processes: written once into shared memory, and from there on only referred to.

An *arena* is a file in memory, without a name, that one process writes and others map. The pool has one for what goes to its
workers; each worker has one for what comes back, behind its journal, in the same file. ::

    sender: Arena                              receiver: mapped.Remote
    store: pickle, buffers -> a segment        receive: "this message refers to these segments"
           Frame: a small pickle with a lease  opened:  maps them, privately: writable, and nobody sees what is written
    lend:  counts what each peer was sent      Held:    counts back, by a store into shared memory, when the message and all
    sweep: lease dropped, all counted back              that was made from it are gone
           -> the segment is written anew

A *segment* is a range of the file. Its pages stay when it is not in use, as fresh ones cost several times the copy; what has
not been used for a while is given back (the file has a hole there, and that range is never used again: there are enough).
A segment is written anew only when the sender's own references to it are gone (the *lease*, which a ``Frame`` carries) and each
peer has counted back as often as it was sent it, or has died. Nobody is asked and no message is sent for that; see
``journal`` for the tables.

Where the system has no ``memfd_create``, or it is refused, there is no arena, and everything goes through the channel.

Source: PEP 574 (pickle protocol 5 with out-of-band data); memfd_create(2), madvise(2).
"""

from __future__ import annotations

import mmap
import os
import sys
from _pickle import dumps as pickle
from _thread import allocate_lock
from _weakref import ref
from collections import deque
from io import BytesIO
from time import monotonic

from manyhands.transport.journal import SLOTS
from manyhands.transport.mapped import KEPT, Taken, opened, rebuilt, taken
from manyhands.transport.memory import copy, map_range, punch, write_at
from manyhands.transport.serialize import PROTOCOL, THRESHOLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Self

    from manyhands.transport.serialize import Store

#: A free segment is given back after so many seconds.
IDLE = 3.0
#: Parts of a segment begin at multiples of this: no processor wants more for any kind of number.
ALIGNMENT = 64
#: Segments from this size on are mapped when they are written for the second time, so many at most: writing to mapped
#: memory takes half as long as ``pwrite``, which for fresh memory is the quicker one.
MAPPED_FROM, MOST_MAPPED = 1 << 20, 64
#: So many busy segments are looked at when one is wanted.
LOOK_AT = 64
#: How long somebody waits for another thread that is choosing a segment; then the channel has to do.
PATIENCE = 1.0

_TOO_SMALL = 1 << 12


class Lease:
    """As long as it lives, its segment is not written anew."""

    __slots__ = ("__weakref__", "arena", "segment", "wanted")

    def __init__(self, arena: Arena, segment: Segment) -> None:
        self.arena = arena
        self.segment = segment
        self.wanted = True  # by who has it for later


class Frame(bytes):
    """A pickle that refers to segments, and keeps them as they are.

    Args:
        data: the pickle; ``loads`` in a process that was lent the segments gives the object.
        leases: of the segments.
        size: bytes that it stands for.
    """

    leases: tuple[Lease, ...]
    size: int

    def __new__(cls, data: bytes, leases: Iterable[Lease], size: int) -> Self:
        self = super().__new__(cls, data)
        self.leases = tuple(leases)
        self.size = size
        return self

    def __reduce__(self) -> Any:
        return bytes, (bytes(self),)  # elsewhere the leases mean nothing


def size_of(data: bytes) -> int:
    """Return how many bytes travel for a pickle, by whichever way.

    Example:
        >>> size_of(b"12"), size_of(Frame(b"12", (), 1000))
        (2, 1000)
    """
    return data.size if type(data) is Frame else len(data)


def leases_of(parts: Iterable[Any]) -> list[Lease]:
    """Return the leases of those parts of a message that have any."""
    return [lease for part in parts if type(part) is Frame for lease in part.leases]


def leased(blob: bytes, leases: Sequence[Lease]) -> bytes:
    """Have a pickle keep the shared memory that parts of it refer to."""
    return Frame(blob, leases, len(blob) + sum(lease.segment.size for lease in leases)) if leases else blob


class Peer:
    """A process that is lent segments.

    Args:
        returned: its table of how often it has given back the segment of each slot.
    """

    def __init__(self, returned: memoryview) -> None:
        self._returned = returned
        self._sent: dict[int, int] = {}
        self._gone = False
        self._kept: set[int] = set()

    def lend(self, leases: Iterable[Lease]) -> list[int]:
        """Count segments as sent; return what ``mapped.Remote.receive`` has to know of them."""
        told: list[int] = []
        for lease in leases:
            segment = lease.segment
            self._sent[segment.slot] = self._sent.get(segment.slot, 0) + 1
            if self not in segment.peers:
                segment.peers.append(self)
            told += (segment.slot, segment.offset, segment.size)
        return told

    def has_returned(self, slot: int) -> bool:
        """Tell whether it holds nothing of that slot any more."""
        try:
            return slot not in self._kept if self._gone else self._returned[slot] == self._sent[slot]
        except ValueError:  # its table was closed this moment: it is gone
            return slot not in self._kept

    def leave(self) -> None:
        """It is gone, and so is what it held, but for what a child of it may have. Before its table is closed."""
        self._kept = {slot for slot in list(self._sent) if self._returned[slot] == KEPT}
        self._gone = True


class Segment:
    """A range of an arena's file.

    Args:
        slot: its place in the tables of its peers.
        offset: where it begins in the file, bytes.
        size: bytes.
    """

    __slots__ = ("idle_since", "lease", "offset", "peers", "size", "slot", "view", "written")

    def __init__(self, slot: int, offset: int, size: int) -> None:
        self.slot = slot
        self.offset = offset
        self.size = size
        self.lease: Any = None  # a weak reference to the one there is
        self.peers: list[Peer] = []
        self.view: memoryview | None = None
        self.written = 0  # so many bytes of it have been, so that their pages are there
        self.idle_since = 0.0

    def is_free(self) -> bool:
        if self.lease is not None and self.lease() is not None:
            return False
        return all(peer.has_returned(self.slot) for peer in self.peers)


class Arena:
    """The sender's end: finds a segment for each large thing, and writes it there.

    Args:
        file: the descriptor of a memory file.
        token: a number drawn for this arena; references to its segments carry it.
        limit: the most bytes its segments may have together; what is over goes through the channel.
        start: where in the file the first segment may begin, bytes.
        owned: close the file with the arena.
    """

    def __init__(self, file: int, token: int, limit: int, start: int = 0, *, owned: bool = True) -> None:
        self.file = file
        self.token = token
        self.limit = limit
        self.total = 0  # bytes of all segments
        self._owned = owned
        self._end = start
        self._lock = allocate_lock()
        self._idle: dict[int, list[Segment]] = {}  # by size
        self._busy: deque[Segment] = deque()
        self._slots: list[int] = []  # that are free again
        self._next_slot = 0
        self._mapped = 0
        self._refused = False
        self._process = os.getpid()

    # sending

    def store(self, data: bytes, buffers: Sequence[memoryview]) -> Frame | None:
        """Write a pickle's buffers, and the pickle if it is large itself, into a segment.

        Args:
            data: the pickle.
            buffers: those that it was made without, in their order.

        Returns:
            What stands for all of it; None: there is no room.
        """
        large = len(data) >= THRESHOLD
        parts = [memoryview(data), *buffers] if large else list(buffers)
        spans, end = [], 0
        for part in parts:
            spans.append((end, part.nbytes))
            end += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
        lease = self.write(parts, spans, end)
        if lease is None:
            return None
        piece = (lease.segment.slot, lease.segment.offset, end)
        parcel = Parcel(self.token, [piece], None if large else data, [(0, *span) for span in spans])
        return Frame(pickle(parcel, PROTOCOL), (lease,), end + (0 if large else len(data)))

    def write(self, parts: Sequence[memoryview], spans: Sequence[tuple[int, int]], size: int) -> Lease | None:
        """Write parts into one segment; None: there is no room.

        Args:
            parts: bytes.
            spans: where in the segment each part begins, and how long it is, bytes.
            size: of all of it, bytes.
        """
        lease = self._take(size)
        if lease is None:
            return None
        try:
            self._write(lease.segment, parts, spans)
        except (OSError, ValueError) as error:
            self._refuse(error)
            return None
        return lease

    def _take(self, size: int) -> Lease | None:
        """Find or make a segment of so many bytes."""
        size = rounded(size)
        if size > self.limit or os.getpid() != self._process or not self._lock.acquire(timeout=PATIENCE):
            return None
        try:
            segment = self._find(size)
            if segment is None:
                if self.total + size > self.limit:
                    self._sweep(len(self._busy))
                    segment = self._find(size)
                if segment is None and self.total + size > self.limit:
                    self._drop_idle(self.total + size - self.limit)
                segment = segment or self._make(size)
            if segment is None:
                return None
            lease = Lease(self, segment)
            segment.lease = ref(lease)
            segment.peers = []
            self._busy.append(segment)
            return lease
        except (OSError, ValueError) as error:
            self._refuse(error)
            return None
        finally:
            self._lock.release()

    def _find(self, size: int) -> Segment | None:
        for _ in range(2):
            for fit in (size, rounded(size + 1), rounded(rounded(size + 1) + 1)):
                if self._idle.get(fit):
                    return self._idle[fit].pop()
            self._sweep(LOOK_AT)
        return None

    def _sweep(self, most: int) -> None:
        """Look at so many of the segments that were in use: those that are not are idle."""
        busy = self._busy
        for _ in range(min(most, len(busy))):
            segment = busy.popleft()
            if segment.is_free():
                segment.idle_since = monotonic()
                self._idle.setdefault(segment.size, []).append(segment)
            else:
                busy.append(segment)

    def _make(self, size: int) -> Segment | None:
        if self.total + size > self.limit or not (self._slots or self._next_slot < SLOTS):
            return None
        os.ftruncate(self.file, self._end + size)
        if self._slots:
            slot = self._slots.pop()
        else:
            slot, self._next_slot = self._next_slot, self._next_slot + 1
        segment = Segment(slot, self._end, size)
        self._end += size
        self.total += size
        return segment

    def _write(self, segment: Segment, parts: Sequence[memoryview], spans: Sequence[tuple[int, int]]) -> None:
        end = sum(spans[-1])
        view = segment.view
        if view is None and segment.written and segment.size >= MAPPED_FROM:
            view = self.map(segment)
        # Where a page is missing, and cannot be had, writing to memory ends the process; pwrite says so.
        if view is not None and end <= segment.written:
            for part, (start, size) in zip(parts, spans, strict=True):
                copy(view[start : start + size], part)
            return
        for part, (start, _) in zip(parts, spans, strict=True):
            write_at(self.file, part, segment.offset + start)
        segment.written = max(end, segment.written)

    def map(self, segment: Segment) -> memoryview | None:
        """Return a segment as memory to be written and read; None where that cannot be had."""
        if segment.view is None and self._mapped < MOST_MAPPED:
            try:
                segment.view = memoryview(map_range(self.file, segment.offset, segment.size))
            except (OSError, ValueError):  # no descriptor, no room
                return None
            self._mapped += 1
        return segment.view

    # giving back

    def rest(self, idle: float = IDLE) -> bool:
        """Give back what nobody has used for so many seconds; tell whether there is anything left to look after."""
        if os.getpid() != self._process or not self._lock.acquire(timeout=PATIENCE):
            return True
        try:
            self._sweep(len(self._busy))
            before = monotonic() - idle
            for segments in self._idle.values():
                for segment in [each for each in segments if each.idle_since <= before]:
                    segments.remove(segment)
                    self._drop(segment)
            return self.total > 0
        finally:
            self._lock.release()

    def _drop_idle(self, size: int) -> None:
        """Make room of so many bytes, the largest first."""
        for fit in sorted(self._idle, reverse=True):
            while self._idle[fit] and size > 0:
                self._drop(self._idle[fit].pop())
                size -= fit

    def _drop(self, segment: Segment) -> None:
        if segment.view is not None:
            segment.view.release()
            segment.view = None
            self._mapped -= 1
        punch(self.file, segment.offset, segment.size)
        self.total -= segment.size
        self._slots.append(segment.slot)

    def _refuse(self, error: Exception) -> None:
        """The system gives no more memory: go on with what there is, and say so once."""
        self.limit = min(self.limit, max(0, self.total - _TOO_SMALL))
        if self._refused or self.file < 0 or sys.is_finalizing():
            return
        self._refused = True
        import warnings

        try:
            warnings.warn(
                f"shared memory for large arguments and results cannot be had ({error}); they go through a pipe, which takes "
                "longer; arena_limit sets how much may be used",
                RuntimeWarning,
                stacklevel=2,
            )
        except RuntimeWarning:  # as an exception it would cost the task, which has another way
            pass

    def close(self) -> None:
        """Let go of everything; who has mapped something keeps it."""
        self.limit = 0
        for segment in [*self._busy, *(each for segments in self._idle.values() for each in segments)]:
            if segment.view is not None:
                segment.view.release()
                segment.view = None
        self._busy.clear()
        self._idle.clear()
        if self._owned and self.file >= 0:
            os.close(self.file)
        self.file = -1


class Parcel:
    """Pickles as a call of ``opened``; arguments as there."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __reduce__(self) -> Any:
        return opened, self._arguments


def repacked(frame: bytes | memoryview, store: Store) -> bytes:
    """Return what refers to another arena in a form for others, as it is: what is in it is not unpickled.

    Args:
        frame: a pickle that ``mapped.is_parcel``.
        store: puts it where they find it.
    """
    data, buffers = taken(frame)
    stored = store(data, buffers)  # type: ignore[arg-type]
    if stored is not None:
        return stored
    return pickle(_Inline(bytes(data), [bytearray(part) for part in buffers]), PROTOCOL)


class _Inline(Parcel):
    """Pickles as a call of ``rebuilt``."""

    def __reduce__(self) -> Any:
        return rebuilt, self._arguments


def rounded(size: int) -> int:
    """Return the size of the segment for so many bytes: of a few sizes, so that segments fit again, and at most an eighth more.

    Example:
        >>> rounded(100_000), rounded(8_000_000) / 8_000_000 < 1.125
        (106496, True)
    """
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


class _Own(Taken):
    """Gives what a parcel of this process says of itself."""

    @staticmethod
    def find(*arguments: Any) -> Any:
        return arguments


def reopened(frame: Frame) -> Any:
    """Unpickle, in the process that has written it, a copy of what a pickle stands for."""
    _, pieces, data, spans = _Own(BytesIO(frame)).load()
    file, views = frame.leases[0].arena.file, []
    for _, offset, size in pieces:
        view = memoryview(bytearray(size))
        have = 0
        while have < size:
            have += os.preadv(file, [view[have : have + (1 << 30)]], offset + have) or size
        views.append(view)
    parts = [views[piece][start : start + length] for piece, start, length in spans]
    return rebuilt(parts.pop(0) if data is None else data, parts)
