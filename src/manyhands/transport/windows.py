"""Private mappings of segments: for one thing, or for one after the other.

A mapping of its own for each thing costs a page fault for every few pages, which takes about as long as a copy. So larger
segments have a ``Window``, a mapping that stays. What comes in the segment is seen through a *carrier*, an object that exports
the memory of the mapping and lives as long as anybody uses it. ``mapped`` uses it.
"""

from __future__ import annotations

import mmap
import os
import sys

from manyhands.transport.memory import address_of
from manyhands.transport.pagemap import has_own_pages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.transport.mapped import Held

#: So many mappings at a time, where each takes a descriptor; and where only the kernel's limit on mappings counts.
FEW, MANY = 1024, 20_000

#: Windows are for segments of at least and at most so many bytes, and there are so many for each arena.
WINDOW_FROM, WINDOW_TO, WINDOWS = 1 << 20, 64 << 20, 32

_maps: set[int] = set()  # those that live
_most = 0


class Map(mmap.mmap):
    """A segment as this process sees it."""

    held: Held

    def __del__(self) -> None:
        _maps.discard(id(self))


class Window:
    """A mapping of a segment that stays for what comes in it next.

    Args:
        mapping: of all of the segment.
        offset: where the segment begins in the file.
    """

    __slots__ = ("address", "map", "offset")

    def __init__(self, mapping: Map, offset: int) -> None:
        self.map = mapping
        self.offset = offset
        self.address = address_of(mapping)

    def wipe(self) -> bool:
        """Have it show the file again, without what this process has written; False when that cannot be done."""
        try:
            if has_own_pages(self.address, len(self.map)):
                self.map.madvise(mmap.MADV_DONTNEED)
        except Exception:  # no descriptor to ask with; the interpreter is about to end
            return False
        return True


if sys.version_info >= (3, 12):

    class Carrier:
        """What the contents of a window are seen through, once; its end is the end of them."""

        __slots__ = ("__weakref__", "_map", "held")

        def __init__(self, mapping: Map, held: Held) -> None:
            self._map = mapping
            self.held = held

        def __buffer__(self, flags: int) -> memoryview:
            return memoryview(self._map)

    def carrier(mapping: Map, held: Held) -> Any:
        """Return what exports the memory of a mapping, and is gone when nobody uses that any more."""
        return Carrier(mapping, held)

else:
    _carriers: list[Any] = []

    def carrier(mapping: Map, held: Held) -> Any:
        """The same; None where there is no such thing."""
        numpy = sys.modules.get("numpy")
        if numpy is None or not hasattr(numpy, "frombuffer"):
            return None
        if not _carriers:
            _carriers.append(type("Carrier", (numpy.ndarray,), {}))
        found = numpy.frombuffer(mapping, "u1").view(_carriers[0])
        found.held = held
        return found


def private(file: int, offset: int, size: int) -> Map | None:
    """Map a range of a file so that it can be written to and nobody sees it; None where that cannot be done."""
    if len(_maps) >= most_maps():
        return None
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    try:
        if sys.version_info >= (3, 13):
            found = Map(file, size, mmap.MAP_PRIVATE, protection, offset=offset, trackfd=False)
        else:
            spare = os.dup(file)  # what mmap() is about to do
            os.close(spare)
            if spare <= 2:  # the place of a standard stream
                return None
            found = Map(file, size, mmap.MAP_PRIVATE, protection, offset=offset)
    except (OSError, ValueError):  # no descriptor, no more mappings, or a limit on memory
        return None
    _maps.add(id(found))
    return found


def most_maps() -> int:
    """Return how many mappings there may be at a time, of all arenas."""
    global _most
    if not _most:
        _most = MANY
        if sys.version_info < (3, 13):  # each takes a descriptor
            import resource

            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            _most = min(FEW, max(16, limit // 4) if limit > 0 else FEW)
    return _most
