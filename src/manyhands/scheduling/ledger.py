"""The ledger of one call: which tasks are out, which are done, what failed, and what the caller gets next.

Results are kept as runs, lists of consecutive results, by the index of their first; the run that starts at the next index
wanted is handed out. The first failing item in input order wins: a failure is raised when all before it are handed out,
unless the call's policy puts something in its place, or has it tried again.

Used by ``call``; only in the caller's thread.
"""

from __future__ import annotations

from manyhands.scheduling.failures import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manyhands.scheduling.job import Job
    from manyhands.scheduling.policy import Policy


class Ledger:
    """What has become of the tasks of one call.

    Args:
        job: what is done with each item.
        policy: what becomes of failures; None: the first is raised.
        ordered: results are handed out in the order of the input, else as they come.
        counts: keep account of every single task, for ``missing``.
    """

    def __init__(self, job: Job, policy: Policy | None, *, ordered: bool, counts: bool) -> None:
        self.job = job
        self.policy = policy
        self.ordered = ordered
        self.worker: int | None = (
            None  # that the results or failures come from which come just now; None: this process
        )
        self.next = 0  # the index that is handed out next
        self.handed = 0  # how many were handed out
        self.failure: tuple[int, BaseException] | None = None  # index and exception of what is to be raised
        self.delayed: list[
            tuple[float, int, Any]
        ] = []  # tasks to be tried again: when, index and item; a heap
        self.skipped: set[int] = set()
        self._runs: dict[int, list[Any]] = {}
        self._out: dict[int, tuple[Sequence[Any], list[int]]] = {}  # of chunks that are out, and how many are
        self._done: set[int] | None = set() if counts else None

    # results

    def keep(self, index: int, values: list[Any]) -> None:
        """Results have come: those of the tasks from ``index`` on."""
        self.put(index, values)
        if self.policy is not None:
            self.policy.results(index, values)

    def put(self, index: int, values: list[Any]) -> None:
        """Put results, or what stands for them, where ``take`` finds them."""
        self._runs[index] = values
        if self._done is not None:
            self._done.update(range(index, index + (len(values) or 1)))

    def take(self) -> list[Any] | None:
        """Hand out what is next, if it is there; an empty list stands for an item that is skipped."""
        if self.ordered:
            run = self._runs.pop(self.next, None)
        else:
            run = self._runs.pop(next(iter(self._runs)), None) if self._runs else None
        if run is not None:
            self.next += len(run) or 1
            self.handed += len(run) or 1
        return run

    def ready(self) -> bool:
        """Tell whether there is something to hand out."""
        return self.next in self._runs if self.ordered else bool(self._runs)

    def partial(self) -> dict[int, Any]:
        """Return the results that are here and not handed out, by index."""
        return {index + place: value for index, run in sorted(self._runs.items()) for place, value in enumerate(run)}  # fmt: skip

    def hand_back(self, interrupt: KeyboardInterrupt, runs: list[list[Any]]) -> None:
        """Put the results that were handed out, and those that are here, onto what has ended an ordered call."""
        places = (index for index in range(self.next) if index not in self.skipped)
        values = (value for run in runs for value in run)
        interrupt.partial = {**dict(zip(places, values, strict=False)), **self.partial()}  # type: ignore[attr-defined]

    def missing(self, position: int) -> list[int]:
        """Return the indexes of the tasks before ``position`` that nothing has come of."""
        assert self._done is not None
        return [index for index in range(position) if index not in self._done]

    # failures

    def fail(self, index: int, item: Any, error: BaseException, where: str) -> None:
        """A task has failed.

        Args:
            index: the task.
            item: its item.
            error: what it raised.
            where: it ran, in words.
        """
        policy = self.policy
        wait = policy.again(index, error) if policy is not None else None
        if wait is not None:
            from heapq import heappush
            from time import monotonic

            heappush(self.delayed, (monotonic() + wait, index, item))
            return
        note(error, index, self.job.name, item, self.job.shape, where)
        if policy is None:
            self.give_up(index, error)
            return
        failure = policy.failure(index, item, error)
        if failure.attempts > 1:
            from manyhands.transport.errors import add_note

            add_note(error, f"manyhands: tried {failure.attempts} times")
        if policy.raises:
            self.give_up(index, error)
            return
        try:
            values = policy.replace(failure)
        except Exception as refusal:
            self.give_up(index, refusal)
            return
        if not values:
            self.skipped.add(index)
        self.put(index, values)

    def fail_at(self, index: int, item: Any, error: BaseException, where: str) -> None:
        """An item has failed, whether or not it was a task; arguments as for ``fail``."""
        self.fail(index, item, error, where)

    def raising(self) -> None:
        """The failure that is remembered is going to be raised."""

    def give_up(self, index: int, error: BaseException) -> None:
        """Remember the first failing item in input order."""
        if self.failure is None or index < self.failure[0]:
            self.failure = (index, error)

    def due(self) -> float | None:
        """Return in how many seconds the next task is to be tried again; None: none is."""
        if not self.delayed:
            return None
        from time import monotonic

        return max(0.0, self.delayed[0][0] - monotonic())

    def take_due(self) -> list[tuple[int, Any]]:
        """Return the tasks whose time to be tried again has come, index and item."""
        from heapq import heappop

        found = []
        while self.delayed and self.due() == 0.0:
            _, index, item = heappop(self.delayed)
            found.append((index, item))
        return found

    # what is out

    def sent(self, index: int, items: Sequence[Any]) -> None:
        """A chunk is on its way; its items are kept until the last of its tasks is done."""
        self._out[index] = items, [len(items)]

    def item(self, index: int) -> Any:
        """Return the item of a task that is out."""
        start = self._start_of(index)
        return None if start is None else self._out[start][0][index - start]

    def forget(self, index: int, count: int) -> None:
        """So many tasks of a chunk are not out any more."""
        start = self._start_of(index)
        if start is not None:
            out = self._out[start][1]
            out[0] -= count
            if not out[0]:
                del self._out[start]

    def _start_of(self, index: int) -> int | None:
        """The index of the first task of the chunk that a task is in, while that is out."""
        for start, (items, _) in self._out.items():
            if start <= index < start + len(items):
                return start
        return None
