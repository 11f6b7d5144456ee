"""The workers of a pool: started, greeted, watched, replaced when they die, and let go at the end.

``pool`` builds on it and gives them work; what it has to know of that is in a few methods that ``Pool`` fills in
(``_take``, ``_settle``, ``_dispatch``, ``_joined``, ``_wanted``, ``_break``). Everything here runs in the loop thread but
for the methods under "any thread".
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref

from manyhands.engine.authkey import authkey
from manyhands.engine.host import places, surroundings
from manyhands.engine.interrupts import HeldBack, interrupted, ring, sleep
from manyhands.engine.lending import Lending
from manyhands.engine.loop import Loop
from manyhands.engine.process import ForkStarter, PopenStarter, TemplateStarter, end_process, module_path
from manyhands.engine.worker import REFUSED, REPLACED
from manyhands.engine.workers import WorkerHandle
from manyhands.transport import channel as wire
from manyhands.transport.journal import release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.engine.process import Starter
    from manyhands.engine.streams import Chunk
    from manyhands.transport.channel import Message

#: So many workers in a row may end before they were ready, then the pool gives up.
FUTILE_STARTS = 5
#: A worker that was told to leave and is still there is killed after so many seconds.
LEAVE_WITHIN = 5.0
#: After Ctrl-C the end of the program waits so many seconds for the loop thread, which may be stuck in somebody's code.
HURRY = 1.0
#: A worker whose channel has closed, but whose end is not reported, is killed after so many seconds.
REPORT_WITHIN = 2.0


class Staff(Lending):
    """Worker processes, and the loop thread that looks after them. Starts with the first call of ``start``.

    Args:
        size: how many workers; ``grow`` makes it more.
        start_method: "template", "spawn" or "fork".
        initializer: the pickled pair of initializer and its arguments, or None.
        max_tasks: a worker is replaced after so many tasks; None: never.
        memory_limit: bytes that a worker may allocate, or None.
        arena_limit: bytes of shared memory for large things on their way to workers, and as much for what comes back; None: a
            part of the machine's; 0: none.
    """

    def __init__(
        self,
        size: int,
        start_method: str | None = None,
        initializer: bytes | None = None,
        max_tasks: int | None = None,
        memory_limit: int | None = None,
        arena_limit: int | None = None,
    ) -> None:
        super().__init__(arena_limit)
        self.size = size
        self.memory_limit = memory_limit
        self.start_method = _method(start_method)
        self.initializer = initializer
        self.max_tasks = max_tasks
        self.owner = os.getpid()
        self.broken: Exception | None = None
        self.by_value = (
            False  # functions come as code that only cloudpickle can read; counts before the start
        )
        self.ready_count = 0
        self.lock = threading.Lock()
        self._starter: Starter | None = None
        self.reserved = 0  # so many workers more, for streams that need one each
        self._serials = itertools.count(1)
        self._futile = 0
        self._resting = False  # starting workers has failed too often; not again before there are new tasks
        self._starved: int | None = None  # processes killed for want of memory, before ours
        self._closing = False
        self._gone = False
        self._bells: list[Any] = []  # of those who wait for that
        self._home = places()  # what standard output and error are to the workers

    # what the pool does with them

    def _settle(self, worker: WorkerHandle, chunk: Chunk, exitcode: int | None) -> None:
        """A worker has died with a chunk."""
        raise NotImplementedError

    def _dispatch(self) -> None:
        """Workers are free."""
        raise NotImplementedError

    def _joined(self) -> None:
        """A worker has become ready."""
        raise NotImplementedError

    def _wanted(self) -> bool:
        """Tell whether anybody has work for them."""
        raise NotImplementedError

    def _break(self, error: Exception) -> None:
        """There are no workers to be had."""
        raise NotImplementedError

    # any thread

    def start(self) -> None:
        """Start the loop thread and ask for the workers; does not wait for them."""
        with HeldBack(), self.lock:
            if self._closing:
                raise RuntimeError("the pool has been shut down; make a new one")
            if self._loop is None:
                if getattr(sys, "frozen", False) and self.start_method != "fork":
                    raise RuntimeError(
                        "a frozen program cannot start an interpreter for its workers: "
                        'use start_method="fork", backend="threads" or backend="serial"'
                    )
                self._begin()

    def _begin(self) -> None:
        """Start everything, the processes first: what else the caller loads, it loads while they start."""
        self._loop = loop = Loop()
        _live.add(self)
        self._open_arena()
        # In this thread, not in the loop's: with "fork", what locks it holds (of a module it imports, say), a worker that
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
        loop.call_soon(self._count_starved)

    def _count_starved(self) -> None:
        from manyhands.engine.memory import starved

        self._starved = starved()

    def check_owner(self) -> None:
        """Refuse to be used in a forked child.

        Raises:
            RuntimeError: this process is not the one that made the pool.
        """
        if self.owner != os.getpid():
            raise RuntimeError(
                f"this pool belongs to process {self.owner}, and this is process {os.getpid()}, forked from it; make a pool here"
            )

    def check_wait(self) -> None:
        """Refuse to wait for a task where that would be for ever.

        Raises:
            RuntimeError: this is the loop thread, or a process that was forked from the one whose tasks these are.
        """
        if self.owner != os.getpid():
            raise RuntimeError(
                f"this task runs for process {self.owner}, and this is process {os.getpid()}, forked from it, where nothing of "
                "it arrives; begin it again here, or wait for it there"
            )
        if self.in_loop():
            raise RuntimeError(
                "waiting for a task in a callback of its pool would wait for ever: callbacks run in the thread that receives "
                "the results; give the other future a callback, too, or wait in a thread of your own"
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

    def later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the loop thread call ``action`` after so many seconds, unless the pool has ended by then."""
        loop = self._loop
        if loop is not None:
            loop.call_soon(lambda: loop.call_later(delay, action))

    def loop_soon(self, action: Callable[[], object]) -> None:
        if self._loop is not None:
            self._loop.call_soon(action)

    def terminate(self) -> None:
        """Send SIGTERM to every worker."""

        def tell() -> None:
            for worker in self._workers.values():
                if worker.pid:
                    end_process(worker.pid, signal=15)

        self.loop_soon(tell)

    def close(self, *, kill: bool = True, timeout: float = 5.0) -> None:
        """End all workers and the loop thread, and wait for them.

        Args:
            kill: end busy workers at once; else each finishes its chunk.
            timeout: seconds until what has not ended is killed.
        """
        with HeldBack(), self.lock:
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
            # After Ctrl-C nobody wants to wait for somebody else's code that the loop thread may be stuck in.
            if not sleep(self._bells, lambda: self._gone, HURRY if interrupted() else None):
                for worker in list(self._workers.values()):
                    if worker.pid:
                        end_process(worker.pid)
                return
            loop.thread.join()
            loop.close()
            with HeldBack(), self.lock:
                self._loop = None

    # starting

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
        for _ in range(len(self._workers) - abandoned, self.size + self.reserved):
            try:
                self._start_worker()
            except OSError as error:  # descriptors, memory: fewer workers will do, none will not
                if not self._workers:
                    self._give_up(error)
                return

    def _make_starter(self) -> Starter:
        assert self._loop is not None
        self._home = places()
        if self.start_method == "popen":
            return PopenStarter(self._loop, self)
        if self.start_method == "fork":
            return ForkStarter(self._loop, self)
        return TemplateStarter(
            self._loop,
            self,
            spawn=self.start_method == "spawn",
            preload="cloudpickle" if self.by_value else "",
        )

    def _start_worker(self) -> None:
        assert self._starter is not None
        taken = {worker.lane for worker in self._workers.values()}
        worker = WorkerHandle(next(self._serials), min(set(range(len(taken) + 1)) - taken))
        arena = self._arena
        theirs, journal = worker.open(arena=arena is not None)
        self._workers[worker.serial] = worker
        try:
            file = -1 if arena is None else arena.file
            self._starter.start(worker.serial, theirs, journal, worker.key, file)
        finally:
            theirs.close()
            release(journal)
        if worker.serial not in self._workers:  # it failed at once
            return
        assert self._loop is not None
        self._loop.watch(worker.channel.fileno(), lambda: self._readable(worker))
        worker.authkey = authkey()
        key = None if worker.authkey is None else bytes(worker.authkey)
        arenas = None
        if arena is not None:
            assert self.arena_limit is not None
            arenas = arena.token, worker.token, self.arena_limit // max(1, self.size)
        # That of who was here before; else anybody's, rather than none.
        heritage = self.heritage.get(worker.lane) or next(iter(self.heritage.values()), b"")
        worker.heir = bool(heritage)
        argv = getattr(sys, "argv", None)
        about = (module_path(), key, argv, self.initializer, self.memory_limit, arenas, heritage)
        self._tell_host(worker)
        self._tell_path(worker, wire.SETUP, about)
        self._flush(worker)

    def _tell_host(self, worker: WorkerHandle) -> None:
        """Tell a worker what has changed where its tasks come from."""
        told = surroundings.now(self._home)
        if worker.told is not told:
            worker.told = told
            worker.channel.push(wire.HOST, [told])

    def started(self, serial: int, pid: int) -> None:
        """A worker's process exists (it is not ready yet)."""
        worker = self._workers.get(serial)
        if worker is not None:
            worker.pid = pid
            if self._closing:
                end_process(pid)

    def failed(self, serial: int, error: OSError) -> None:
        """A worker could not be started."""
        worker = self._workers.pop(serial, None)
        if worker is not None:
            self._unwatch(worker)
            worker.close()
        if self._closing:
            self._check_gone()
        elif not self._workers:
            self._give_up(error)

    def _greet(self, worker: WorkerHandle, message: Message) -> None:
        """A worker says that it is ready, or that its initializer has failed."""
        if message.flags & REFUSED:
            self._refused(message)
            return
        if worker.retired:  # given up before it was ready
            return
        worker.pid = worker.pid or message.number
        worker.ready = True
        self.ready_count += 1
        self._futile = 0
        self._idle.append(worker)
        self._joined()

    def _refused(self, message: Message) -> None:
        from manyhands.exceptions import InitializerError
        from manyhands.transport.errors import unpack

        cause = unpack(bytes(message.body))
        error = InitializerError(
            f"the initializer failed in a worker: {type(cause).__name__}: {cause}; no worker can start without it"
        )
        error.__cause__ = cause
        self.broken = error
        self._give_up(error)

    # ending

    def ended(self, pid: int, exitcode: int | None, peak: int = 0) -> None:
        """A worker's process has ended: take what it has left, find the culprit, go on without it."""
        worker = next((each for each in self._workers.values() if each.pid == pid), None)
        if worker is None:
            return
        worker.peak = peak
        retired, worker.retired = worker.retired, True  # it is given nothing any more
        self._drain(worker)
        self.counts.end(worker.serial)
        del self._workers[worker.serial]
        self._give_lane(worker.lane)
        self._unwatch(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        was_ready = worker.ready
        if was_ready:
            self.ready_count -= 1
            self._futile = 0
        for what, text in enumerate(worker.unprinted()):
            if text:
                self._hear(worker, what, text)
        chunk, worker.chunk = worker.chunk, None
        if chunk is not None:
            self._settle(worker, chunk, exitcode)
        worker.close()
        if self._closing:
            self._check_gone()
            return
        if not was_ready and not retired:
            self._futile += 1
            if self._futile >= FUTILE_STARTS and self.ready_count:
                self._resting = True  # those that are there will do
            elif self._futile >= FUTILE_STARTS:
                error = _futile_error(exitcode, self.initializer is not None)
                if self.initializer is not None:
                    self.broken = error
                self._give_up(error)
                return
        if self._wanted() or not was_ready or retired:
            self._fill()
        self._dispatch()

    def _give_lane(self, lane: int) -> None:
        """A lane has lost its worker: one that is beyond the number of workers has it, else who comes next."""
        last = max(self._workers.values(), key=lambda worker: worker.lane, default=None)
        if last is not None and last.lane >= max(lane + 1, self.size + self.reserved):
            last.lane = lane

    def starter_lost(self) -> None:
        """The template is gone, and with it the reports of its workers' ends: have a new one, and new workers."""
        self._starter = None
        for worker in list(self._workers.values()):
            if worker.pid:
                end_process(worker.pid)
                self.ended(worker.pid, None)
            else:
                self._workers.pop(worker.serial)
                self._unwatch(worker)
                worker.close()
        if self._closing:
            self._check_gone()
            return
        self._futile += 1
        if self._futile >= FUTILE_STARTS:
            self._give_up(_futile_error(None, False))
        else:
            self._fill()

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
                end_process(worker.pid)
        self._break(error)

    def _silent(self, worker: WorkerHandle) -> None:
        """A worker's channel is closed: the report of its end says how it ended. It is on its way, or never comes."""
        if worker.pid and hasattr(self._starter, "poll"):
            self._starter.poll(worker.pid)  # type: ignore[union-attr]
        assert self._loop is not None

        def insist() -> None:
            if worker.serial in self._workers and worker.pid:
                end_process(worker.pid)
                self.ended(worker.pid, None)

        self._loop.call_later(REPORT_WITHIN, insist)

    def _retire(self, worker: WorkerHandle) -> None:
        """Let a worker go; its replacement comes when it has gone."""
        worker.retired = True
        worker.channel.push(wire.STOP, [], flags=0 if self._closing else REPLACED)
        self._flush(worker)
        assert self._loop is not None

        def insist() -> None:
            """What a task has left to be done at the end of its process (``atexit``) may never end."""
            if worker.serial in self._workers and worker.pid:
                end_process(worker.pid)

        self._loop.call_later(LEAVE_WITHIN, insist)

    # the end

    def _wind_up(self, kill: bool) -> None:
        for worker in list(self._workers.values()):
            if not worker.pid and not worker.ready:  # not even begun
                self.failed(worker.serial, OSError())
            elif worker.chunk is None and worker.ready and not worker.retired:
                self._retire(worker)
            elif (kill or not worker.ready) and worker.pid:
                end_process(worker.pid)
        self._idle.clear()
        assert self._loop is not None
        if kill:
            self._break(RuntimeError("the pool was shut down while this was under way"))
            self._loop.call_later(1.0, self._kill_all)
        self._check_gone()

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            if worker.pid:
                end_process(worker.pid)
        if self._workers:
            assert self._loop is not None
            self._loop.call_later(1.0, self._kill_all)

    def _check_gone(self) -> None:
        if self._workers or self._gone:
            return
        if self._starter is not None:
            self._starter.close()
            self._starter = None
        self._close_arena()
        assert self._loop is not None
        self._loop.stop()
        self._gone = True
        ring(self._bells)

    def abandon(self) -> None:
        """In a forked child: let go of descriptors that mean the parent's workers, without a word to them."""
        for worker in self._workers.values():
            worker.reader = None  # a thread of the parent's
            worker.close()
        self._workers = {}
        self._close_arena()
        if self._starter is not None:
            self._starter.disown()
        if self._loop is not None:
            self._loop.close()
        self._loop = self._starter = None


_live: weakref.WeakSet[Staff] = weakref.WeakSet()


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


def _futile_error(exitcode: int | None, initializer: bool) -> Exception:
    from manyhands.exceptions import InitializerError, WorkerCrashedError
    from manyhands.transport.errors import ending

    text = f"{FUTILE_STARTS} workers in a row ended before they were ready (the last {ending(exitcode).rstrip(',')})"
    if initializer:
        return InitializerError(f"{text}: the initializer ends the process")
    return WorkerCrashedError(f"{text}; what they wrote to standard error may say why", exitcode=exitcode)
