"""Large constants: written into shared memory once, and again only when they have changed.

A constant, an array that a closure carries, a default: all tasks of a call have the same, and the next call often has it, too. So
each large buffer of a function's definition has a segment of its own, which is kept. When the same bytes come again they are
compared with what is there, which takes less than writing them, and than having every worker map them anew: the definition
comes out the same, byte for byte, and workers that have it are not sent it.

Used by ``staff``; ``arena`` has the segments.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

from manyhands.transport.arena import Frame, Lease, Parcel
from manyhands.transport.memory import address_of, both_halves
from manyhands.transport.serialize import PROTOCOL, THRESHOLD, pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manyhands.transport.arena import Arena

#: So many are kept at most, and together no more than this part of the arena's limit, for so many seconds after their last use.
MOST, PART, SECONDS = 48, 2, 30.0
#: So many of the same size are kept: most likely one is what has become of another.
ALIKE = 2
#: So many bytes are compared first, at either end and in the middle: most that differ at all do so there.
GLANCE = 1 << 12
#: From so many bytes on two threads compare.
TOGETHER = 8 << 20


class Kept:
    """One buffer that is in shared memory.

    Args:
        lease: of its segment.
        size: bytes.
        view: the segment as this process sees it.
    """

    __slots__ = ("lease", "size", "used_at", "view")

    def __init__(self, lease: Lease, size: int, view: memoryview) -> None:
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

    def store(self, data: bytes, buffers: Sequence[memoryview]) -> Frame | None:
        """As ``Arena.store``, but for what may come again."""
        large = len(data) >= THRESHOLD
        kept = []
        for part in [memoryview(data), *buffers] if large else buffers:
            found = self._find(part) or self._add(part)
            if found is None:
                return None
            kept.append(found)
        pieces = [(each.lease.segment.slot, each.lease.segment.offset, each.size) for each in kept]
        spans = [(place, 0, each.size) for place, each in enumerate(kept)]
        parcel = Parcel(self._arena.token, pieces, None if large else data, spans)
        size = sum(each.size for each in kept) + (0 if large else len(data))
        return Frame(pickle(parcel, PROTOCOL), [each.lease for each in kept], size)

    def _find(self, part: memoryview) -> Kept | None:
        for slot, kept in reversed(list(self._kept.items())):
            if kept.size == part.nbytes and same(part, kept.view):
                kept.used_at = monotonic()
                self._kept.move_to_end(slot)
                return kept
        return None

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
            kept.lease.wanted = False  # definitions that refer to it are to go as well

    def rest(self, seconds: float = SECONDS) -> bool:
        """Let go of what has not been used for so many seconds; tell whether there is anything left."""
        before = monotonic() - seconds
        for slot in [slot for slot, kept in list(self._kept.items()) if kept.used_at <= before]:
            self._drop(slot)
        return bool(self._kept)

    def close(self) -> None:
        """Let go of all."""
        self._kept.clear()


def same(one: memoryview, other: memoryview) -> bool:
    """Tell whether two pieces of memory of the same size hold the same bytes.

    Example:
        >>> same(memoryview(b"x" * 10_000), memoryview(bytearray(b"x" * 10_000)))
        True
        >>> same(memoryview(b"x" * 10_000 + b"y"), memoryview(b"x" * 10_001))
        False
    """
    size = one.nbytes
    for place in (0, size // 2, max(0, size - GLANCE)):
        if bytes(one[place : place + GLANCE]) != bytes(other[place : place + GLANCE]):
            return False
    compare = _comparer(one, other)
    if size < TOGETHER:
        return bool(compare(0, size))
    return all(both_halves(compare, size))


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
