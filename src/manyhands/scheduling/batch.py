"""A batch of tasks that the caller's thread runs itself, and that the watch's thread may end early.

Used by ``call``, which runs it; ``call`` also says when it has lasted too long.
"""

from __future__ import annotations

from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_END = 1 << 62


class Batch:
    """Tasks that are being run here.

    Args:
        items: the items.
        expected: how long all of them should take, seconds.

    Example:
        >>> batch = Batch(["one", "two", "three"], 0.001)
        >>> next(batch.iterator)
        'one'
        >>> batch.stop()
        >>> list(batch.iterator), batch.begun()
        ([], 1)
    """

    __slots__ = ("_left", "expected", "iterator", "size", "start", "stopped")

    def __init__(self, items: Sequence[Any], expected: float) -> None:
        self.iterator: Any = iter(items)
        self.size = len(items)
        self.expected = expected
        self.start = perf_counter()
        self.stopped = False
        self._left: int | None = None

    def begun(self) -> int:
        """How many tasks have begun."""
        return self.size - (self.iterator.__length_hint__() if self._left is None else self._left)

    def stop(self) -> None:
        """End it after the task that is running, if its iterator can be moved; from another thread."""
        self.stopped = True
        if self._left is None and hasattr(self.iterator, "__setstate__"):
            self._left = self.iterator.__length_hint__()
            self.iterator.__setstate__(_END)  # past its end
