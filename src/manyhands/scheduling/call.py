"""One call: pull the input, run tasks here or send them there, put results in order, raise what the loop would have raised.

::

    source ──take──> run here ────────────────────────────┐
       │                                                  ▼
       └──take──> pack ──> line (a backend) ──> inbox ──> runs by index ──> the caller, in order

A call begins here: the caller's thread runs tasks itself, a few at first, and measures. The planner (``chunks``) says
when the workers would be quicker; then chunks go there, and the caller only feeds and collects. While the workers are
starting the caller goes on running tasks. A watch (``watch``) engages the workers when a task here takes too long.

What is out, done and failed is in the ``ledger``, which also knows what the caller gets next.
"""

from __future__ import annotations

import _thread
from time import monotonic, perf_counter, sleep

from manyhands.scheduling.batch import Batch
from manyhands.scheduling.chunks import LOOK, Planner
from manyhands.scheduling.ledger import Ledger
from manyhands.scheduling.watch import PATIENCE, Watch
from manyhands.transport.outcomes import FAILED, VALUE, unplain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from manyhands.backends import Backend, Line
    from manyhands.engine.streams import Event
    from manyhands.engine.ways import Way
    from manyhands.scheduling.policy import Policy
    from manyhands.scheduling.source import Source

#: Where ``imap`` has no ``buffersize``, results may wait for their consumer up to so many tasks, or what so many
#: chunks for each worker hold, whichever is more.
WINDOW_TASKS, WINDOW_CHUNKS = 64, 4
#: ... but no more than the workers do in so many seconds, nor than so many bytes, unless that would leave a worker idle.
WINDOW_TIME = 0.25
WINDOW_BYTES = 64 << 20
#: An iterator that takes longer than this to give a few items is not asked for more than needed.
QUICK = 0.000_200
#: Tasks this cheap, all together, are not worth a watch: seconds.
TRIFLE = 0.000_100
#: The watch looks at least this often, in seconds, while nothing happens here.
DOZE = 0.1
#: Below this many seconds a task, the loop itself counts: the quickest form of it is used.
CHEAP = 0.000_002
#: Where a task ran, in words.
HERE = "in the caller's process"
#: More results than anybody can wait for.
_END = 1 << 62


class Job:
    """What a call does with each item: the function in its two forms, and what is known of it.

    Args:
        function: the plain function, to call here.
        shipped: gives what is sent to workers in its place (itself, or what refers to it).
        constants: keywords that are the same for every task.
        shape: how an item becomes arguments: 0 ``f(item)``, 1 ``f(*item)``.
        memory: remembers across calls what a task cost, in its attribute ``cost``, and in ``deadly`` that one has ended its
            process.
        way: how tasks are run, if there is more to that than calling the function; see ``engine.ways``.
    """

    __slots__ = ("constants", "function", "here", "memory", "name", "shape", "shipped", "way")

    def __init__(
        self, function: Callable[..., Any], shipped: Any, constants: dict[str, Any], shape: int, memory: Any,
        way: Way | None = None,
    ) -> None:  # fmt: skip
        self.function = function
        self.shipped = shipped
        self.constants = constants
        self.shape = shape
        self.memory = memory
        self.way = way
        self.name = getattr(function, "__qualname__", None) or type(function).__name__
        if constants and shape:
            self.here: Callable[[Any], Any] = lambda item: function(*item, **constants)
        elif constants:
            self.here = lambda item: function(item, **constants)
        elif shape:
            self.here = lambda item: function(*item)
        else:
            self.here = function


class Carried(Exception):  # noqa: N818 - it never gets further than the method that asked for the results
    """Brings a ``StopIteration`` of a task out of a generator, which would make a ``RuntimeError`` of it (PEP 479)."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__(error)
        self.error = error


class Stopped(BaseException):
    """The call was stopped from another thread."""


class Call:
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

    def __init__(
        self, job: Job, source: Source, backend: Backend | None, *, chunksize: int | None = None, window: int | None = None,
        lazy: bool = False, away: bool = False, ordered: bool = True, policy: Policy | None = None,
        timeout: float | None = None, deadline: float | None = None,
    ) -> None:  # fmt: skip
        self.job = job
        self.source = source
        self.backend = backend
        self.workers = 2  # until it matters: finding out reads files
        self.isolated = backend is not None and (away or backend.isolated)
        self.planner = Planner(self.workers, chunksize, job.memory.cost)
        self.ordered = ordered
        self.lazy = lazy
        self.timeout = timeout
        self.deadline = deadline
        self._ends = None if deadline is None else monotonic() + deadline
        self.ledger = Ledger(job, policy, ordered=ordered, counts=policy is not None and deadline is not None)
        self._window = window
        self._lock = _thread.allocate_lock()  # of source, planner and line: the watch may feed too
        self._line: Line | None = None
        self._inbox: Any = None
        self._watch: Watch | None = None
        self._doze = PATIENCE
        self._batch: Batch | None = None  # while one runs here
        self._result_size = 0.0  # bytes of a result, of late
        self._out = 0  # tasks that were sent and have not come back
        self._warned = False
        self._stopped = self._ended = self._overdue = False
        self._refused: BaseException | None = None  # what the watch could not send
        self._counted = False

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
            self.source.begin(self.ledger.put)
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

    def _finished(self) -> bool:
        """Tell whether all is done; raises what there is to raise when its turn has come."""
        ledger = self.ledger
        if ledger.failure is not None:
            index, error = ledger.failure
            if index == ledger.next or not self.ordered:
                raise error
        elif self.source.drained() and ledger.handed == self.source.position:
            if self.source.error is not None:
                raise self.source.error
            return True
        return False

    def _restore(self) -> bool:
        """Take results from the checkpoint, before anybody is asked to work; tells whether there may be more."""
        with self._lock:
            return self.source.restore(self._room() - (self.source.position - self.ledger.handed))

    def _runs_here(self) -> bool:
        """Decide whether the caller's thread runs the next tasks itself."""
        if self.ledger.failure is not None or self.source.drained() or self._blocked():
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
        elif not self.planner.worth_going(remaining, warm=True):
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

    def _blocked(self) -> bool:
        """Tell whether the consumer has to take results before more tasks may begin."""
        return self.source.position - self.ledger.handed >= self._room()

    def _room(self) -> int:
        if self._window is not None:
            return self._window
        if not self.lazy:
            return _END
        planner, few = self.planner, WINDOW_CHUNKS * self.workers
        tasks = max(WINDOW_TASKS, few * max(planner.chunk(None), planner.last_batch))
        # Nobody knows whether the consumer wants them all: no more than the workers do in a while.
        tasks = max(few, min(tasks, int(self.workers * WINDOW_TIME / (planner.cost or 1e-9))))
        size = max(self._result_size, planner.bytes_per_task, 1.0)
        return min(tasks, max(self.workers + 1, int(WINDOW_BYTES / size)))

    # here

    def _run_here(self) -> None:
        """Run a batch of tasks in this thread."""
        planner, source = self.planner, self.source
        with self._lock:
            count = planner.batch(source.remaining(), going=self._line is not None)
            room = self._room() - (source.position - self.ledger.handed)
            count = min(count, room)
            if self.backend is not None and not planner.measured:
                source.look_ahead(min(count + 2 * self.workers, room), QUICK)
            index, items = source.take(max(1, count))
        if not len(items):
            return
        self._stand_watch(len(items))
        if self._line is not None:
            self._line.limit = max(1, self.workers - 1)  # this thread is one of the hands
        cheap = planner.measured and (planner.cost or 0) < CHEAP and not self.lazy
        plain = cheap and self.ledger.policy is None
        here, close, way = self.job.here, None, self.job.way
        if way is not None:
            here, close = way.here(here, index)
        self._batch = batch = Batch(items, len(items) * (planner.cost or 0))
        try:
            if plain:
                batch.run_quickest(here)
            else:  # if its tasks are dearer than those before: time to think again
                batch.run(here, None if cheap else max(LOOK, 4 * batch.expected))
        except BaseException as error:
            self._batch = None
            self._failed_here(batch, index, items, error, plain=plain)
            return
        finally:
            if close is not None:
                close()
        seconds = perf_counter() - batch.start
        self._batch = None
        done = len(batch.results)
        with self._lock:
            if done < len(items):
                source.give_back(index + done, items[done:])
            planner.ran_here(done, seconds)
        if done:
            self.ledger.keep(index, batch.results)

    def _failed_here(
        self, batch: Batch, index: int, items: Sequence[Any], error: BaseException, *, plain: bool
    ) -> None:
        """A task of a batch has raised."""
        ledger, place = self.ledger, batch.begun() - 1 if plain else len(batch.results)
        if batch.results:
            ledger.keep(index, batch.results)
        if isinstance(error, KeyboardInterrupt):
            raise error
        if plain:  # the results before it were all good, and none is wanted
            ledger.give_up(index, note_here(error, index + place, self.job, items[place]))
            return
        with self._lock:
            if ledger.policy is not None and place + 1 < len(items):
                self.source.give_back(index + place + 1, items[place + 1 :])
            self.planner.ran_here(place + 1, perf_counter() - batch.start)
        ledger.fail(index + place, items[place], error, HERE)

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
        elapsed = perf_counter() - batch.start
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

    # there

    def _engage(self, *, locked: bool = False) -> None:
        """Open the way to the workers."""
        if not locked:
            with self._lock:
                self._engage(locked=True)
            return
        if self._line is not None:
            return
        from queue import SimpleQueue

        assert self.backend is not None
        self._inbox = SimpleQueue()
        self._line = self.backend.open(
            self.job.shipped(),
            self.job.constants,
            self.job.shape,
            self._deliver,
            eager=self.lazy or self.source.restores,
        )

    def _deliver(self, event: Event) -> None:
        """In the loop thread: something has come."""
        self._inbox.put(event)
        if self._watch is not None and self._batch is not None:
            self._watch.wake()

    def _feed(self, *, pull: bool) -> None:
        """Hand over chunks until the workers have enough; the lock is held."""
        line, source, planner = self._line, self.source, self.planner
        if line is None or self.ledger.failure is not None:
            return
        enough = self.workers + 1 + self.workers // 8
        while line.outstanding() < enough and not source.drained():
            count = min(
                planner.chunk(source.remaining()), self._room() - (source.position - self.ledger.handed)
            )
            if count < 1:
                return
            before = source.position
            if pull:  # what takes its time is sent as it comes
                source.look_ahead(count, QUICK)
                count = min(count, max(1, source.at_hand()))
            index, items = source.take(count, pull=pull)
            if not len(items):
                if source.position > before:  # the checkpoint had their results
                    continue
                return
            items = items[:]
            try:
                self._send(line, index, items)
            except Exception as error:  # one of them cannot travel
                if not pull or (self.ledger.policy is None and not self.lazy):
                    raise
                if len(items) == 1:
                    self.ledger.fail(index, items[0], error, HERE)
                    return
                for place, item in enumerate(items, index):  # it is not known which
                    source.give_back(place, [item])
            if pull and not self._inbox.empty():
                return  # results first: an input that takes its time must not hold them back

    def _send(self, line: Line, index: int, items: Sequence[Any]) -> None:
        """Hand over one chunk."""
        start = perf_counter()
        packed, size = line.pack(items)
        self.planner.packed(len(items), perf_counter() - start, size)
        self.ledger.sent(index, items)
        self._out += len(items)
        line.send(packed, len(items), index, self.timeout)

    def _wait(self) -> None:
        """Wait for something to come, when nothing else can be done."""
        if self.source.restores and self.ledger.ready():
            return  # feeding has met with results that the checkpoint has
        if self._line is not None:
            self._line.limit = self.workers
        patience = self._patience()
        if self._out:
            from queue import Empty

            try:
                self._absorb(self._inbox.get(timeout=patience))
            except Empty:
                pass
        elif patience:
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
            ledger.fail(index, item, TaskTimeoutError(words, limit=self.deadline), "not done")

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
            self.ledger.fail(event.index, self.ledger.item(event.index), crash(event), in_worker(event.pid))
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
        index, outcomes = event.first, event.outcomes
        values: list[Any] | None = outcomes.values() if hasattr(outcomes, "values") else None
        if values is None:
            self._open(index, outcomes, event.worker)
        elif values:
            self.ledger.keep(index, values)
        if event.busy and event.outcomes:
            with self._lock:
                self.planner.ran_there(len(event.outcomes), event.busy, event.travel / len(event.outcomes))
        if event.mutated and not self._warned:
            self._warned = True
            self._warn_mutated()
        self.ledger.forget(event.first, len(event.outcomes))
        if self.lazy and event.outcomes and hasattr(event.outcomes, "data"):
            self._result_size += (len(event.outcomes.data) / len(event.outcomes) - self._result_size) / 2

    def _open(self, index: int, outcomes: Any, worker: int) -> None:
        """Take in results that have to be unpickled, and failures."""
        line, ledger = self._line, self.ledger
        assert line is not None
        values: list[Any] = []
        append, decode = values.append, line.value
        for place, (kind, outcome) in enumerate(outcomes, index):
            try:
                if kind != FAILED:
                    append(decode(outcome) if kind == VALUE else unplain(outcome))
                    continue
                error = line.error(outcome)
            except KeyboardInterrupt:
                raise
            except BaseException as failure:  # what a result does when it is opened
                error = failure.with_traceback(None)
            if values:
                ledger.keep(place - len(values), values)
                values = []
                append = values.append
            ledger.fail(place, ledger.item(place), error, in_worker(worker))
            if ledger.failure is not None and ledger.failure[0] <= place:
                return  # nothing after it is wanted
        if values:
            ledger.keep(index + len(outcomes) - len(values), values)

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
        finally:  # a second Ctrl-C must not leave a file locked
            self.source.release()
        if self.planner.measured:
            self.job.memory.cost = self.planner.cost


def note_here(error: BaseException, index: int, job: Job, item: Any) -> BaseException:
    """Add to an exception that was raised here which task raised it."""
    from manyhands.scheduling.failures import note

    return note(error, index, job.name, item, job.shape, HERE)


def in_worker(pid: int) -> str:
    """Where a task ran, in words."""
    return f"in worker {pid}"


def outside() -> int:
    """The stack level of the first frame, seen from our caller, that is not this package's own."""
    import sys

    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "manyhands":
        frame, level = frame.f_back, level + 1
    return level
