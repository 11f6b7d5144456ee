"""Blocks of shared memory that travel: pickled, a block is an address, and unpickled it is the same memory.

A block is mapped once in each process, however often its handle arrives, and forked children keep the mapping. It lives for
as long as anybody has it. For one that was sent off and then dropped here, before it arrived there (``return share(array)``
in a task), that would be too short: it stays until it has been opened, or for ``PATIENCE`` seconds, or as long as this
process if that is shorter. Those who open it make a mark in it; we look for the mark whenever blocks are made or sent, and
when the collector runs.

A worker keeps the blocks that it has opened last, as the next task is most likely given the same ones, and to open and map one
takes ten times as long as anything else about it. It lets go of those that their makers have left whenever it opens another, and
of all of them when it has had nothing to do for a while.

Small things (locks, values) do not get a block each, but a cell of one. A cell is never given to another, so that nobody
can see in it what was there before; the block goes when all that lived in it has gone.

Above ``segments``, which knows the platform; below everything else in this package.
"""

from __future__ import annotations

import gc
import os
from _thread import RLock
from collections import deque
from time import monotonic
from weakref import WeakValueDictionary, ref

from manyhands.exceptions import SharedStateError
from manyhands.shared import segments
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable
    from typing import Any

    from manyhands.shared.segments import Address, Segment

#: How long, in seconds, a block waits for one that it was sent to, when nobody has it here any more.
PATIENCE = 60.0

#: A worker keeps so many blocks.
KEPT = 64

#: The size of a block of cells. Only pages that are written to take memory.
_CELLS = 1 << 20
_ALIGNED = 64  # a cache line: neighbours do not slow each other down


class Memory:
    """A block of shared memory, filled with zeros, which every process that unpickles it shares.

    Args:
        size: bytes, at least 1.

    Attributes:
        map: the memory, as a writable ``mmap.mmap`` of that size.
        size: bytes.

    Raises:
        SharedStateError: at unpickling, when every process that had it has ended or let go of it.

    Example:
        >>> import pickle
        >>> memory = Memory(16)
        >>> memory.map[:5] = b"hands"
        >>> pickle.loads(pickle.dumps(memory)) is memory
        True
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_made",
        "_pid",
        "_segment",
        "_sent",
        "_used",
        "map",
        "objects",
        "size",
    )

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"the size of shared memory must be at least 1 byte, not {size}")
        _sweep()
        self._attach(segments.kind.create(size))
        self._made = True

    def _attach(self, segment: Segment) -> None:
        self._segment = segment
        self._closed = self._sent = self._made = False
        self._used = 0  # of a block of cells: where the next one begins
        self._pid = os.getpid()
        self.size = segment.size
        #: What lives in this memory, by its offset: one object in a process for each.
        self.objects: WeakValueDictionary[int, Any] = WeakValueDictionary()
        try:
            self.map: mmap.mmap = segment.map()
        except BaseException:
            segment.close()
            self._closed = True
            raise
        with _guard:
            _memories[segment.key] = self

    def close(self) -> None:
        """Let go of it here: nobody can find it through this process any more. Views of it stay usable."""
        if not self._closed:
            self._closed = True
            with _guard:
                if _memories.get(self._segment.key) is self:
                    del _memories[self._segment.key]
            self._leave()
            self._segment.close()

    def _leave(self) -> None:
        """Let others know that it is not wanted here, where it was made, any more."""
        if self._made and self._sent and self._pid == os.getpid():
            self._segment.leave()

    def grow(self, size: int) -> None:
        """Have ``map`` show at least so many bytes, here; what was there stays. A view of the old ``map`` stays, too.

        Args:
            size: bytes.
        """
        if size > self.size:
            self._segment.grow(size)
            self.map, self.size = self._segment.map(), size

    @property
    def closed(self) -> bool:
        """Whether it was closed in this process."""
        return self._closed

    def address(self) -> Address:
        """Return what ``memory_at`` finds it by in another process, to which it is going to be sent.

        Raises:
            SharedStateError: it was closed.
        """
        if self._closed:
            raise SharedStateError(
                "this shared memory was taken away here (its with block has ended), and cannot be sent any more. Send it "
                "inside of the block, or make it with manyhands.share(), which keeps it for as long as it is used"
            )
        _sweep()
        self._sent = True
        self._segment.mark(opened=False)
        return self._segment.address()

    def __reduce__(self) -> tuple[Callable[..., Memory], Address]:
        return memory_at, self.address()

    def __del__(self) -> None:
        if (
            getattr(self, "_closed", True) or os is None
        ):  # the interpreter is at its end, and the system takes it all
            return
        self._closed = True
        self._leave()
        if self._sent and self._pid == os.getpid() and not self._segment.opened():
            _departing.append((self._segment, monotonic() + PATIENCE))
            if _collected not in gc.callbacks:
                gc.callbacks.append(_collected)
        else:
            self._segment.close()

    def __repr__(self) -> str:
        return f"<shared memory of {self.size} bytes{', taken away' if self._closed else ''}>"


def memory_at(size: int, key: Any, *places: Any) -> Memory:
    """Return the block of that address: the one that is open here, or opened now."""
    with _guard:
        memory = _memories.get(key)
        if memory is not None and tally.worker and memory._segment.left():
            memory = None
            _let_go()  # so that it is gone here, too, unless a task has it
            memory = _memories.get(key)
        if memory is None:
            memory = Memory.__new__(Memory)
            memory._attach(segments.kind.open(size, key, *places))
            if tally.worker:
                _let_go()
                if not memory._segment.left():
                    kept.append(memory)
        memory._segment.mark(opened=True)
    return memory


#: The blocks that are open in this process, by what tells them apart.
_memories: WeakValueDictionary[Any, Memory] = WeakValueDictionary()
_guard = RLock()  # the collector may drop a block, and so come here again, anywhere

#: In a worker: the blocks that it has opened last. ``engine.worker`` clears it when it has nothing to do.
kept: deque[Memory] = deque(maxlen=KEPT)


def _let_go() -> None:
    """Keep no blocks that their makers have left."""
    for _ in range(len(kept)):
        memory = kept.popleft()
        if not memory._segment.left():
            kept.append(memory)


#: Blocks that were sent, and dropped here before anybody has opened them; each with the time when it is given up.
_departing: list[tuple[Segment, float]] = []

#: The block that the next cell comes from.
_cells: ref[Memory] | None = None


def _sweep() -> None:
    """Let go of what has arrived, or has waited for too long."""
    if not _departing:
        return
    now = monotonic()
    for _ in range(len(_departing)):
        try:
            segment, until = _departing.pop(0)
        except IndexError:  # another thread is at it
            return
        if segment.opened() or now > until:
            segment.close()
        else:
            _departing.append((segment, until))


def _collected(phase: str, info: dict[str, int]) -> None:
    """Look through those that depart when the collector has run."""
    if phase == "stop":
        _sweep()


def cell(size: int) -> tuple[Memory, int]:
    """Return memory for a small object, filled with zeros: a block, and where in it the object begins.

    Args:
        size: bytes.

    Example:
        >>> (first, start), (second, end) = cell(8), cell(8)
        >>> first is second, end - start
        (True, 64)
    """
    global _cells
    size = -(-size // _ALIGNED) * _ALIGNED
    with _guard:
        memory = _cells() if _cells is not None else None
        # A child that was forked shares the block with its parent, and so must not give out the same cells.
        if memory is None or memory._pid != os.getpid() or memory._used + size > memory.size:
            memory = Memory(max(size, _CELLS))
            _cells = ref(memory)
        offset = memory._used
        memory._used = offset + size
    return memory, offset


def after_fork() -> None:
    """In a child that was forked: forget what only its parent is to look after."""
    global _guard
    _guard = RLock()
    kept.clear()
    while _departing:
        _departing.pop()[0].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
