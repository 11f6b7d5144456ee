"""One call: pull the input, run tasks here or send them there, put results in order, raise what the loop would have raised.

::

    source ──take──> run here ────────────────────────────┐
       │                                                  ▼
       └──take──> pack ──> line (a backend) ──> inbox ──> runs by index ──> the caller, in order

A call begins here: the caller's thread runs tasks itself, a few at first, and measures. The planner (``chunks``) says
when the workers would be quicker; then chunks go there, and the caller only feeds and collects. While the workers are
starting the caller goes on running tasks. A watch (``watch``) engages the workers when a task here takes too long.

``feeding`` is the way there, ``arriving`` the way back; what is out, done and failed is in the ``ledger``, which also knows
what the caller gets next.
"""

from __future__ import annotations

from time import monotonic, perf_counter

from manyhands.scheduling.arriving import Arriving
from manyhands.scheduling.batch import Batch, Drawn
from manyhands.scheduling.chunks import LOOK
from manyhands.scheduling.feeding import QUICK
from manyhands.scheduling.job import HERE, note_here
from manyhands.scheduling.watch import PATIENCE, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


#: Tasks this cheap, all together, are not worth a watch: seconds.
TRIFLE = 0.000_100
#: The watch looks at least this often, in seconds, while nothing happens here.
DOZE = 0.1
#: A task that takes so many times what it takes in workers whose caches are warm is one for them, however little that is.
COLD = 4
#: Below this many seconds a task, the loop itself counts: the quickest form of it is used.
CHEAP = 0.000_002


class Carried(Exception):  # noqa: N818 - it never gets further than the method that asked for the results
    """Brings a ``StopIteration`` of a task out of a generator, which would make a ``RuntimeError`` of it (PEP 479)."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__(error)
        self.error = error


class Stopped(BaseException):
    """The call was stopped from another thread."""


class Call(Arriving):
    """One call on its way; ``runs`` does it.

    Args:
        job: what to do with each item.
        source: the items.
        backend: where tasks may go; None: nowhere, all run here.
        chunksize: the size of every chunk, if the user fixed it.
        window: how many results may wait for their consumer; None: any number, or, if ``lazy``, some.
        lazy: results are wanted one by one, with those before a failing item.
        away: no task may run in the calling thread, if there is a backend.
        ordered: results come in the order of the input, else as they finish.
        policy: what becomes of failures, and who is told of results; None: the first failure is raised.
        timeout: seconds that each task may take, or None.
        deadline: seconds from now that the call may take, or None.
    """

    def stop(self) -> None:
        """End the call from another thread: ``runs`` raises ``Stopped`` as soon as a task that runs here is done."""
        self._stopped = True
        if self._inbox is not None:
            self._inbox.put(None)

    def runs(self) -> Iterator[list[Any]]:
        """Yield the results, as lists of consecutive ones.

        Raises:
            BaseException: what the first failing item raised, or the input's iterator.
        """
        kill = False
        try:
            self.source.begin(self.ledger.restore)
            while True:
                self._look_around()
                run = self.ledger.take()
                if run is not None:
                    if run:
                        yield run
                elif self._finished():
                    return
                elif self.source.restores and self._restore():
                    pass  # there is something to hand out, or there may be
                elif self._runs_here():
                    self._run_here()
                else:
                    with self._lock:
                        self._feed(pull=True)
                    self._wait()
        except StopIteration as error:
            raise Carried(error) from None
        except (Exception, GeneratorExit):
            raise
        except BaseException as error:  # Ctrl-C, or what another signal's handler raises: at once
            kill = True
            if isinstance(error, KeyboardInterrupt):
                error.partial = self.ledger.partial()  # type: ignore[attr-defined]
            raise
        finally:
            self._end(kill or self._overdue)

    # what comes next

    def _look_around(self) -> None:
        """Take in what has come, and see whether anything is to happen now."""
        if self._inbox is not None:
            self._collect()
        if self._stopped:
            raise Stopped
        if self._refused is not None:
            raise self._refused
        if self.ledger.delayed:
            self._try_again()
        if self._ends is not None and monotonic() >= self._ends:
            self._expire()
        if self.lazy:
            self._feed_meanwhile()

    def _finished(self) -> bool:
        """Tell whether all is done; raises what there is to raise when its turn has come."""
        ledger = self.ledger
        if ledger.failure is not None:
            index, error = ledger.failure
            if index == ledger.next or not self.ordered:
                ledger.raising()
                raise error
        elif self.source.drained() and ledger.handed == self.source.position:
            if self.source.error is not None:
                raise self.source.error
            return True
        return False

    def _restore(self) -> bool:
        """Take results from the checkpoint, before anybody is asked to work; tells whether there may be more."""
        with self._lock:
            return self.source.restore(self._unfilled())

    def _runs_here(self) -> bool:
        """Decide whether the caller's thread runs the next tasks itself."""
        if self.source.drained() or self._blocked():
            return False
        if self.backend is None:
            return True
        if not self._counted and (self.isolated or self.planner.cost is not None):
            if not self.isolated and not self.planner.worth_going(self.source.remaining(), warm=True):
                return True
            self._counted = True
            self.workers = self.planner.workers = self.backend.workers
        if self.isolated:
            self._engage()
            return False
        remaining = self.source.remaining()
        if self._line is None:
            warm = self.backend.warm()
            if not self.planner.worth_going(remaining, warm=warm, missed=self.backend.missed()):
                return True
            self._engage()
        elif not self._cold and not self.planner.worth_going(remaining, warm=True):
            return True  # it has turned out that travelling costs more than it brings
        assert self._line is not None
        # While workers are starting the caller is one of them; when they are all there it has other things to do.
        missing = self.workers - self._line.ready
        if missing > 0:
            if missing < self.workers:  # what is handed over before there is a worker would only wait
                with self._lock:
                    self._feed(pull=True)
            return not self.source.drained()
        return False

    # here

    def _run_here(self) -> None:
        """Run a batch of tasks in this thread."""
        planner, source = self.planner, self.source
        if self._out and source.holds_back(here=True):
            self._wait()
            return
        with self._lock:
            index, batch = self._next_batch()
            here, direct = source.here(self.job.here), source.direct
        if not batch.size:
            return
        self._stand_watch(batch.size)
        if self._line is not None:
            self._line.limit = max(1, self.workers - 1)  # this thread is one of the hands
        cheap = planner.measured and (planner.cost or 0) + (self._reading or 0) < CHEAP and not self.lazy
        counts = self.ledger.counts
        plain = cheap and direct and self.ledger.policy is None
        close, way = None, self.job.way
        if way is not None:
            here, close = way.here(here, index)
        batch.start = perf_counter()
        self._batch = batch
        try:
            # If its tasks are dearer than those before: time to think again.
            patience = None if cheap else max(LOOK, 4 * batch.expected)
            if counts:
                batch.run_counting(here, patience, quickest=plain)
            elif plain:
                batch.run_quickest(here)
            else:
                batch.run(here, patience)
        except BaseException as error:
            self._batch = None
            self._failed_here(batch, index, error, plain=plain)
            return
        finally:
            if close is not None:
                close()
        seconds = perf_counter() - batch.start
        self._batch = None
        self._ran(batch, index, seconds)

    def _next_batch(self) -> tuple[int, Batch]:
        """The next tasks to run here, and the index of the first; what has not been read yet is read as they run."""
        planner, source = self.planner, self.source
        cost = planner.cost or 0.0
        room = self._free()
        count = min(planner.batch(source.remaining(), going=self._line is not None), room)
        if self.backend is not None and not planner.measured:
            source.look_ahead(min(count + 2 * self.workers, room), QUICK)
        count = max(1, count)
        iterator = source.draw()
        if iterator is None:
            index, items = source.take_here(count)
            return index, Batch(items, len(items) * cost)
        reading = self._reading
        # To measure what the input takes costs something, too: not where all is cheap, or the input next to nothing.
        timed = reading is None or not planner.measured or (cost + reading >= CHEAP and 8 * reading > cost)
        return source.position, Drawn(iterator, count, count * (cost + (reading or 0.0)), timed=timed)

    def _ran(self, batch: Batch, index: int, seconds: float) -> None:
        """Those tasks of a batch that have results have run, together in so many seconds."""
        source, done = self.source, len(batch.results)
        with self._lock:
            if isinstance(batch, Drawn):
                source.drew(batch.begun(), ended=batch.input_ended())
            elif done < batch.size:
                source.give_back(index + done, batch.rest(done))
            if done:
                self._compare(done, seconds - batch.waited)
                self._measured(batch, done, seconds)
        if done:
            self.ledger.keep(index, batch.results, counted=batch.counted)

    def _compare(self, done: int, seconds: float) -> None:
        """Note whether tasks take longer here than where each key has a worker that knows it."""
        if self._line is not None and self._line.spread > 1 and done:
            self._cold = seconds / done > COLD * ((self.planner.cost or 0) + self.planner.ship)

    def _measured(self, batch: Batch, tasks: int, seconds: float) -> None:
        """So many tasks of a batch took so many seconds, together with what their input took."""
        if isinstance(batch, Drawn):
            if batch.timed:
                self._reading = batch.waited / max(1, batch.begun())
                seconds -= batch.waited
            else:
                if seconds > tasks * CHEAP and seconds > 2 * batch.expected * tasks / batch.size:
                    self._reading = None  # tasks are slower, or the input is: the next batch tells
                    return
                seconds = max(seconds - tasks * (self._reading or 0.0), seconds / 4)
        self.planner.ran_here(tasks, seconds)

    def _failed_here(self, batch: Batch, index: int, error: BaseException, *, plain: bool) -> None:
        """A task of a batch has raised, or the input has."""
        ledger, source, done = self.ledger, self.source, batch.done() if plain else len(batch.results)
        from_input = batch.input_raised()
        if plain and isinstance(error, KeyboardInterrupt):
            raise error
        if batch.results:
            ledger.keep(index, batch.results, counted=batch.counted)
        if isinstance(error, KeyboardInterrupt) or (from_input and not isinstance(error, Exception)):
            raise error
        with self._lock:
            if isinstance(batch, Drawn):
                source.drew(batch.begun(), ended=from_input, error=error if from_input else None)
            if not plain:
                if ledger.policy is not None and done + 1 < batch.size:
                    source.give_back(index + done + 1, batch.rest(done + 1))
                if batch.begun():
                    self._measured(batch, batch.begun(), perf_counter() - batch.start)
        if plain and (batch.begun() or not from_input):
            # The results before it were all good, and none is wanted, but for what their tasks have added.
            first = index + done if batch.results else index
            ledger.give_up(
                first, error if from_input else note_here(error, index + done, self.job, batch.item())
            )
        elif not from_input:
            item = batch.item() if ledger.policy is None else source.keep(batch.item())
            ledger.fail(index + done, item, error, HERE)

    def _stand_watch(self, tasks: int) -> None:
        """Have somebody look up when this thread is stuck in a task."""
        if self._watch is not None or self.backend is None or self._line is not None:
            return
        remaining, cost = self.source.remaining(), self.planner.cost
        expected = 0.0
        if cost is not None:
            if remaining is not None and (remaining + tasks) * cost < TRIFLE:
                return
            expected = tasks * cost
            if cost < CHEAP and expected < TRIFLE:  # the next batch is not far
                return
        if tasks > 1 or not self.source.drained():
            self._watch = Watch(self._look, expected)

    def _look(self) -> float | None:
        """In the watch's thread: is the caller stuck? Then engage the workers, stop its batch, feed them."""
        while not self._lock.acquire(timeout=DOZE):
            if self._ended:  # Ctrl-C can come between taking a lock and having it: it may stay taken
                return None
        try:
            return self._look_closely()
        finally:
            self._lock.release()

    def _look_closely(self) -> float | None:
        batch = self._batch
        if batch is None:
            if self._line is not None:
                return None
            self._doze = min(2 * self._doze, DOZE)  # the consumer is at work, or the input: not our business
            return self._doze
        self._doze = PATIENCE
        if batch.reading():  # the input is at work: not our business
            return DOZE
        elapsed = perf_counter() - batch.start - batch.waited
        if not batch.stopped:
            again = self.planner.look_again(batch.begun(), batch.size, elapsed, batch.expected)
            if again:
                return again  # it is at work, not stuck
            if batch.size > 1:
                batch.stop()  # after the task that is running
                return PATIENCE
        if self._line is None:
            if self.source.drained() and batch.begun() == batch.size:
                return None
            try:
                self._engage_quickly()
            except Exception:  # what cannot travel: the caller meets it itself, and says so
                return None
        assert self._line is not None
        self._line.limit = max(1, self.workers - 1)  # the caller has a core for itself
        try:
            if self._line.ready and self.planner.worth_feeding(self.source.remaining(), elapsed):
                self._feed(pull=False)
        except Exception as error:
            self._refused = error
        return None  # deliver() wakes it when there is room for more

    def _engage_quickly(self) -> None:
        """Engage from the watch's thread, while the caller's thread has the interpreter most of the time."""
        import sys

        assert self._watch is not None
        self._watch.load_threading()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(
            min(interval, 0.000_1)
        )  # else each file that an import opens costs a turn of 5 ms
        try:
            self._engage(locked=True)
        finally:
            sys.setswitchinterval(interval)

    def _end(self, kill: bool) -> None:
        self._ended = True
        try:
            if self._watch is not None:
                self._watch.stop()
            if self._line is not None:
                self._line.close(kill=kill)
                if not kill:
                    self._show_rest()
            elif self.backend is not None and self._counted and not self.backend.warm():
                self.backend.miss(self.planner.missed())
            self.ledger.commit_rest()
        finally:  # a second Ctrl-C must not leave a file locked
            self.source.release()
        if self.planner.measured:
            self.job.memory.cost = self.planner.cost
