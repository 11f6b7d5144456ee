"""The ledger of one call: which tasks are out, which are done, what failed, and what the caller gets next.

Results are kept as runs, lists of consecutive results, by the index of their first; the run that starts at the next index
wanted is handed out. The first failing item in input order wins: a failure is raised when all before it are handed out,
unless the call's policy puts something in its place, or has it tried again.

What tasks have added to accumulators is committed when their results are handed out; where that is not in the order of the
input, it waits for its turn.

Used by ``call``; only in the caller's thread.
"""

from __future__ import annotations

from manyhands.scheduling.failures import note
from manyhands.transport import tally
from manyhands.transport.frozen import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, TypeAlias

    from manyhands.scheduling.job import Job
    from manyhands.scheduling.policy import Policy

    Chunk: TypeAlias = tuple[int, Sequence[Any], list[int]]


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
        #: Results may be ``Counted``.
        self.counts = tally.made
        self._shares: dict[int, list[tally.Share]] = {}  # by index, of tasks that are done
        self._handed: dict[
            int, int
        ] = {}  # first index and length of runs that were handed out before their turn
        self._turn = 0  # the index of the first task whose turn to be committed has not come
        self._runs: dict[int, Any] = {}  # lists, and whatever else has a length and becomes one in ``take``
        #: Of chunks that are out: first index, items, and how many of them are.
        self._out: list[Chunk] = []
        self._done: set[int] | None = set() if counts else None

    # results

    def keep(self, index: int, values: list[Any], *, counted: bool = False) -> None:
        """Results have come: those of the tasks from ``index`` on; ``Counted`` ones may be among them if it says so."""
        policy = self.policy
        stored = None
        if counted:
            stored = values[:] if policy is not None and policy.stored else None
            self._set_aside(range(index, index + len(values)), values)
        self.put(index, values)
        if policy is not None:
            policy.results(index, values, stored)

    def put(self, index: int, values: list[Any]) -> None:
        """Put results, or what stands for them, where ``take`` finds them."""
        self._runs[index] = values
        if self._done is not None:
            self._done.update(range(index, index + (len(values) or 1)))

    def restore(self, index: int, values: list[Any]) -> None:
        """Put results from another run, with what their tasks had added, where ``take`` finds them."""
        self._set_aside(range(index, index + len(values)), values)
        self.put(index, values)

    def take(self) -> list[Any] | None:
        """Hand out what is next, if it is there; an empty list stands for an item that is skipped."""
        if self.ordered:
            index = self.next
            run: list[Any] | None = self._runs.pop(index, None)
        else:
            index = next(iter(self._runs), 0)
            run = self._runs.pop(index, None)
        if run is not None:
            if self.counts:
                self._hand_over(index, len(run) or 1)
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

    # what tasks have added to accumulators

    def _set_aside(self, indexes: Iterable[int], values: list[Any]) -> None:
        """Take what tasks have added from their results, which stay in place."""
        for place, (index, value) in enumerate(zip(indexes, values, strict=False)):
            if type(value) is tally.Counted:
                self.counts = True
                values[place] = value.value
                self._shares[index] = value.shares

    def _hand_over(self, index: int, count: int) -> None:
        """A run is being handed out: commit what its tasks have added, when all before them were."""
        if index != self._turn:
            self._handed[index] = count
            return
        while count:
            self._commit(range(self._turn, self._turn + count))
            self._turn += count
            count = self._handed.pop(self._turn, 0)

    def commit_rest(self) -> None:
        """The call is over: nothing more is waited for by what was handed out before its turn."""
        for index, count in sorted(self._handed.items()):
            self._commit(range(index, index + count))
        self._handed.clear()

    def _commit(self, tasks: range) -> None:
        if not self._shares:
            return
        from manyhands.engine.interrupts import HeldBack
        from manyhands.shared.committing import commit

        with HeldBack():  # a task's share is added as a whole
            for index in tasks:
                shares = self._shares.pop(index, None)
                if shares is not None:
                    commit(shares)

    # failures

    def fail(self, index: int, item: Any, error: BaseException, where: str) -> None:
        """A task has failed.

        Args:
            index: the task.
            item: its item, perhaps frozen.
            error: what it raised.
            where: it ran, in words.
        """
        if not self.tries_again(index, item, error):
            self.failed(index, item, error, where)

    def tries_again(self, index: int, item: Any, error: BaseException) -> bool:
        """Have a task that has failed tried again, if the policy says so; arguments as for ``fail``."""
        wait = self.policy.again(index, error) if self.policy is not None else None
        if wait is None:
            return False
        from heapq import heappush
        from time import monotonic

        heappush(self.delayed, (monotonic() + wait, index, item))
        return True

    def failed(self, index: int, item: Any, error: BaseException, where: str) -> None:
        """A task has failed for good; arguments as for ``fail``."""
        policy, item = self.policy, opened(item)
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
        self._out.append((index, items, [len(items)]))

    def items_out(self) -> Iterator[Any]:
        """Yield the items of the chunks that are out."""
        for _, items, _ in self._out:
            yield from items

    def item(self, index: int) -> Any:
        """Return the item of a task that is out."""
        chunk = self._chunk_of(index)
        assert chunk is not None, f"nothing is known of task {index}"
        return chunk[1][index - chunk[0]]

    def forget(self, index: int, count: int) -> None:
        """So many tasks of a chunk are not out any more."""
        chunk = self._chunk_of(index)
        if chunk is not None:
            left = chunk[2]
            left[0] -= count
            if not left[0]:
                self._out = [each for each in self._out if each is not chunk]

    def _chunk_of(self, index: int) -> Chunk | None:
        """The chunk that a task is in, while that is out; of a task that is tried again, the last one."""
        for chunk in reversed(self._out):
            if chunk[0] <= index < chunk[0] + len(chunk[1]):
                return chunk
        return None
