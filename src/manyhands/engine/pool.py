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

A caller's thread may do a part of the loop thread's work, holding its ``guard``: hand out what it has posted (``poke``), and
read the answer to a single task that it waits for (``attend``, see ``attending``).

``backends.processes`` and ``executor`` use it; it knows nothing of what is in a chunk.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections import deque
from time import monotonic

from manyhands.engine.authkey import authkey
from manyhands.engine.host import show, surroundings
from manyhands.engine.interrupts import HeldBack
from manyhands.engine.lanes import ANY, Lanes, match
from manyhands.engine.memory import starved
from manyhands.engine.process import end_process, module_path
from manyhands.engine.shares import Shares
from manyhands.engine.streams import Broken, Changed, Chunk, Crash, Results, Said, Stream, Talk
from manyhands.engine.worker import MUTATED
from manyhands.transport import channel as wire
from manyhands.transport.arena import Frame
from manyhands.transport.outcomes import Outcomes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyhands.engine.streams import Deliver, Event
    from manyhands.engine.workers import WorkerHandle
    from manyhands.transport.channel import Message

#: So many workers may die while a chunk is on its way to them, then its first task is held to be the reason.
PATIENCE = 3
#: A task whose call was abandoned may run on for so many seconds; the loop would not have begun it at all.
GRACE = 1.0


class Pool(Shares):
    """Workers, and the chunks that they run. Starts with the first call of ``open``.

    Args:
        size: how many workers; ``grow`` makes it more.
        start_method: "template", "spawn" or "fork".
        initializer: the pickled pair of initializer and its arguments, or None.
        max_tasks: a worker is replaced after so many tasks; None: never.
        memory_limit: bytes that a worker may allocate, or None.
        arena_limit: bytes of shared memory for large things, each way; None: a part of the machine's; 0: none.
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
        super().__init__(size, start_method, initializer, max_tasks, memory_limit, arena_limit)
        self.lanes = Lanes()
        self._streams: deque[Stream] = deque()
        self._chunks = itertools.count(1)
        self._handing: WorkerHandle | None = None  # the worker that is being sent a chunk

    # any thread

    def open(self, deliver: Deliver, limit: int, *, reserved: bool = False) -> Stream:
        """Begin a stream of chunks.

        Args:
            deliver: takes what becomes of them.
            limit: how many workers it may occupy.
            reserved: these workers are there beside the pool's others, for as long as the stream is open.
        """
        self.check_owner()
        self.start()
        if not reserved:
            self.grow(limit)
        surroundings.look_closely()
        stream = Stream(self, deliver, limit, reserved=reserved)

        def join() -> None:
            self._streams.append(stream)
            if reserved:
                self.reserved += limit
            if self.broken is not None:  # and so will be what is posted from now on
                self._tell(stream, Broken(self.broken))
            else:
                self._tell(stream, Changed())  # of workers that were ready before, it has not heard
                self._resting = False
                self._fill()
                self._dispatch()  # workers may have become ready, and chunks too, before the stream was known here

        self.loop_soon(join)
        return stream

    def tell(
        self, chunk: Chunk, port: int, kind: int, count: int = 0, parts: Sequence[bytes | memoryview] = ()
    ) -> bool:
        """Say something to the one task of a chunk, while it runs; False when it does not.

        Args:
            chunk: of one task, posted with the flag TALKS.
            port: which of its conversations this belongs to.
            kind: what sort of thing it is, as the two ends have agreed.
            count: a number, as they have agreed.
            parts: bytes.
        """
        loop, worker = self._loop, chunk.worker
        if loop is None or worker is None:
            return False
        with HeldBack(), loop.guard:
            if worker.chunk is not chunk or worker.gone:
                return False
            worker.channel.push(wire.TELL, parts, flags=kind, number=chunk.number, first=port, count=count)
            self._flush(worker)
        return True

    def poke(self) -> None:
        """Chunks have become ready: give them to idle workers, right here if the loop thread is not at it."""
        loop = self._loop
        if loop is None:
            return
        if self._idle:
            with HeldBack():
                if loop.guard.acquire(blocking=False):  # one thread less to wake up
                    try:
                        self._hand_out()
                    except BaseException:  # of another signal's handler: it can come between any two steps
                        self._mend()
                        raise
                    finally:
                        loop.guard.release()
                    return
        if self._idle or len(self._workers) < self.size + self.reserved:
            loop.call_soon(self._dispatch)

    # the loop thread: what becomes of chunks

    def _take(self, worker: WorkerHandle, message: Message) -> None:
        chunk = worker.chunk
        if chunk is None or message.number != chunk.number:
            raise wire.BrokenChannel("results of a chunk that is not there")
        stream = chunk.owner
        if message.kind == wire.TALK:
            self._tell(
                stream, Talk(chunk, chunk.base, message.first, message.flags, message.count, message.body)
            )
            return
        event: Event = Changed()
        if message.count and not stream.closed:
            mutated = bool(message.flags & MUTATED)
            size = 8 * message.count
            outcomes = Outcomes(
                memoryview(bytes(message.body[:size])).cast("Q").tolist(), message.body[size:]
            )
            if worker.expired is not None and message.first + message.count > worker.expired:
                outcomes = outcomes.until(worker.expired - message.first)
            event = Results(
                chunk.base + message.first, outcomes, message.busy, message.overhead, mutated, worker.pid
            )
        chunk.received = message.first + message.count
        worker.tasks += message.count
        if message.kind == wire.DONE:
            worker.chunk = None
            if chunk.received >= chunk.stop:
                chunk.body = []  # a future may keep the chunk, and with it what was sent
            stream.in_flight -= 1
            if chunk.received < chunk.stop and not stream.closed:
                stream.ready.appendleft(chunk.part(chunk.received, chunk.stop))
            self._free(worker, chunk)  # first the worker, which waits for its next chunk, then the caller
        self._tell(stream, event)
        if worker.expired is not None and message.first <= worker.expired < chunk.received:
            self._tell(stream, self._crash(worker, chunk, worker.expired, None))

    def _hear(self, worker: WorkerHandle, what: int, body: bytes) -> None:
        """A worker has something to be shown: to whoever waits for its task, or else here, but not under the guard."""
        said, chunk = Said(what, body), worker.chunk
        if chunk is not None and not chunk.owner.closed:
            self._tell(chunk.owner, said)
        else:
            assert self._loop is not None
            self._loop.afterwards.append((show, said))

    def _tell(self, stream: Stream, event: Event) -> None:
        """Deliver an event, but not under the guard: who takes it may run other people's code."""
        assert self._loop is not None
        self._loop.afterwards.append((stream.take, event))

    def _thin_out(self) -> None:
        """Let idle workers go that nobody has reserved any more."""
        while self._idle and len(self._workers) > self.size + self.reserved:
            self._retire(self._idle.pop())

    def _free(self, worker: WorkerHandle, chunk: Chunk) -> None:
        """A worker has finished its chunk."""
        if worker.retired:  # it is being ended
            return
        surplus = len(self._workers) > self.size + self.reserved and (
            worker.abandoned or chunk.owner.reserved
        )
        if surplus or self._closing or (self.max_tasks is not None and worker.tasks >= self.max_tasks):
            self._retire(worker)
        else:
            worker.abandoned = False
            self._idle.appendleft(worker)  # the next task is for who is still warm, and may still be awake
        self._dispatch()

    def _settle(self, worker: WorkerHandle, chunk: Chunk, exitcode: int | None) -> None:
        """Sort the tasks of a dead worker's chunk: finished, begun, not begun."""
        stream = chunk.owner
        stream.in_flight -= 1
        begun, done, finished = worker.accounts(chunk)
        if worker.expired is not None and chunk.received <= worker.expired < done:
            done, finished = worker.expired, finished.until(worker.expired - chunk.received)
        if finished:
            self._tell(stream, Results(chunk.base + chunk.received, finished, 0.0, 0.0, False, worker.pid))
        rest = done
        lost = chunk.lost + 1 if begun == chunk.first else 0  # it died before it had read the chunk
        if lost and worker.heir and not worker.tasks:  # perhaps while it was filling its caches
            self.heritage.clear()
        if begun > done or lost == PATIENCE:
            self._tell(stream, self._crash(worker, chunk, done, exitcode))
            rest, lost = max(begun, done + 1), 0
        if rest < chunk.stop and not stream.closed:
            part = chunk.part(rest, chunk.stop)
            part.lost = lost
            stream.ready.appendleft(part)
        self._tell(stream, Changed())

    def _crash(self, worker: WorkerHandle, chunk: Chunk, task: int, exitcode: int | None) -> Crash:
        """What is known of the end of a worker, and so of the task that it was on."""
        index = chunk.base + task
        if worker.expired == task:
            return Crash(
                index, worker.pid, exitcode, worker.peak, timeout=chunk.timeout, stack=worker.stack()
            )
        killed = None
        if exitcode == -9 and not worker.fault and self._starved is not None:
            now = starved() or 0
            killed, self._starved = now - self._starved, now
        return Crash(index, worker.pid, exitcode, worker.peak, killed, fault=worker.fault)

    def _break(self, error: Exception) -> None:
        """Give everybody who waits the error."""
        for stream in list(self._streams):
            stream.ready.clear()
            self._tell(stream, Broken(error))

    def forget(self, stream: Stream, kill: bool) -> None:
        """A stream is closed: nothing of it begins any more, and what runs does not count as the pool's work."""
        if stream in self._streams:
            self._streams.remove(stream)
            if stream.reserved:
                self.reserved -= stream.limit
                self._thin_out()
        for worker in self._workers.values():
            if worker.chunk is not None and worker.chunk.owner is stream:
                worker.limit(0)
                worker.abandoned = True
                self._end_task(worker, worker.chunk, 0.0 if kill else GRACE)

    def end_task(self, stream: Stream, index: int) -> None:
        """End the task with that index, if it runs, with its worker."""
        for worker in self._workers.values():
            chunk = worker.chunk
            if chunk is not None and chunk.owner is stream and worker.pid:
                task = index - chunk.base
                if chunk.first <= task < chunk.stop and worker.at(chunk) == task and not worker.doubted:
                    self._doubt(worker, task, functools.partial(end_process, worker.pid), lambda worker: None)

    def _end_task(self, worker: WorkerHandle, chunk: Chunk, grace: float) -> None:
        """End a task that nobody waits for, with its worker, unless it ends by itself in time."""

        def end() -> None:
            if worker.chunk is chunk and worker.pid:
                end_process(worker.pid)

        assert self._loop is not None
        if grace:
            self._loop.call_later(grace, end)
        else:
            end()

    def _mend(self) -> None:
        """Handing out was interrupted in a caller's thread: a worker may have got half a message. Have another one."""
        worker, self._handing = self._handing, None
        if worker is None:
            return
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.chunk is not None and worker.chunk in worker.chunk.owner.ready:
            worker.chunk = None
        worker.retired = True
        if worker.pid:
            end_process(worker.pid)
        for stream in self._streams:
            stream.in_flight = sum(
                each.chunk is not None and each.chunk.owner is stream for each in self._workers.values()
            )

    def _joined(self) -> None:
        for stream in self._streams:
            self._tell(stream, Changed())
        self._dispatch()

    def _wanted(self) -> bool:
        return bool(self._streams)

    # the loop thread, and callers that hold its guard: chunks to workers

    def _dispatch(self) -> None:
        """Give ready chunks to idle workers, and see to it that there are enough of both."""
        self._hand_out()
        if self._idle:
            self._look_for_work()
        elif len(self._workers) < self.size + self.reserved and any(stream.ready for stream in self._streams):
            if self.broken is not None:
                self._break(self.broken)
                return
            if not self._workers:
                self._resting = False
            self._fill()

    def _hand_out(self) -> None:
        """Give ready chunks to idle workers, the streams in turn."""
        waiting = (
            0  # streams whose chunks are others' than those of the idle, who are about to get their own back
        )
        while self._idle and waiting < max(1, len(self._streams)):
            stream = self._next()
            if stream is None:
                break
            # At every moment worker and chunk are somewhere to be found; see _mend.
            try:
                pair = self._pair(stream)
                if pair is None:
                    waiting += 1
                    continue
                waiting = 0
                worker, chunk = pair
                self._handing = worker
                self._idle.remove(worker)
                worker.chunk = chunk
                stream.ready.remove(chunk)
            except (IndexError, ValueError):  # closed by its caller this moment
                if self._handing is not None:
                    self._handing.chunk = None
                    self._idle.appendleft(self._handing)
                    self._handing = None
                continue
            self._send(worker, chunk)
            self._handing = None

    def _pair(self, stream: Stream) -> tuple[WorkerHandle, Chunk] | None:
        """The next chunk of a stream, and the worker to give it to; IndexError: the stream has been closed.

        None: there are only chunks of others' lanes, and those who are idle wait for what others have of theirs.
        """
        chunk = stream.ready[0]
        if chunk.lane == ANY:
            return self._idle[0], chunk
        ready = stream.ready.copy()  # its caller may be adding to it, or have closed it by now
        wanted = [chunk.lane for chunk in ready]
        if self._resting:  # lanes without a worker do not get one
            lanes = {worker.lane for worker in self._workers.values()}
            wanted = [lane if lane in lanes else ANY for lane in wanted]
        workers = list(self._idle)
        place, idle = match(wanted, [worker.lane for worker in workers])
        if wanted[place] not in (ANY, workers[idle].lane):
            workers = [worker for worker in workers if not self._calls_back(worker)]
            if not workers:
                return None
            place, idle = match(wanted, [worker.lane for worker in workers])
        return workers[idle], ready[place]

    def _next(self) -> Stream | None:
        """The stream whose turn it is, if one has anything to send."""
        for _ in range(len(self._streams)):
            stream = self._streams[0]
            self._streams.rotate(-1)
            if stream.ready and stream.in_flight < stream.limit and (stream.reserved or self._has_room()):
                return stream
        return None

    def _has_room(self) -> bool:
        """Whether a worker can be had that is not there for somebody else."""
        if not self.reserved:
            return True
        return sum(stream.in_flight for stream in self._streams if not stream.reserved) < self.size

    def _send(self, worker: WorkerHandle, chunk: Chunk) -> None:
        chunk.owner.in_flight += 1
        if self.max_tasks is not None and chunk.stop - chunk.first > self.max_tasks - worker.tasks:
            cut = chunk.first + self.max_tasks - worker.tasks
            chunk.owner.ready.appendleft(chunk.part(cut, chunk.stop))
            chunk.stop = cut
        if (
            worker.path != sys.path or worker.authkey is not authkey()
        ):  # they have changed since the worker was told
            worker.authkey = key = authkey()
            self._tell_path(worker, wire.PATH, (module_path(), None if key is None else bytes(key)))
        self._tell_host(worker)
        if worker.know(chunk.definition) and type(chunk.definition.blob) is Frame:
            self._forget()
        chunk.number = next(self._chunks) & 0xFFFFFFFF or next(self._chunks)
        chunk.sent_at = monotonic()
        chunk.worker = worker
        worker.run(chunk)
        if chunk.timeout is not None:
            self._set_alarm(worker, chunk.sent_at + chunk.timeout)
        self._flush(worker)
