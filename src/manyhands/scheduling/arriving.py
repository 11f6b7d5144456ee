"""What comes back to a call: results and failures, in whatever order, and what is to be done at some time.

Results go to the ``ledger``. Only the caller's thread is here; what has come waits for it in the inbox.
"""

from __future__ import annotations

from time import monotonic, sleep

from manyhands.engine.interrupts import take
from manyhands.scheduling.feeding import Feeding
from manyhands.scheduling.job import in_worker
from manyhands.transport.outcomes import COUNTED, FAILED, VALUE, unplain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Arriving(Feeding):
    """A call, its way to the workers, and the way back; arguments as ``Call``."""

    def _wait(self) -> None:
        """Wait for something to come, when nothing else can be done."""
        if self.source.restores and self.ledger.ready():
            return  # feeding has met with results that the checkpoint has
        if self._line is not None:
            self._line.limit = self.workers
        patience = self._patience()
        if self._out:
            assert self._line is not None
            self._line.check_wait()
            from queue import Empty

            try:
                self._absorb(take(self._inbox, patience))
            except Empty:
                pass
        elif patience and self.ledger.delayed:
            sleep(patience)

    def _patience(self) -> float | None:
        """In how many seconds there is something to do, whether or not something comes."""
        patience = self.ledger.due()
        if self._ends is not None:
            left = max(0.0, self._ends - monotonic())
            patience = left if patience is None else min(patience, left)
        return patience

    def _try_again(self) -> None:
        """Tasks that have failed have their next turn when their wait is over."""
        for index, item in self.ledger.take_due():
            with self._lock:
                self.source.give_back(index, [item])

    def _expire(self) -> None:
        """The call's time is over: end what runs, and let everything that is not done have failed of it."""
        if self._overdue:
            return
        from manyhands.exceptions import TaskTimeoutError

        ledger, source = self.ledger, self.source
        assert self.deadline is not None
        if self._inbox is not None:
            self._collect()
        self._overdue = True
        policy = ledger.policy
        done = ledger.handed + len(ledger.partial())
        known = f" of {source.total}" if source.total is not None else ""
        words = (
            f"the call took longer than its deadline of {self.deadline:g} s; {done}{known} tasks were done"
        )
        if policy is None or policy.raises:
            raise TaskTimeoutError(words, limit=self.deadline)
        if self._line is not None:
            self._line.close(kill=True)
        with self._lock:
            rest = dict(source.take_rest())
        rest.update((index, item) for _, index, item in ledger.delayed)
        ledger.delayed.clear()
        policy.retries = None
        self._out = 0
        for index in ledger.missing(source.position):
            item = rest[index] if index in rest else ledger.item(index)
            ledger.fail_at(index, item, TaskTimeoutError(words, limit=self.deadline), "not done")

    def _collect(self) -> None:
        while not self._inbox.empty():
            self._absorb(self._inbox.get())

    def _absorb(self, event: Any) -> None:
        """Take in what has come."""
        if self._overdue:
            return
        kind = type(event).__name__
        if kind == "Results":
            self._absorb_results(event)
        elif kind == "Crash":
            from manyhands.transport.errors import crash

            self._out -= 1
            if event.timeout is None:
                self.job.memory.deadly = True  # here it would end this process
            self.ledger.worker = event.pid
            self.ledger.fail(event.index, self.ledger.item(event.index), crash(event), in_worker(event.pid))
            self.ledger.worker = None
            self.ledger.forget(event.index, 1)
        elif kind == "Said":
            from manyhands.engine.host import show

            show(event)
        elif kind == "Broken":
            raise event.error

    def _absorb_results(self, event: Any) -> None:
        line = self._line
        assert line is not None
        self._out -= len(event.outcomes)
        outcomes = event.outcomes
        places = event.places or range(event.first, event.first + len(outcomes))
        self.ledger.worker = event.worker
        values: list[Any] | None = outcomes.values() if hasattr(outcomes, "values") else None
        if values is None:
            self._open(places, outcomes, event.worker)
        elif values:
            self._keep(places, values)
        self.ledger.worker = None
        if event.busy and event.outcomes:
            with self._lock:
                self.planner.ran_there(len(event.outcomes), event.busy, event.travel / len(event.outcomes))
        if event.mutated and not self._warned:
            self._warned = True
            self._warn_mutated()
        if places:
            self.ledger.forget(places[0], len(places))
        if self.lazy and event.outcomes and hasattr(event.outcomes, "size"):
            self._result_size += (event.outcomes.size / len(event.outcomes) - self._result_size) / 2

    def _keep(self, places: Sequence[int], values: list[Any], *, counted: bool = False) -> None:
        """Hand results on to the ledger, in runs that follow each other."""
        keep = self.ledger.keep
        if isinstance(places, range):
            keep(places[0], values, counted=counted)
            return
        first = 0
        for end in range(1, len(places) + 1):
            if end == len(places) or places[end] != places[end - 1] + 1:
                keep(places[first], values[first:end], counted=counted)
                first = end

    def _open(self, places: Sequence[int], outcomes: Any, worker: int) -> None:
        """Take in results that have to be unpickled, and failures."""
        line, ledger = self._line, self.ledger
        assert line is not None
        values: list[Any] = []
        counted = ledger.counts  # threads hand over what tasks have added as it is
        append, decode = values.append, line.value
        for number, (kind, outcome) in enumerate(outcomes):
            try:
                if kind != FAILED:
                    if kind == COUNTED:
                        from manyhands.engine.opening import value_of

                        append(value_of(kind, outcome))
                        counted = ledger.counts = True
                    else:
                        append(decode(outcome) if kind == VALUE else unplain(outcome))
                    continue
                error = line.error(outcome)
            except KeyboardInterrupt:
                raise
            except BaseException as failure:  # what a result does when it is opened
                error = failure.with_traceback(None)
            if values:
                self._keep(places[number - len(values) : number], values, counted=counted)
                values = []
                append = values.append
            place = places[number]
            ledger.fail(place, ledger.item(place), error, in_worker(worker))
            if ledger.failure is not None and ledger.failure[0] <= place:
                return  # nothing after it is wanted
        if values:
            self._keep(places[len(outcomes) - len(values) :], values, counted=counted)

    def _warn_mutated(self) -> None:
        import warnings

        from manyhands.exceptions import LostUpdateWarning

        memory = self.job.memory
        if getattr(memory, "warned", False):
            return
        memory.warned = True
        warnings.warn(
            f"{self.job.name} changes an argument in place; tasks that run in a worker change their own copy, and the "
            "caller's stays as it was: return the changed value instead",
            LostUpdateWarning,
            stacklevel=outside(),
        )

    def _show_rest(self) -> None:
        """What tasks have said whose results are not wanted any more."""
        while not self._inbox.empty():
            event = self._inbox.get()
            if type(event).__name__ == "Said":
                self._absorb(event)


def outside() -> int:
    """The stack level of the first frame, seen from our caller, that is not this package's own."""
    import sys

    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "manyhands":
        frame, level = frame.f_back, level + 1
    return level
