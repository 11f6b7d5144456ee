"""The pool: keeps workers alive, gives each the next chunk when it is free, and knows what a dead one was doing.

::

     caller's thread                    loop thread (one for each pool)                 worker processes
    ┌────────────────┐  Stream.post   ┌──────────────────────────────────┐   RUN      ┌──────────────────┐
    │ call: pull,    │ ─────────────> │ streams, in turn: the next chunk │ ─────────> │ unpickle, run,   │
    │ plan, pickle   │                │ to a worker that is idle         │            │ pickle; journal  │
    │ order, raise   │ <───────────── │ RESULTS, DONE, deaths, deadlines │ <───────── │                  │
    └────────────────┘    deliver     └──────────────────────────────────┘  RESULTS   └──────────────────┘
                                           │  ▲                               DONE             ▲
                                     START │  │ STARTED, ENDED (with status)                   │ fork
                                           ▼  │                                                │
                                      ┌──────────────────────────────────┐                     │
                                      │ template process (or fork, Popen)│ ────────────────────┘
                                      └──────────────────────────────────┘

One pipe for each worker, one chunk in each worker; nothing is shared between workers, so none can die holding it. A chunk
is *ready* until it is sent, then *in flight* until its DONE comes. A worker with nothing to do is given a part of a chunk
that another has not begun (see ``transport.journal`` for why no task is then run twice). When a worker dies, the task it
had begun is the culprit and fails; results it had finished are taken from its journal; tasks it had not begun go to others.

``backends.processes`` and ``executor`` use it; it knows nothing of what is in a chunk.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections import deque
from time import monotonic

from manyhands.engine.loop import Loop, Timer
from manyhands.engine.moving import cut, worth_moving
from manyhands.engine.process import ForkStarter, PopenStarter, TemplateStarter, module_path
from manyhands.engine.worker import MUTATED, REFUSED
from manyhands.engine.workers import WorkerHandle
from manyhands.transport import channel as wire
from manyhands.transport.outcomes import Outcomes
from manyhands.transport.serialize import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.engine.process import Starter
    from manyhands.transport.channel import Message

#: So many workers in a row may end before they were ready, then the pool gives up.
FUTILE_STARTS = 5
#: So many workers may die while a chunk is on its way to them, then its first task is held to be the reason.
PATIENCE = 3
#: A worker whose channel has closed, but whose end is not reported, is killed after so many seconds.
REPORT_WITHIN = 2.0


class Definition:
    """A function with its constants, as bytes; sent once to each worker."""

    __slots__ = ("blob", "number")

    def __init__(self, number: int, blob: bytes) -> None:
        self.number = number
        self.blob = blob


class Chunk:
    """Tasks that travel together; parts of it can be re-sent as chunks of their own with the same body.

    Args:
        owner: the stream it belongs to.
        definition: what to call.
        body: the tasks as bytes.
        flags: how the body is to be read.
        first: the first task of the body to run.
        stop: the task of the body before which to stop.
        base: what the call calls task 0 of the body (its index in the input).
    """

    __slots__ = (
        "base",
        "body",
        "definition",
        "first",
        "flags",
        "lost",
        "number",
        "owner",
        "received",
        "sent_at",
        "stop",
    )

    def __init__(
        self,
        owner: Stream,
        definition: Definition,
        body: list[bytes],
        flags: int,
        first: int,
        stop: int,
        base: int,
    ) -> None:
        self.owner = owner
        self.definition = definition
        self.body = body
        self.flags = flags
        self.first = self.received = first
        self.stop = stop
        self.base = base
        self.number = 0
        self.lost = 0  # so many workers have died while they were being sent it
        self.sent_at = 0.0

    def part(self, first: int, stop: int) -> Chunk:
        """Return a part of the chunk as a chunk of its own."""
        return Chunk(self.owner, self.definition, self.body, self.flags, first, stop, self.base)


class Results:
    """Results of tasks ``first`` and following of the input, in order: (kind of outcome, bytes) each."""

    __slots__ = ("busy", "first", "mutated", "outcomes", "travel", "worker")

    def __init__(
        self,
        first: int,
        outcomes: Outcomes | Sequence[tuple[int, Any]],
        busy: float,
        travel: float,
        mutated: bool,
        worker: int,
    ) -> None:
        self.first = first
        self.outcomes = outcomes
        self.busy = busy
        self.travel = travel
        self.mutated = mutated
        self.worker = worker


class Crash:
    """The task with this index of the input ended its worker."""

    __slots__ = ("exitcode", "index", "pid")

    def __init__(self, index: int, pid: int, exitcode: int | None) -> None:
        self.index = index
        self.pid = pid
        self.exitcode = exitcode


class Broken:
    """The pool cannot go on; no task of the stream that has no result yet will get one."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Changed:
    """Workers have become ready, or free."""

    __slots__ = ()


if TYPE_CHECKING:
    Event = Results | Crash | Broken | Changed
    #: Takes the events of a stream, in the loop thread; must not wait.
    Deliver = Callable[[Event], object]


class Stream:
    """The chunks of one call on their way through the pool.

    Args:
        pool: the pool.
        deliver: called in the loop thread with what becomes of them.
        limit: how many workers it may occupy.
    """

    def __init__(self, pool: Pool, deliver: Deliver, limit: int) -> None:
        self.pool = pool
        self.deliver = deliver
        self.limit = limit
        self.ready: deque[Chunk] = deque()
        self.in_flight = 0
        self.closed = False

    def post(self, definition: Definition, body: list[bytes], flags: int, count: int, base: int) -> None:
        """Hand over a chunk; from any thread."""
        self.ready.append(Chunk(self, definition, body, flags, 0, count, base))
        self.pool.poke()

    def close(self, *, kill: bool = False) -> None:
        """Drop what is not in flight, stop what is after the running task; ``kill``: at once, with the worker."""
        self.closed = True
        self.ready.clear()
        self.pool.loop_soon(lambda: self.pool.forget(self, kill))


class Pool:
    """Workers, and the loop thread that feeds them. Starts with the first call of ``start``.

    Args:
        size: how many workers; ``grow`` makes it more.
        start_method: "template", "spawn" or "fork".
        initializer: the pickled pair of initializer and its arguments, or None.
        max_tasks: a worker is replaced after so many tasks; None: never.
    """

    def __init__(
        self,
        size: int,
        start_method: str | None = None,
        initializer: bytes | None = None,
        max_tasks: int | None = None,
    ) -> None:
        self.size = size
        self.start_method = _method(start_method)
        self.initializer = initializer
        self.max_tasks = max_tasks
        self.owner = os.getpid()
        self.broken: Exception | None = None
        self.ready_count = 0
        self.lock = threading.Lock()
        self._loop: Loop | None = None
        self._starter: Starter | None = None
        self._workers: dict[int, WorkerHandle] = {}  # by serial
        self._idle: deque[WorkerHandle] = deque()
        self._streams: deque[Stream] = deque()
        self._serials = itertools.count(1)
        self._chunks = itertools.count(1)
        self._futile = 0
        self._resting = False  # starting workers has failed too often; not again before there are new tasks
        self._moving: Timer | None = None
        self._closing = False
        self._gone = threading.Event()

    # any thread

    def start(self) -> None:
        """Start the loop thread and ask for the workers; does not wait for them."""
        with self.lock:
            if self._closing:
                raise RuntimeError("the pool has been shut down; make a new one")
            if self._loop is None:
                self._loop = loop = Loop()
                _live.add(self)
                if self.start_method == "fork":
                    # In this thread, not in the loop's: what locks it holds (of a module it imports, say), a worker that
                    # is forked from it holds as well, and is not kept waiting by.
                    self._fill()
                try:
                    loop.start()
                except BaseException:
                    self._loop = None
                    _live.discard(self)
                    loop.close()
                    raise
                loop.call_soon(self._fill)

    def check_owner(self) -> None:
        """Refuse to be used in a forked child.

        Raises:
            RuntimeError: this process is not the one that made the pool.
        """
        if self.owner != os.getpid():
            raise RuntimeError(
                f"this pool belongs to process {self.owner}, and this is process {os.getpid()}, forked from it; make a pool here"
            )

    @property
    def running(self) -> bool:
        """Whether the loop thread exists."""
        return self._loop is not None

    def in_loop(self) -> bool:
        """Tell whether the calling thread is the loop thread."""
        return self._loop is not None and self._loop.inside()

    def grow(self, size: int) -> None:
        """Have at least so many workers from now on."""
        if size > self.size:
            self.size = size
            self.loop_soon(self._fill)

    def open(self, deliver: Deliver, limit: int) -> Stream:
        """Begin a stream of chunks."""
        self.check_owner()
        self.start()
        self.grow(limit)
        stream = Stream(self, deliver, limit)

        def join() -> None:
            if self.broken is not None:
                stream.deliver(Broken(self.broken))
            else:
                self._streams.append(stream)
                self._resting = False
                self._fill()
                self._dispatch()  # workers may have become ready, and chunks too, before the stream was known here

        self.loop_soon(join)
        return stream

    def loop_soon(self, action: Callable[[], object]) -> None:
        if self._loop is not None:
            self._loop.call_soon(action)

    def poke(self) -> None:
        """Chunks have become ready: give them to idle workers, right here if the loop thread is not at it."""
        loop = self._loop
        if loop is None:
            return
        if self._idle and loop.guard.acquire(blocking=False):  # one thread less to wake up
            try:
                self._hand_out()
            finally:
                loop.guard.release()
        elif self._idle or len(self._workers) < self.size:
            loop.call_soon(self._dispatch)

    def close(self, *, kill: bool = True, timeout: float = 5.0) -> None:
        """End all workers and the loop thread, and wait for them.

        Args:
            kill: end busy workers at once; else each finishes its chunk.
            timeout: seconds until what has not ended is killed.
        """
        with self.lock:
            loop, first = self._loop, not self._closing
            self._closing = True
        _live.discard(self)
        if loop is None or self.owner != os.getpid():
            return
        if first:
            loop.call_soon(lambda: self._wind_up(kill))
            if not kill:
                loop.call_soon(lambda: loop.call_later(timeout, lambda: self._wind_up(True)))
        if not loop.inside():
            self._gone.wait()
            loop.thread.join()
            loop.close()
            with self.lock:
                self._loop = None

    # the loop thread: workers

    def _fill(self) -> None:
        """Start workers until there are enough."""
        if self._closing or self._resting or self.broken is not None:
            return
        if self._starter is None:
            try:
                self._starter = self._make_starter()
            except OSError as error:
                self._give_up(error)
                return
        abandoned = sum(worker.abandoned for worker in self._workers.values())
        for _ in range(len(self._workers) - abandoned, self.size):
            try:
                self._start_worker()
            except OSError as error:  # descriptors, memory: fewer workers will do, none will not
                if not self._workers:
                    self._give_up(error)
                return

    def _make_starter(self) -> Starter:
        assert self._loop is not None
        if self.start_method == "popen":
            return PopenStarter(self._loop, self)
        if self.start_method == "fork":
            return ForkStarter(self._loop, self)
        return TemplateStarter(self._loop, self, spawn=self.start_method == "spawn")

    def _start_worker(self) -> None:
        assert self._starter is not None
        worker = WorkerHandle(next(self._serials))
        theirs, journal = worker.open()
        self._workers[worker.serial] = worker
        try:
            self._starter.start(worker.serial, theirs, journal, worker.key)
        finally:
            theirs.close()
            os.close(journal)
        if worker.serial not in self._workers:  # it failed at once
            return
        assert self._loop is not None
        self._loop.watch(worker.channel.fileno(), lambda: self._readable(worker))
        self._tell_path(worker, wire.SETUP, (module_path(), getattr(sys, "argv", None), self.initializer))
        self._flush(worker)

    def started(self, serial: int, pid: int) -> None:
        """A worker's process exists (it is not ready yet)."""
        worker = self._workers.get(serial)
        if worker is not None:
            worker.pid = pid
            if self._closing:
                _kill(pid)

    def failed(self, serial: int, error: OSError) -> None:
        """A worker could not be started."""
        worker = self._workers.pop(serial, None)
        if worker is not None:
            self._loop_unwatch(worker)
            worker.close()
        if self._closing:
            self._check_gone()
        elif not self._workers:
            self._give_up(error)

    def ended(self, pid: int, exitcode: int | None) -> None:
        """A worker's process has ended: take what it has left, find the culprit, go on without it."""
        worker = next((each for each in self._workers.values() if each.pid == pid), None)
        if worker is None:
            return
        self._drain(worker)
        del self._workers[worker.serial]
        self._loop_unwatch(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        was_ready = worker.ready
        if was_ready:
            self.ready_count -= 1
            self._futile = 0
        chunk, worker.chunk = worker.chunk, None
        if chunk is not None:
            self._settle(worker, chunk, exitcode)
        worker.close()
        if self._closing:
            self._check_gone()
            return
        if not was_ready and not worker.retired:
            self._futile += 1
            if self._futile >= FUTILE_STARTS and self.ready_count:
                self._resting = True  # those that are there will do
            elif self._futile >= FUTILE_STARTS:
                error = _futile_error(exitcode, self.initializer is not None)
                if self.initializer is not None:
                    self.broken = error
                self._give_up(error)
                return
        if self._streams or not was_ready or worker.retired:
            self._fill()
        self._dispatch()

    def starter_lost(self) -> None:
        """The template is gone, and with it the reports of its workers' ends: have a new one, and new workers."""
        self._starter = None
        for worker in list(self._workers.values()):
            if worker.pid:
                _kill(worker.pid)
                self.ended(worker.pid, None)
            else:
                self._workers.pop(worker.serial)
                self._loop_unwatch(worker)
                worker.close()
        if self._closing:
            self._check_gone()
            return
        self._futile += 1
        if self._futile >= FUTILE_STARTS:
            self._give_up(_futile_error(None, False))
        else:
            self._fill()

    def _settle(self, worker: WorkerHandle, chunk: Chunk, exitcode: int | None) -> None:
        """Sort the tasks of a dead worker's chunk: finished, begun, not begun."""
        stream = chunk.owner
        stream.in_flight -= 1
        begun, done, finished = worker.accounts(chunk)
        if finished:
            stream.deliver(Results(chunk.base + chunk.received, finished, 0.0, 0.0, False, worker.pid))
        rest = done
        lost = chunk.lost + 1 if begun == chunk.first else 0  # it died before it had read the chunk
        if begun > done or lost == PATIENCE:
            stream.deliver(Crash(chunk.base + done, worker.pid, exitcode))
            rest, lost = max(begun, done + 1), 0
        if rest < chunk.stop and not stream.closed:
            part = chunk.part(rest, chunk.stop)
            part.lost = lost
            stream.ready.appendleft(part)
        stream.deliver(Changed())

    def _give_up(self, error: Exception) -> None:
        """No worker can be had: tell everybody, and rest until somebody comes with new tasks."""
        self._resting, self._futile = True, 0
        self._idle.clear()
        for worker in list(self._workers.values()):
            worker.retired = True
            chunk, worker.chunk = worker.chunk, None
            if chunk is not None:  # its outcome is the error
                chunk.owner.in_flight -= 1
            if worker.pid:
                _kill(worker.pid)
        self._break(error)

    def _break(self, error: Exception) -> None:
        """Give everybody who waits the error."""
        for stream in list(self._streams):
            stream.ready.clear()
            stream.deliver(Broken(error))

    # the loop thread: messages

    def _readable(self, worker: WorkerHandle) -> None:
        if self._drain(worker):
            return
        # The channel is closed. The report of the worker's end says how it ended; it is on its way, or never comes.
        self._loop_unwatch(worker)
        if worker.pid and hasattr(self._starter, "poll"):
            self._starter.poll(worker.pid)  # type: ignore[union-attr]
        assert self._loop is not None

        def insist() -> None:
            if worker.serial in self._workers and worker.pid:
                _kill(worker.pid)
                self.ended(worker.pid, None)

        self._loop.call_later(REPORT_WITHIN, insist)

    def _drain(self, worker: WorkerHandle) -> bool:
        """Take the messages that a worker has sent; False when there will be no more."""
        try:
            for message in worker.channel.pump():
                self._take(worker, message)
        except EOFError:
            return False
        except (wire.BrokenChannel, OSError, ValueError):
            if worker.pid:
                _kill(worker.pid)
            return False
        return True

    def _take(self, worker: WorkerHandle, message: Message) -> None:
        if message.kind == wire.READY:
            if message.flags & REFUSED:
                self._refused(worker, message)
                return
            if worker.retired:  # given up before it was ready
                return
            worker.pid = worker.pid or message.number
            worker.ready = True
            self.ready_count += 1
            self._futile = 0
            self._idle.append(worker)
            for stream in self._streams:
                stream.deliver(Changed())
            self._dispatch()
            return
        chunk = worker.chunk
        if chunk is None or message.number != chunk.number:
            raise wire.BrokenChannel("results of a chunk that is not there")
        stream = chunk.owner
        event: Event = Changed()
        if message.count and not stream.closed:
            mutated = bool(message.flags & MUTATED)
            size = 8 * message.count
            outcomes = Outcomes(memoryview(bytes(message.body[:size])).cast("Q").tolist(), message.body[size:])
            event = Results(
                chunk.base + message.first, outcomes, message.busy, message.overhead, mutated, worker.pid
            )
        chunk.received = message.first + message.count
        worker.tasks += message.count
        if message.kind == wire.DONE:
            worker.chunk = None
            stream.in_flight -= 1
            if chunk.received < chunk.stop and not stream.closed:
                stream.ready.appendleft(chunk.part(chunk.received, chunk.stop))
            self._free(worker)  # first the worker, which waits for its next chunk, then the caller
        stream.deliver(event)

    def _refused(self, worker: WorkerHandle, message: Message) -> None:
        from manyhands.exceptions import InitializerError
        from manyhands.transport.errors import unpack

        cause = unpack(bytes(message.body))
        error = InitializerError(
            f"the initializer failed in a worker: {type(cause).__name__}: {cause}; no worker can start without it"
        )
        error.__cause__ = cause
        self.broken = error
        self._give_up(error)

    def _free(self, worker: WorkerHandle) -> None:
        """A worker has finished its chunk."""
        surplus = worker.abandoned and len(self._workers) > self.size
        if surplus or self._closing or (self.max_tasks is not None and worker.tasks >= self.max_tasks):
            self._retire(worker)
        else:
            worker.abandoned = False
            self._idle.append(worker)
        self._dispatch()

    def _retire(self, worker: WorkerHandle) -> None:
        """Let a worker go; its replacement comes when it has gone."""
        worker.retired = True
        worker.channel.push(wire.STOP, [])
        self._flush(worker)

    # the loop thread: chunks

    def _dispatch(self) -> None:
        """Give ready chunks to idle workers, and see to it that there are enough of both."""
        self._hand_out()
        if self._idle:
            self._look_for_work()
        elif len(self._workers) < self.size and any(stream.ready for stream in self._streams):
            if self.broken is not None:
                self._break(self.broken)
                return
            if not self._workers:
                self._resting = False
            self._fill()

    def _hand_out(self) -> None:
        """Give ready chunks to idle workers, the streams in turn."""
        while self._idle:
            chunk = self._next()
            if chunk is None:
                break
            self._send(self._idle.popleft(), chunk)

    def _next(self) -> Chunk | None:
        for _ in range(len(self._streams)):
            stream = self._streams[0]
            self._streams.rotate(-1)
            if stream.ready and stream.in_flight < stream.limit:
                try:
                    return stream.ready.popleft()
                except IndexError:  # closed by its caller this moment
                    continue
        return None

    def _send(self, worker: WorkerHandle, chunk: Chunk) -> None:
        chunk.owner.in_flight += 1
        if self.max_tasks is not None and chunk.stop - chunk.first > self.max_tasks - worker.tasks:
            cut = chunk.first + self.max_tasks - worker.tasks
            chunk.owner.ready.appendleft(chunk.part(cut, chunk.stop))
            chunk.stop = cut
        if worker.path != sys.path:  # it has grown since the worker was told
            self._tell_path(worker, wire.PATH, module_path())
        worker.know(chunk.definition)
        chunk.number = next(self._chunks) & 0xFFFFFFFF or next(self._chunks)
        chunk.sent_at = monotonic()
        worker.run(chunk)
        self._flush(worker)

    def _tell_path(self, worker: WorkerHandle, kind: int, content: object) -> None:
        worker.path = list(sys.path)
        worker.channel.push(kind, [dumps(content)])

    def _flush(self, worker: WorkerHandle) -> None:
        """Send what goes now; have the selector say when the rest can go."""
        assert self._loop is not None
        try:
            everything = worker.channel.flush()
        except OSError:
            return  # it is dead: its end is reported, or its channel says so
        if everything:
            if worker.writing:
                worker.writing = False
                self._loop.watch(worker.channel.fileno(), lambda: self._readable(worker))
        elif not worker.writing:
            worker.writing = True
            self._loop.call_soon(lambda: self._watch_writing(worker))

    def _watch_writing(self, worker: WorkerHandle) -> None:
        if worker.writing and worker.channel.fileno() >= 0:
            assert self._loop is not None
            self._loop.watch(
                worker.channel.fileno(), lambda: self._readable(worker), lambda: self._flush(worker)
            )

    def _look_for_work(self) -> None:
        """Workers are idle and nothing is ready: take a part of the chunk that has most left to do."""
        if self._moving is not None:
            return
        now, later = monotonic(), []
        best: tuple[float, WorkerHandle] | None = None
        for worker in self._workers.values():
            chunk = worker.chunk
            if chunk is None or chunk.owner.closed or chunk.owner.in_flight >= chunk.owner.limit:
                continue
            begun, elapsed = worker.begun(chunk), now - chunk.sent_at
            if chunk.stop - begun < 1 or chunk.stop - chunk.first < 2:
                continue
            if worth_moving(begun - chunk.first, chunk.stop - chunk.first, elapsed):
                left = (chunk.stop - begun) * elapsed / max(1, begun - chunk.first)
                if best is None or left > best[0]:
                    best = (left, worker)
            else:
                later.append(elapsed)
        assert self._loop is not None
        if best is not None:
            self._move(best[1])
        elif later:  # too early to tell: look again when about twice the time has passed
            self._moving = self._loop.call_later(max(0.001, min(later)), self._look_again)

    def _look_again(self) -> None:
        self._moving = None
        self._dispatch()

    def _move(self, worker: WorkerHandle) -> None:
        """Take the second part of what a worker has not begun."""
        chunk = worker.chunk
        assert chunk is not None
        assert self._loop is not None
        place = cut(worker.begun(chunk), chunk.stop, len(self._idle))
        worker.limit(place)

        def check() -> None:
            # A millisecond later every store of the worker has been seen; see transport.journal.
            self._moving = None
            if worker.chunk is chunk and worker.begun(chunk) <= place < chunk.stop:
                rest, chunk.stop = chunk.part(place, chunk.stop), place
                if not chunk.owner.closed:
                    share = max(1, -(-(rest.stop - rest.first) // max(1, len(self._idle))))
                    for first in range(rest.first, rest.stop, share):
                        chunk.owner.ready.append(rest.part(first, min(first + share, rest.stop)))
            self._dispatch()

        self._moving = self._loop.call_later(0.001, check)

    def forget(self, stream: Stream, kill: bool) -> None:
        """A stream is closed: nothing of it begins any more, and what runs does not count as the pool's work."""
        if stream in self._streams:
            self._streams.remove(stream)
        for worker in self._workers.values():
            if worker.chunk is not None and worker.chunk.owner is stream:
                worker.limit(0)
                worker.abandoned = True
                if kill and worker.pid:
                    _kill(worker.pid)

    # the end

    def _wind_up(self, kill: bool) -> None:
        for stream in self._streams:
            if stream.ready and kill:
                stream.ready.clear()
        for worker in list(self._workers.values()):
            if worker.chunk is None and worker.ready and not worker.retired:
                self._retire(worker)
            elif (kill or not worker.ready) and worker.pid:
                _kill(worker.pid)
        self._idle.clear()
        assert self._loop is not None
        if kill:
            self._loop.call_later(1.0, self._kill_all)
        self._check_gone()

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            if worker.pid:
                _kill(worker.pid)
        if self._workers:
            assert self._loop is not None
            self._loop.call_later(1.0, self._kill_all)

    def _check_gone(self) -> None:
        if self._workers or self._gone.is_set():
            return
        if self._starter is not None:
            self._starter.close()
            self._starter = None
        assert self._loop is not None
        self._loop.stop()
        self._gone.set()

    def _loop_unwatch(self, worker: WorkerHandle) -> None:
        assert self._loop is not None
        if worker.channel.fileno() >= 0:
            self._loop.unwatch(worker.channel.fileno())

    def abandon(self) -> None:
        """In a forked child: let go of descriptors that mean the parent's workers, without a word to them."""
        for worker in self._workers.values():
            worker.close()
        self._workers = {}
        if self._starter is not None:
            self._starter.disown()
        if self._loop is not None:
            self._loop.close()
        self._loop = self._starter = None


_live: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_live):
        pool.abandon()
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _method(name: str | None) -> str:
    if not hasattr(os, "fork"):
        return "popen"
    return {None: "template", "forkserver": "template"}.get(name, name or "template")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except (ProcessLookupError, PermissionError):
        pass


def _futile_error(exitcode: int | None, initializer: bool) -> Exception:
    from manyhands.exceptions import InitializerError, WorkerCrashedError

    text = (
        f"{FUTILE_STARTS} workers in a row ended before they were ready (the last with exit code {exitcode})"
    )
    if initializer:
        return InitializerError(f"{text}: the initializer ends the process")
    return WorkerCrashedError(f"{text}; what they wrote to standard error may say why", exitcode=exitcode)
