"""Ctrl-C, held back while the main thread does what must not be left half done; and waiting that it may end anywhere.

The pool's own thread never sees a ``KeyboardInterrupt``; a caller's thread that does a part of the pool's work (hands out a
chunk, takes a result) would, between any two steps of it: half a message written, a result taken from the channel and given
to nobody. So could a lock stay taken that the pool's thread needs: the interpreter looks for signals between taking it and
entering the ``with`` block. For the same reason ``threading.Condition`` and ``Event`` are not used to wait for that thread.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal costs an import of enum
import sys
from _thread import TIMEOUT_MAX, allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from queue import SimpleQueue
    from types import FrameType
    from typing import Any

_SIGINT: int = _signal.SIGINT

#: Seconds after which one who has begun to wait looks up, once. The interpreter checks for signals and then waits, in two
#: steps: a Ctrl-C between the two wakes nobody up. It comes there when it answers what was said just before the waiting.
LOOK_UP = 0.25


class HeldBack:
    """A context manager: a Ctrl-C that comes inside has its effect at the end.

    Only the main thread has anything to hold back, and only where Python handles the signal.
    """

    __slots__ = ("_came", "_handler")

    def __enter__(self) -> None:
        self._came = False
        self._handler: Any = None
        handler = _signal.getsignal(_SIGINT)
        if (
            callable(handler) and getattr(handler, "__func__", None) is not HeldBack._note
        ):  # held back already
            try:
                _signal.signal(_SIGINT, self._note)
            except (
                ValueError
            ):  # this is another thread (which threading may not know: the first to import it is its main)
                return
            self._handler = handler

    def __exit__(self, *_: object) -> None:
        handler = self._handler
        if handler is not None:
            _signal.signal(_SIGINT, handler)
            if self._came:
                handler(_SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True


def leave_to_main_thread() -> None:
    """Have this thread take no SIGINT.

    A signal goes to any thread that does not block it. If another than the main thread takes it, the main thread hears of it
    only when it runs Python code again: not while it waits for a lock.
    """
    if hasattr(_signal, "pthread_sigmask"):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, {_SIGINT})


def interrupted() -> bool:
    """Tell whether an unhandled Ctrl-C has ended the program (in an interactive session it ends a statement only)."""
    return isinstance(getattr(sys, "last_value", None), KeyboardInterrupt) and not hasattr(sys, "ps1")


def ring(bells: list[LockType]) -> None:
    """Wake up all who sleep by these bells; what they wait for has come."""
    try:
        while bells:
            bells.pop().release()
    except IndexError:  # another thread has rung the last
        pass


def sleep(bells: list[LockType], over: Callable[[], bool], timeout: float | None = None) -> bool:
    """Sleep until ``ring`` is called, or so many seconds have passed; not at all if it is over already.

    Args:
        bells: who wakes up; the same list as for ``ring``.
        over: tells whether what is waited for has come; it comes before the bells ring.
        timeout: seconds, or None.

    Returns:
        Whether it has come.
    """
    bell = allocate_lock()
    bell.acquire()
    bells.append(bell)
    if not over():
        for patience in _stages(None if timeout is None else max(0.0, timeout)):
            if bell.acquire(timeout=-1 if patience is None else min(patience, TIMEOUT_MAX)):
                break
    try:
        bells.remove(bell)
    except ValueError:  # it was rung
        pass
    return over()


def take(inbox: SimpleQueue[Any], timeout: float | None = None) -> Any:
    """Wait for the next thing in an inbox, where a Ctrl-C may end the waiting.

    Args:
        inbox: the queue.
        timeout: seconds, or None.

    Raises:
        queue.Empty: there is nothing in time.
    """
    from queue import Empty

    first, *rest = _stages(timeout)
    try:
        return inbox.get(timeout=first)
    except Empty:
        if not rest:
            raise
    return inbox.get(timeout=rest[0])


def _stages(timeout: float | None) -> tuple[float | None, ...]:
    """How long to wait first, and, if that is not all, how long then: seconds, or None for ever."""
    if timeout is None:
        return LOOK_UP, None
    if timeout <= LOOK_UP:
        return (timeout,)
    return LOOK_UP, timeout - LOOK_UP
