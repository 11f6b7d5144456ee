"""Ctrl-C, held back while the main thread does what must not be left half done.

The pool's own thread never sees a ``KeyboardInterrupt``; a caller's thread that does a part of the pool's work (hands out a
chunk, takes a result) would, between any two steps of it: half a message written, a result taken from the channel and given
to nobody.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal costs an import of enum
import threading
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_SIGINT: int = _signal.SIGINT


class HeldBack:
    """A context manager: a Ctrl-C that comes inside has its effect at the end.

    Only the main thread has anything to hold back, and only where Python handles the signal.
    """

    __slots__ = ("_came", "_handler")

    def __enter__(self) -> None:
        self._came = False
        self._handler: Any = None
        if get_ident() == threading.main_thread().ident:
            handler = _signal.getsignal(_SIGINT)
            if callable(handler):
                _signal.signal(_SIGINT, self._note)
                self._handler = handler

    def __exit__(self, *_: object) -> None:
        handler = self._handler
        if handler is not None:
            _signal.signal(_SIGINT, handler)
            if self._came:
                handler(_SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True
