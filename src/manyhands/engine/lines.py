"""Standard output and error of a worker: whole lines, in as few pieces as can be, none of them lost when the worker dies.

``guest`` puts a text stream over each of them into ``sys``, and says which way text goes. Into a pipe, several workers write
at a time: what is longer than the system writes in one piece would be torn apart, hence a lock that the kernel holds for the
process. What waits is in the journal, where the pool finds it (``Staff.ended``).
"""

from __future__ import annotations

import io
import os
import sys
from _thread import RLock
from time import perf_counter

from manyhands.transport.journal import ERR, OUT, ROOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.engine.guest import Guest
    from manyhands.transport.journal import Journal

#: So many lines in a row go at once, the further ones wait for each other; after so many seconds of silence it begins anew.
CREDIT, PAUSE = 32, 0.001


class Lines(io.BufferedIOBase):
    """Where the text of one standard stream goes: on in whole lines, each in one piece; the rest when it is flushed.

    A few lines go at once. Of many, all but the first few wait in the journal, where they outlive this process, until there is
    no more room or the stream is flushed, as it is before results go.

    Args:
        guest: knows which way.
        descriptor: 1 or 2.
        journal: where lines wait.
    """

    def __init__(self, guest: Guest, descriptor: int, journal: Journal) -> None:
        self._guest = guest
        self._room: memoryview | None = journal.lines[descriptor - 1]
        self._words = journal.words
        self._word = (OUT, ERR)[descriptor - 1]
        self._latest = 0.0
        self._credit = CREDIT
        self._descriptor = descriptor
        self.name = "<stdout>" if descriptor == 1 else "<stderr>"
        self._tail = bytearray()
        self._lock = RLock()
        self._tty: bool | None = None
        self._shared: bool | None = None  # the descriptor is a pipe: long writes of others may come between

    def write(self, data: Any) -> int:
        with self._lock:
            self._tail += data
            end = self._tail.rfind(b"\n") + 1
            if end:
                whole = bytes(self._tail[:end])
                del self._tail[:end]
                self._pass_on(whole)
        return len(data)

    def flush(self) -> None:
        if not self._tail and (self._room is None or not self._words[self._word]):
            return
        with self._lock:
            whole = bytes(self._tail)
            self._tail.clear()
            self._emit(whole)

    def _pass_on(self, lines: bytes) -> None:
        """Let lines go, or wait."""
        now = perf_counter()
        gap, self._latest = now - self._latest, now
        if gap > PAUSE:
            self._credit = CREDIT
        self._credit -= 1
        if self._room is None or self._credit >= 0 or not self._slow():
            self._emit(lines)
            return
        held = self._words[self._word]
        end = held + len(lines)
        if end > ROOM:
            self._emit(lines)
        else:
            self._room[held:end] = lines
            self._words[self._word] = end

    def _slow(self) -> bool:
        """Whether every write costs somebody dear; a terminal is written to line by line, here as there."""
        if self._tty is None:
            self._tty = os.isatty(self._descriptor)
        return self._guest.forward or not self._tty

    def _emit(self, text: bytes) -> None:
        """Let text go, after what waits."""
        held = 0 if self._room is None else self._words[self._word]
        if held:
            assert self._room is not None
            self._put(bytes(self._room[:held]) + text)
            self._words[self._word] = 0  # in this order: who dies in between says it twice, but loses nothing
        else:
            self._put(text)

    def _put(self, text: bytes) -> None:
        if self._guest.forward:
            self._guest.say(self._descriptor - 1, text)
            return
        if self._shared is None:
            self._shared = _is_pipe(self._descriptor)
        if not self._shared:
            _write(self._descriptor, text)
            return
        # The kernel lets it go when its holder dies. It has no effect on what the caller writes itself meanwhile.
        import fcntl

        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        except OSError:  # not on this system: as whole as the pipe keeps it
            _write(self._descriptor, text)
            return
        try:
            _write(self._descriptor, text)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def disown(self) -> None:
        """In a process that a task has forked: what is not out is the worker's to write."""
        self._lock = RLock()
        self._room = None
        self._tail.clear()

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return not self._guest.forward and os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True


def _is_pipe(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    import stat

    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _write(descriptor: int, text: bytes) -> None:
    """Write all of it, waiting for a slow reader."""
    view = memoryview(text)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody has made it non-blocking
            import select

            select.select([], [descriptor], [])
