"""A batch of tasks that the caller's thread runs itself, and that the watch's thread may end early.

Used by ``call``, which runs it; ``call`` also says when it has lasted too long.
"""

from __future__ import annotations

from time import perf_counter

from manyhands.transport.tally import Counted, close, running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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

    __slots__ = ("_left", "expected", "iterator", "results", "size", "start", "stopped")

    def __init__(self, items: Sequence[Any], expected: float) -> None:
        self.iterator: Any = iter(items)
        self.size = len(items)
        self.expected = expected
        self.results: list[Any] = []
        self.start = perf_counter()
        self.stopped = False
        self._left: int | None = None

    def run_quickest(self, function: Callable[[Any], Any]) -> None:
        """Run them in the quickest form that the loop has; when a task raises, the results before it are lost."""
        self.results = [function(item) for item in self.iterator]

    def run(self, function: Callable[[Any], Any], patience: float | None) -> None:
        """Run them, keeping what is done when a task raises.

        Args:
            function: what to call with each.
            patience: end it after the task in which so many seconds have passed; None: never.
        """
        append = (
            self.results.append
        )  # extend(map(...)) is no quicker, and takes a task's StopIteration for the end
        if patience is None:
            for item in self.iterator:
                append(function(item))
            return
        late = self.start + patience
        for item in self.iterator:
            append(function(item))
            if perf_counter() > late:
                break

    def run_counting(self, function: Callable[[Any], Any], patience: float | None) -> None:
        """As ``run``; results of tasks that have added to accumulators are ``Counted``."""
        append, late = self.results.append, self.start + (_END if patience is None else patience)
        before = running.parts
        parts = running.parts = {}
        try:
            for item in self.iterator:
                value = function(item)
                append(Counted(value, close(parts)) if parts else value)
                if perf_counter() > late:
                    break
        finally:
            running.parts = before

    def begun(self) -> int:
        """How many tasks have begun."""
        return self.size - (self.iterator.__length_hint__() if self._left is None else self._left)

    def stop(self) -> None:
        """End it after the task that is running, if its iterator can be moved; from another thread."""
        self.stopped = True
        if self._left is None and hasattr(self.iterator, "__setstate__"):
            self._left = self.iterator.__length_hint__()
            self.iterator.__setstate__(_END)  # past its end
