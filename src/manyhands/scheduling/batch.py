"""A batch of tasks that the caller's thread runs itself, and that the watch's thread may end early.

Used by ``call``, which runs it; ``call`` also says when it has lasted too long.
"""

from __future__ import annotations

from time import perf_counter

from manyhands.transport.tally import Counted, Parts, close, running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.transport.tally import Share

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

    __slots__ = ("_left", "counted", "expected", "iterator", "results", "size", "start", "stopped")

    def __init__(self, items: Sequence[Any], expected: float) -> None:
        self.iterator: Any = iter(items)
        self.size = len(items)
        self.expected = expected
        self.results: list[Any] = []
        self.start = perf_counter()
        self.stopped = False
        self.counted = False  # some of the results are Counted
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

    def run_counting(self, function: Callable[[Any], Any], patience: float | None, *, quickest: bool) -> None:
        """Run them in one of the two forms, and note what each adds to accumulators, which costs those that add nothing nothing.

        Args:
            function: as for ``run``.
            patience: as for ``run``.
            quickest: as ``run_quickest``; of tasks before one that raises, what they have added is kept, and no results.
        """
        before = running.parts
        parts = running.parts = BatchParts(self)
        try:
            if quickest:
                self.run_quickest(function)
            else:
                self.run(function, patience)
        finally:
            running.parts = before
            parts.end(len(self.results))
            if parts.shares:
                self.counted = True
                if not self.results:
                    self.results = [None] * (self.begun() - 1)
                for place, shares in parts.shares.items():
                    self.results[place] = Counted(self.results[place], shares)

    def begun(self) -> int:
        """How many tasks have begun."""
        return self.size - (self.iterator.__length_hint__() if self._left is None else self._left)

    def stop(self) -> None:
        """End it after the task that is running, if its iterator can be moved; from another thread."""
        self.stopped = True
        if self._left is None and hasattr(self.iterator, "__setstate__"):
            self._left = self.iterator.__length_hint__()
            self.iterator.__setstate__(_END)  # past its end


class BatchParts(Parts):
    """What the tasks of a batch add, each for itself: looked at when one adds, and not when one begins.

    Args:
        batch: the batch.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._task = 0  # counted from 1
        self.shares: dict[int, list[Share]] = {}

    def turn(self) -> None:
        """A task is about to add."""
        task = self._batch.begun()
        if task != self._task:
            self._close()
            self._task = task

    def end(self, done: int) -> None:
        """The batch is over; what a task has added that has raised is thrown away."""
        if self and (done >= self._task or self._batch.begun() > self._task):
            self._close()

    def _close(self) -> None:
        if self:
            self.shares[self._task - 1] = close(self)
