"""The receiver's end of an arena: maps segments, and counts them back when nothing of them is left.

A mapping is private and writable: what is written is a copy of the page for this process alone. What is unpickled refers to the
mapping, and the mapping to ``Held``, as does the body of the message that came with the segment. When the last of these is gone,
in whatever thread, ``Held`` adds to the number of its slot in a table that the sender reads. ``arena`` has the drawing.

Mapping memory and touching its pages for the first time takes as long as copying it. So larger segments are mapped once, and the
mapping is used again for the next thing that comes in the same segment (``Window``). What this process has written into it,
pages of its own, goes with the thing; if there is none, all pages are there already.

A private mapping still sees what is written to the file, in pages that it has not changed. That is why a segment is never written
anew while anybody has it; and why a process that forks gives back nothing of what it had then: the child may have it yet. Whoever
forks a child whose end it learns of has it given back then (``fork_and_await``, ``Awaited``).
"""

from __future__ import annotations

import os
from _pickle import Unpickler, loads
from _thread import allocate_lock, get_ident
from _weakref import ref
from collections import deque

from manyhands.transport.memory import punch
from manyhands.transport.windows import WINDOW_FROM, WINDOW_TO, WINDOWS, Window, carrier, private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_remotes: dict[int, Any] = {}  # weak references, by token
_awaiting: tuple[int, list[Awaited]] | None = (
    None  # the thread that forks, and where what the child has is put
)


#: In a peer's table: a child of it may have the segment of that slot, for as long as it likes.
KEPT = (1 << 64) - 1


class Held:
    """A segment that this process was lent; gives it back when it dies."""

    __slots__ = ("__weakref__", "awaited", "count", "offset", "remote", "size", "slot", "window")

    def __init__(self, remote: Remote, slot: int, offset: int, size: int) -> None:
        self.remote = remote
        self.slot = slot
        self.offset = offset
        self.size = size
        self.count = 1
        self.window: Window | None = None  # the one that it is seen through
        self.awaited: Awaited | None = None

    def __del__(self) -> None:
        if self.window is not None and not self.window.wipe():
            self.remote.close_window(self.slot)
        if (
            self.awaited is not None
        ):  # who comes last, it or the children that have the segment, gives it back
            self.awaited.count = self.count
        else:
            self.remote.give_back(self)


class Awaited:
    """A segment that children have as well; gives it back when ``held`` and whatever refers to this are gone."""

    __slots__ = ("_held", "count", "offset", "remote", "size", "slot")

    def __init__(self, held: Held) -> None:
        self._held = ref(held)
        self.remote = held.remote
        self.slot = held.slot
        self.offset = held.offset
        self.size = held.size
        self.count = 0  # known when ``held`` has gone
        self.remote.awaited.add(id(self))

    def keep(self) -> None:
        """Never give it back: a child has a child that may have it."""
        self.remote.keep(self._held() or self)

    def __del__(self) -> None:
        self.remote.awaited.discard(id(self))
        self.remote.give_back(self)


class Body(bytearray):
    """The body of a message that refers to segments: they are held for as long as any part of it is.

    Args:
        content: the body, or how many bytes it has.
        held: the segments, by slot.
    """

    def __init__(self, content: bytes | bytearray | memoryview | int, held: dict[int, Held]) -> None:
        super().__init__(content)
        self.held = held


class Remote:
    """Somebody else's arena.

    Args:
        file: the descriptor of its file; closed with this object.
        token: the arena's number.
        returned: the table in which to count back; None: nobody reads it.
        windows: so many mappings may stay for what comes next.
    """

    def __init__(self, file: int, token: int, returned: memoryview | None, windows: int = WINDOWS) -> None:
        self.file = file
        self.token = token
        #: Slots that were opened, and weak references to what they are seen through, where somebody wants to know.
        self.traces: list[tuple[int, Any]] | None = None
        self._returned = returned
        self._live: dict[int, Any] = {}  # weak references to Held, by slot
        self._windows: dict[int, Window] = {}  # by slot
        self._most_windows = windows
        self.awaited: set[int] = set()  # what children of this process have, by id
        self._back: deque[tuple[int, int]] = deque()
        self._lock = allocate_lock()
        self._dead = False  # its owner is gone
        self._forked = False  # a child may have what was held at some time
        self._process = os.getpid()
        _remotes[token] = ref(self)

    def receive(self, told: memoryview) -> dict[int, Held]:
        """Take in what ``arena.Peer.lend`` says of the segments that the next message refers to."""
        numbers = told.cast("Q").tolist()
        found: dict[int, Held] = {}
        for slot, offset, size in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
            known = self._live.get(slot)
            held = known() if known is not None else None
            if held is None:
                held = Held(self, slot, offset, size)
                self._live[slot] = ref(held)
            else:
                held.count += 1
            found[slot] = held
        return found

    def open(self, slot: int, offset: int, size: int) -> memoryview:
        """Return the bytes of a segment, to be read and changed by this process."""
        known = self._live.get(slot)
        held = known() if known is not None else None
        if held is None or held.offset != offset:
            raise RuntimeError(
                "a part of the message was kept without it, and its shared memory is in other use by now"
            )
        if held.window is None and self._most_windows and WINDOW_FROM <= held.size <= WINDOW_TO:
            view = self._look_through(held, size)
            if view is not None:
                return view
        found = private(self.file, offset, size)
        if found is None:
            return self._copy(offset, size)
        found.held = held
        self._trace(held, found)
        return memoryview(found)

    def _look_through(self, held: Held, size: int) -> memoryview | None:
        """See a segment through its window."""
        window = self._windows.get(held.slot)
        if window is None or window.offset != held.offset:
            self._windows.pop(held.slot, None)
            found = private(self.file, held.offset, held.size)
            if found is None:
                return None
            try:
                window = Window(found, held.offset)
            except (ImportError, TypeError):  # nobody can tell where it is
                return None
            if len(self._windows) >= self._most_windows:
                del self._windows[next(iter(self._windows))]
            self._windows[held.slot] = window
        seen = carrier(window.map, held)
        if seen is None:
            return None
        held.window = window
        self._trace(held, seen)
        return memoryview(seen)[:size]

    def close_window(self, slot: int) -> None:
        """Map anew what comes next in a segment."""
        self._windows.pop(slot, None)

    def _trace(self, held: Held, found: Any) -> None:
        if self.traces is not None:
            self.traces.append((held.slot, ref(found)))

    def _copy(self, offset: int, size: int) -> memoryview:
        view = memoryview(bytearray(size))
        have = 0
        while have < size:
            got = os.preadv(self.file, [view[have : have + (1 << 30)]], offset + have)
            if not got:
                raise RuntimeError("shared memory of a message is shorter than it was said to be")
            have += got
        return view

    def give_back(self, held: Held | Awaited) -> None:
        """Count a segment back. In any thread, at any moment: whoever comes second leaves it to the first."""
        if self._process != os.getpid() or not held.count:
            return
        if self._dead:
            self._punch(held.offset, held.size)
            return
        self._back.append((held.slot, held.count))
        while self._back and self._lock.acquire(False):
            try:
                while self._back:
                    slot, count = self._back.popleft()
                    if self._returned is not None:
                        self._returned[slot] += count
            except (IndexError, ValueError):  # another was quicker; the table is closed
                pass
            finally:
                self._lock.release()

    def orphan(self) -> None:
        """Its owner is gone: what nobody here holds is of no use, and what is held goes when it is let go."""
        if self._process != os.getpid():  # it is only this forked child's copy that goes
            self.disown()
            return
        self._dead, self._returned = True, None
        self._windows.clear()
        held = [each for each in (known() for known in list(self._live.values())) if each is not None]
        if not held or self._forked or self.awaited:
            return
        place = 0
        for each in sorted(held, key=lambda each: each.offset):
            self._punch(place, each.offset - place)
            place = each.offset + each.size
        self._punch(place, os.fstat(self.file).st_size - place)

    def keep(self, held: Held | Awaited) -> None:
        """Never give a segment back: a child is about to have it, too."""
        held.count = 0
        self._forked = True
        if self._returned is not None and self._process == os.getpid():
            try:
                self._returned[held.slot] = KEPT
            except ValueError:  # the table is closed
                pass

    def disown(self) -> None:
        """In a forked child, which is sent nothing."""
        self._returned = None
        file, self.file = self.file, -1
        if file >= 0:
            os.close(file)

    def _punch(self, offset: int, size: int) -> None:
        if size > 0 and self.file >= 0:
            punch(self.file, offset, size)

    def __del__(self) -> None:
        known = _remotes.get(self.token)
        if known is not None and known() is None:
            del _remotes[self.token]
        file, self.file = self.file, -1
        if file >= 0:
            os.close(file)


def opened(
    token: int, pieces: list[tuple[int, int, int]], data: bytes | None, spans: list[tuple[int, int, int]]
) -> Any:
    """Unpickle what lies in segments.

    Args:
        token: of the arena.
        pieces: of each segment, its slot, where it begins in the file, and how much of it is used, bytes.
        data: the pickle; None: it is the first of the spans.
        spans: the parts: which of the segments each is in, where it begins there, and how long it is, bytes.
    """
    return rebuilt(*_parts(token, pieces, data, spans))


def rebuilt(data: bytes | memoryview, buffers: Sequence[Any]) -> Any:
    """Unpickle what was pickled without its buffers."""
    return loads(data, buffers=buffers)


def _parts(
    token: int, pieces: list[tuple[int, int, int]], data: bytes | None, spans: list[tuple[int, int, int]]
) -> tuple[bytes | memoryview, list[memoryview]]:
    known = _remotes.get(token)
    remote = known() if known is not None else None
    if remote is None:
        raise RuntimeError("this refers to shared memory of a pool that this process is no part of")
    views = [remote.open(*piece) for piece in pieces]
    parts = [views[piece][start : start + length] for piece, start, length in spans]
    return (parts.pop(0) if data is None else data), parts


def is_parcel(frame: bytes | memoryview) -> bool:
    """Tell whether a pickle refers to shared memory."""
    return __name__.encode() in bytes(frame[:80])


class Taken(Unpickler):
    """Gives a pickle and its buffers, in place of what they stand for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, opened.__name__):
            return self.find
        return super().find_class(module, name)

    @staticmethod
    def find(*arguments: Any) -> Any:
        """Return what the arguments of ``opened`` refer to."""
        return _parts(*arguments)


def taken(frame: bytes | memoryview) -> tuple[bytes | memoryview, list[memoryview]]:
    """Return the pickle and the buffers that a parcel refers to, without unpickling them."""
    from io import BytesIO

    return Taken(BytesIO(frame)).load()  # type: ignore[no-any-return]


def fork_and_await(fork: Callable[[], int]) -> tuple[int, list[Awaited]]:
    """Fork a child; return what ``fork`` does, and what the child has, to be let go of when it has ended."""
    global _awaiting
    awaited: list[Awaited] = []
    _awaiting = (get_ident(), awaited)
    try:
        return fork(), awaited
    finally:
        _awaiting = None


def _before_fork() -> None:
    """What is held now, the child is going to hold as well: it is never given back, or when the child has ended."""
    awaited = _awaiting[1] if _awaiting is not None and _awaiting[0] == get_ident() else None
    for known in list(_remotes.values()):
        remote = known()
        if remote is not None:
            for each in list(remote._live.values()):
                held = each()
                if held is None:
                    continue
                if awaited is None:
                    remote.keep(held)
                else:
                    held.awaited = held.awaited or Awaited(held)
                    awaited.append(held.awaited)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
