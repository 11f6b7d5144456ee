"""A few pages of memory that a worker shares with its pool: which task it is on, and the results it has not sent yet.

This is how a crash gets its address. Before a task the worker notes its index here, after it the pickled result; both
are plain stores into shared memory, so that they cost nanoseconds, need no system call, and survive the worker's death
by any signal. When the worker dies, the pool reads which task was running (the culprit), which results were finished
but not yet sent (they are kept), and so which tasks had not begun (they run elsewhere). Nothing runs twice.

::

    word 0   the chunk whose tasks these are           words 8 ...   where each result ends, and its kind
    word 1   1 while its tasks run, else 0             then          the results, one after the other
    word 2   index in the chunk of the task that runs: those before it are finished
    word 3   index in the chunk of the first result held here (those before it were sent)
    word 4   written by the pool: the task before which to stop
    word 5   when the task that runs began (monotonic clock, nanoseconds), if its time is limited; 0: not yet
    word 6   bytes of standard output that wait here, and in word 7 of standard error

The pool takes tasks away from a running chunk by lowering word 4. The worker stores word 2 before it reads word 4, the pool
stores word 4 and reads word 2 a millisecond later, when every store has long been seen: one of them notices the other,
so no task is run by two workers (Dekker's argument; Lamport, "A new solution of Dijkstra's problem", 1974, uses the same).

Behind the results there is room for text: where a worker is that is about to be killed, written by its own signal handler;
then for lines that tasks have printed and that are not out yet, so that these, too, outlive the worker. Last come two tables of
numbers, by slot: how often the worker has given back a segment of the pool's arena, and the pool one of the worker's (see
``arena``). Each is written by one side and read by the other. The worker's arena is in the same file, from ``SIZE`` on.
"""

from __future__ import annotations

import mmap
import os
import sys

from manyhands.transport.outcomes import POSITION, Outcomes

ENTRIES = 8192
CAPACITY = 1 << 20
_WORDS = 8
_DATA = (_WORDS + ENTRIES) * 8
TEXT = _DATA + CAPACITY
HELD = TEXT + (1 << 14)
ROOM = 1 << 14
#: An arena has so many segments at a time.
SLOTS = 4096
_TABLES = HELD + 2 * ROOM
#: A multiple of any page's size.
SIZE = -(-(_TABLES + 2 * 8 * SLOTS) // (1 << 16)) * (1 << 16)

CHUNK, RUNNING, DONE, FIRST, LIMIT, BEGAN, OUT, ERR = range(8)


class Journal:
    """One worker's journal, mapped by the worker and by its pool.

    Args:
        file: what ``create`` has returned; it stays the caller's to release.
    """

    def __init__(self, file: int | str) -> None:
        if sys.platform == "win32":
            self.map = mmap.mmap(-1, SIZE, tagname=str(file))
        else:
            self.map = mmap.mmap(int(file), SIZE)
        view = memoryview(self.map)
        self.words = view[:_DATA].cast("Q")
        self.ends = self.words[_WORDS:]
        self.data = view[_DATA:TEXT]
        self.lines = (view[HELD : HELD + ROOM], view[HELD + ROOM : _TABLES])
        tables = view[_TABLES:].cast("Q")
        self.by_worker, self.by_pool = tables[:SLOTS], tables[SLOTS : 2 * SLOTS]
        tables.release()

    def clear_text(self) -> None:
        """Forget what was written behind the results."""
        self.map[TEXT:HELD] = bytes(HELD - TEXT)

    def text(self) -> str:
        """Return what the worker has written behind its results."""
        return self.map[TEXT:HELD].rstrip(b"\0").decode(errors="replace")

    def unprinted(self) -> list[bytes]:
        """Return the lines that wait here, of standard output and standard error, copied out of the journal."""
        return [
            bytes(lines[: min(self.words[word], ROOM)])
            for lines, word in zip(self.lines, (OUT, ERR), strict=True)
        ]

    def held(self) -> Outcomes:
        """Return the finished results that were not sent, copied out of the journal."""
        count = min(max(0, self.words[DONE] - self.words[FIRST]), ENTRIES)
        entries = self.ends[:count].tolist()
        return Outcomes(entries, memoryview(bytes(self.data[: entries[-1] & POSITION] if entries else b"")))

    def close(self) -> None:
        self.ends.release()
        self.words.release()
        self.data.release()
        self.by_worker.release()
        self.by_pool.release()
        for lines in self.lines:
            lines.release()
        try:
            self.map.close()
        except BufferError:  # a view of it is still held somewhere; the map goes with the last one
            pass


def create() -> int | str:
    """Make the memory of a journal and return what opens it: a descriptor, or on Windows a name.

    Where the platform can, the memory has no name that could be left behind.
    """
    if sys.platform == "win32":
        return f"manyhands-{os.getpid()}-{os.urandom(8).hex()}"
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("manyhands", os.MFD_CLOEXEC)
    else:
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="manyhands-")
        os.unlink(path)
    os.ftruncate(descriptor, SIZE)
    return descriptor


def release(file: int | str) -> None:
    """Close what ``create`` has returned; who has mapped it keeps it."""
    if isinstance(file, int):
        os.close(file)
