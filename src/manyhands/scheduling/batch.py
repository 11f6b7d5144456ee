"""A batch of tasks that the caller's thread runs itself, and that the watch's thread may end early.

Used by ``call``, which runs it; ``call`` also says when it has lasted too long.
"""

from __future__ import annotations

from time import perf_counter

from manyhands.transport.tally import Counted, Parts, close, running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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

    #: Nothing here is waited for but tasks; the items are there.
    waited = 0.0

    def __init__(self, items: Sequence[Any], expected: float) -> None:
        self.items = items
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
        ended = False
        try:
            if quickest:
                self.run_quickest(function)
            else:
                self.run(function, patience)
            ended = True
        finally:
            running.parts = before
            done = len(self.results) if ended or self.results else self.done()
            parts.end(done)
            if parts.shares:
                self.counted = True
                if not self.results:
                    self.results = [None] * done
                for place, shares in parts.shares.items():
                    self.results[place] = Counted(self.results[place], shares)

    def begun(self) -> int:
        """How many tasks have begun."""
        return self.size - (self.iterator.__length_hint__() if self._left is None else self._left)

    def done(self) -> int:
        """How many tasks have ended well, when it was ended by an exception."""
        return self.begun() - (not self.input_raised())

    def item(self) -> Any:
        """The item of the task that has raised."""
        return self.items[self.begun() - 1]

    def rest(self, done: int) -> Sequence[Any]:
        """The items after so many tasks."""
        return self.items[done:]

    def stop(self) -> None:
        """End it after the task that is running, if its iterator can be moved; from another thread."""
        self.stopped = True
        if self._left is None and hasattr(self.iterator, "__setstate__"):
            self._left = self.iterator.__length_hint__()
            self.iterator.__setstate__(_END)  # past its end

    # of the input

    def reading(self) -> bool:
        """Tell whether it is the input that is at work, and not a task; from another thread."""
        return False

    def input_ended(self) -> bool:
        """Tell whether the input has ended, by its end or an exception."""
        return False

    def input_raised(self) -> bool:
        """Of an exception: tell whether the input has raised it, and not a task."""
        return False


class Drawn(Batch):
    """Tasks that are being run here, each item of which is read when the task before has ended, as in a loop.

    Three iterators of the same length tell what happens, at next to no cost: the ticks end it, the marks go on before an item
    is asked for, the tocks when it is there.

    Args:
        source: the iterator.
        size: how many items to read.
        expected: how long all tasks should take, seconds, without what the input takes.
        timed: measure what the input takes.

    Example:
        >>> batch = Drawn(iter(["one", "two", "three"]), 2, 0.001, timed=False)
        >>> batch.run(len, None)
        >>> batch.results, batch.begun(), batch.input_ended()
        ([3, 3], 2, False)
    """

    def __init__(self, source: Iterator[Any], size: int, expected: float, *, timed: bool) -> None:
        super().__init__((), expected)
        self.size = size
        self.timed = timed
        self._item: Any = None
        self._ticks: Any
        self._marks: Any
        self._tocks: Any
        self._ticks, self._marks, self._tocks = (iter(bytes(size)) for _ in range(3))
        self.iterator = zip(self._ticks, self._marks, source, self._tocks, strict=False)

    def run_quickest(self, function: Callable[[Any], Any]) -> None:
        item = None
        try:
            self.results = [function(item := each) for _, _, each, _ in self.iterator]
        except BaseException:
            self._item = item
            raise

    def run(self, function: Callable[[Any], Any], patience: float | None) -> None:
        append, clock, item = self.results.append, perf_counter, None
        before, late = self.start, self.start + (_END if patience is None else patience)
        try:
            if not self.timed:
                if patience is None:
                    for _, _, item, _ in self.iterator:
                        append(function(item))
                    return
                for _, _, item, _ in self.iterator:
                    append(function(item))
                    if clock() > late:
                        break
                return
            for _, _, item, _ in self.iterator:
                self.waited += clock() - before
                append(function(item))
                before = clock()
                if before - self.waited > late:
                    break
        except BaseException:
            self._item = item
            raise

    def begun(self) -> int:
        return self.size - int(self._tocks.__length_hint__())

    def item(self) -> Any:
        return self._item

    def rest(self, done: int) -> Sequence[Any]:
        return ()

    def stop(self) -> None:
        self.stopped = True
        self._ticks.__setstate__(_END)

    def reading(self) -> bool:
        return bool(self._marks.__length_hint__() < self._tocks.__length_hint__())

    input_ended = input_raised = reading


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
        if self and done >= self._task:
            self._close()

    def _close(self) -> None:
        if self:
            self.shares[self._task - 1] = close(self)
