"""Large constants: written into shared memory once, and again only when they have changed.

A constant, an array that a closure carries, a default: all tasks of a call have the same, and the next call often has it, too. So
each large buffer of a function's definition has a segment of its own, which is kept. When the same bytes come again the
definition comes out the same, byte for byte, and workers that have it are not sent it. ::

    the same place in memory, and nothing was written there since (writes) ──> what is kept
    else compared with what is kept of that size: the same bytes ────────────> what is kept
    else ────────────────────────────────────────────────────────────────────> written into a segment, and kept

To compare takes half as long as to copy. So where the system can tell that nothing was written, it is asked; but not of what was
found changed, until it has been found unchanged once: there writes would take longer, each time for nothing.

Used by ``lending``; ``arena`` has the segments.
"""

from __future__ import annotations

import mmap
from _thread import allocate_lock
from collections import OrderedDict
from time import monotonic

from manyhands.transport.arena import PATIENCE, Frame, Lease, Parcel
from manyhands.transport.memory import address_of, both_halves
from manyhands.transport.serialize import PROTOCOL, THRESHOLD, pickle
from manyhands.transport.writes import Writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manyhands.transport.arena import Arena

#: So many are kept at most, and together no more than this part of the arena's limit, for so many seconds after their last use.
MOST, PART, SECONDS = 48, 2, 30.0
#: So many of the same size are kept: most likely one is what has become of another.
ALIKE = 2
#: So many bytes are compared first, at either end and in the middle: most that differ at all do so there. At least a page.
GLANCE = max(1 << 12, mmap.PAGESIZE)
#: From so many bytes on two threads compare.
TOGETHER = 8 << 20
#: From so many bytes on, asking whether anything was written takes less than comparing.
WATCHED_FROM = 4 << 20


class Kept:
    """One buffer that is in shared memory.

    Args:
        lease: of its segment.
        size: bytes.
        view: the segment as this process sees it.

    Attributes:
        address: where the same bytes were in this process the last time; 0: nobody knows.
        watch: by which ``writes`` knows them there; 0: it does not.
    """

    __slots__ = ("address", "lease", "size", "used_at", "view", "watch")

    def __init__(self, lease: Lease, size: int, view: memoryview) -> None:
        self.address = self.watch = 0
        self.lease = lease
        self.size = size
        self.view = view
        self.used_at = monotonic()


class Constants:
    """The large constants of one pool.

    Args:
        arena: where they are.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._kept: OrderedDict[int, Kept] = OrderedDict()  # by slot, the one used last at the end
        self._writes = Writes()
        self._lock = allocate_lock()

    def store(self, data: bytes, buffers: Sequence[memoryview]) -> Frame | None:
        """As ``Arena.store``, but for what may come again."""
        if not self._lock.acquire(timeout=PATIENCE):
            return self._arena.store(data, buffers)
        try:
            return self._store(data, buffers)
        finally:
            self._lock.release()

    def _store(self, data: bytes, buffers: Sequence[memoryview]) -> Frame | None:
        large = len(data) >= THRESHOLD
        kept = []
        for part in [memoryview(data), *buffers] if large else buffers:
            found = self._keep(part, _place(part))
            if found is None:
                return None
            kept.append(found)
        pieces = [(each.lease.segment.slot, each.lease.segment.offset, each.size) for each in kept]
        spans = [(place, 0, each.size) for place, each in enumerate(kept)]
        parcel = Parcel(self._arena.token, pieces, None if large else data, spans)
        size = sum(each.size for each in kept) + (0 if large else len(data))
        return Frame(pickle(parcel, PROTOCOL), [each.lease for each in kept], size)

    def _keep(self, part: memoryview, address: int) -> Kept | None:
        """Find what is kept of the same bytes, or write them; None: there is no room."""
        size = part.nbytes
        known = [kept for kept in reversed(self._kept.values()) if kept.size == size]
        here = next((kept for kept in known if address and kept.address == address), None)
        if here is not None:
            if self._writes.quiet(here.watch) and same_ends(part, here.view):
                return self._used(here)
            here.address = 0  # nobody knows what is there now
        # It begins before anything is read, so that nothing is missed.
        watch = self._writes.watch(address, size) if address else 0
        found = next((kept for kept in known if same(part, kept.view)), None)
        changed = found is None and here is not None
        found = self._add(part) if found is None else self._used(found)
        if found is None or not found.view.nbytes or changed:  # it is not kept, or not worth a watch
            self._writes.forget(watch)
            watch = 0
        if found is not None:
            if found.watch != watch:
                self._writes.forget(found.watch)
            found.address, found.watch = address, watch
        return found

    def _used(self, kept: Kept) -> Kept:
        kept.used_at = monotonic()
        self._kept.move_to_end(kept.lease.segment.slot)
        return kept

    def _add(self, part: memoryview) -> Kept | None:
        self._make_room(part.nbytes)
        alike = [slot for slot, kept in self._kept.items() if kept.size == part.nbytes]
        for slot in alike[: max(0, len(alike) + 1 - ALIKE)]:
            self._drop(slot)
        lease = self._arena.write([part], [(0, part.nbytes)], part.nbytes)
        if lease is None:
            return None
        segment = lease.segment
        view = self._arena.map(segment)
        if view is None:  # it is not kept, then
            return Kept(lease, part.nbytes, memoryview(b""))
        kept = self._kept[segment.slot] = Kept(lease, part.nbytes, view[: part.nbytes])
        return kept

    def _make_room(self, size: int) -> None:
        most = self._arena.limit // PART
        while self._kept and (
            len(self._kept) >= MOST or size + sum(kept.size for kept in self._kept.values()) > most
        ):
            self._drop(next(iter(self._kept)))

    def _drop(self, slot: int) -> None:
        kept = self._kept.pop(slot, None)
        if kept is not None:
            self._writes.forget(kept.watch)
            kept.lease.wanted = False  # definitions that refer to it are to go as well

    def rest(self, seconds: float = SECONDS) -> bool:
        """Let go of what has not been used for so many seconds; tell whether there is anything left."""
        if not self._lock.acquire(False):  # it is in use just now
            return True
        try:
            before = monotonic() - seconds
            for slot in [slot for slot, kept in self._kept.items() if kept.used_at <= before]:
                self._drop(slot)
            return bool(self._kept)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of all."""
        self._kept.clear()
        self._writes.close()


def _place(part: memoryview) -> int:
    """Where it is in memory, if that is worth knowing; else 0."""
    if part.nbytes < WATCHED_FROM:
        return 0
    try:
        return address_of(part)
    except TypeError:
        return 0


def same(one: memoryview, other: memoryview) -> bool:
    """Tell whether two pieces of memory of the same size hold the same bytes.

    Example:
        >>> same(memoryview(b"x" * 10_000), memoryview(bytearray(b"x" * 10_000)))
        True
        >>> same(memoryview(b"x" * 10_000 + b"y"), memoryview(b"x" * 10_001))
        False
    """
    size, middle = one.nbytes, one.nbytes // 2
    if bytes(one[middle : middle + GLANCE]) != bytes(other[middle : middle + GLANCE]) or not same_ends(
        one, other
    ):
        return False
    compare = _comparer(one, other)
    if size < TOGETHER:
        return bool(compare(0, size))
    return all(both_halves(compare, size))


def same_ends(one: memoryview, other: memoryview) -> bool:
    """Tell whether two pieces of memory of the same size begin and end with the same bytes; at least a page of each end counts.

    Example:
        >>> same_ends(memoryview(b"x" * 10_000), memoryview(b"x" * 10_000)), same_ends(memoryview(b"xy"), memoryview(b"xz"))
        (True, False)
    """
    return bytes(one[:GLANCE]) == bytes(other[:GLANCE]) and bytes(one[-GLANCE:]) == bytes(other[-GLANCE:])


def _comparer(one: memoryview, other: memoryview) -> Any:
    """What compares a range of both, if possible without holding up other threads."""
    try:
        first, second = address_of(one), address_of(other)
    except TypeError:
        step = 1 << 20
        return lambda start, stop: all(
            bytes(one[place : min(place + step, stop)]) == bytes(other[place : min(place + step, stop)])
            for place in range(start, stop, step)
        )
    import ctypes

    compare = ctypes.CDLL(None).memcmp
    compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return lambda start, stop: not compare(first + start, second + start, stop - start)
