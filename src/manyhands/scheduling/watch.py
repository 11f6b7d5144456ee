"""Somebody has to look up while the caller's thread is inside a task: a short-lived thread, only for as long as that.

A call begins by running tasks here, in the caller, because most calls are small. If one of those tasks turns out to be
slow, the caller's thread is stuck in it and cannot engage the workers; the watch does it in its place.
"""

from __future__ import annotations

import _thread
import sys

from manyhands.engine.interrupts import leave_to_main_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The first look comes after so many seconds; workers are engaged when the caller has not come up for air by then.
PATIENCE = 0.001


class Watch:
    """Calls ``look`` after ``PATIENCE`` seconds or more, and again whenever ``wake`` is called, until ``stop``.

    Args:
        look: called in the watch's thread; returns how many seconds to wait for the next look, None: until ``wake``.
        patience: the first look comes after so many seconds, if that is more.
    """

    def __init__(self, look: Callable[[], float | None], patience: float = 0.0) -> None:
        self._look = look
        self._maker = _thread.get_ident()
        self._patience = max(PATIENCE, patience)
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._stopped = self._looking = False
        self.ended = _thread.allocate_lock()
        self.ended.acquire()
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:  # no more threads to be had: then nobody watches
            self._stopped = True
            self.ended.release()

    def load_threading(self) -> None:
        """Have ``threading`` loaded, with the thread that made this watch for its main thread.

        Up to Python 3.12 it takes the thread that imports it for that (bpo-1596321), which here would be the watch's: then
        ``main_thread()`` is wrong for the whole program. It is dear, so that a call which needs no workers does without.
        """
        if sys.version_info >= (3, 13) or "threading" in sys.modules:
            return
        import threading

        main: Any = threading._main_thread  # type: ignore[attr-defined]
        active: Any = threading._active  # type: ignore[attr-defined]
        active.pop(main._ident, None)
        main._ident = self._maker
        active[self._maker] = main
        main._tstate_lock = _thread.allocate_lock()  # that of the watch's thread is released when it ends
        main._tstate_lock.acquire()

    def wake(self) -> None:
        """Have a look now."""
        try:
            self._bell.release()
        except RuntimeError:  # it has been rung already
            pass

    def stop(self) -> None:
        """End the thread, and wait for the look it may be at: nothing of it happens after this."""
        if not self._stopped:
            self._stopped = True
            self.wake()
        if self._looking:  # else it sees that it is stopped before it looks again
            with self.ended:
                pass

    def _run(self) -> None:
        leave_to_main_thread()
        patience: float | None = self._patience
        try:
            while True:
                self._bell.acquire(timeout=-1 if patience is None else patience)
                self._looking = True
                if self._stopped:
                    return
                patience = self._look()
                self._looking = False
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            self.ended.release()
