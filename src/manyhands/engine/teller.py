"""Shows what single tasks say (prints, log records, warnings) in a thread of its own, and keeps it in order with their results.

What shows it is other people's code, which may wait for a lock of theirs: not in the loop thread, which all of the pool waits
for. (The tasks of a map are shown by the caller's own thread.) What comes after it, a result say, is handed on by the same
thread, but not later than ``PATIENCE`` because of a handler that is stuck. The thread ends when there is nothing left.

Used by ``submissions``.
"""

from __future__ import annotations

import sys
import threading
from _contextvars import copy_context
from collections import deque

from manyhands.engine.host import show
from manyhands.engine.streams import Said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from manyhands.engine.streams import Event

#: Nothing waits longer than so many seconds for what is shown before it.
PATIENCE = 0.5
#: The filters and records of warnings are those of a context, and not of the process: as ever without a GIL (3.14).
CONTEXTUAL = bool(getattr(sys.flags, "context_aware_warnings", False))


class Teller:
    """Shows, and hands on what comes after it.

    Args:
        hand_on: takes the other events.
        later: has the loop thread do something after so many seconds.
    """

    def __init__(
        self, hand_on: Callable[[Event], object], later: Callable[[float, Callable[[], object]], object]
    ) -> None:
        self._hand_on = hand_on
        self._later = later
        self._lock = threading.Lock()
        self._queue: deque[Event] = deque()
        self._at_work = False
        self._context: Context | None = None
        self.stay()

    def stay(self) -> None:
        """What is shown from now on is shown where this was called: in the calling thread's context."""
        if CONTEXTUAL:
            self._context = copy_context()

    def deliver(self, event: Event) -> None:
        """Show it, or hand it on: at once, if nothing is shown that it has to wait for."""
        if not self._queued(event):
            self._hand_on(event)

    def _queued(self, event: Event) -> bool:
        with self._lock:
            if not self._at_work and not isinstance(event, Said):
                return False
            self._queue.append(event)
            if not self._at_work:
                self._at_work = True
                threading.Thread(target=self._work, name="manyhands-teller", daemon=True).start()
        if not isinstance(event, Said):
            self._later(PATIENCE, lambda: self._overtake(event))
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._at_work = False
                    return
                event = self._queue.popleft()
            if isinstance(event, Said):
                if self._context is None:
                    show(event)
                else:
                    self._context.run(show, event)
            else:
                self._hand_on(event)

    def _overtake(self, event: Event) -> None:
        """It has waited long enough."""
        with self._lock:
            if event not in self._queue:
                return
            self._queue.remove(event)
        self._hand_on(event)
