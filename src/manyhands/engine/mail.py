"""What a pool and its workers say to each other: who reads a worker's channel, and how what does not go at once goes later.

Mostly the loop thread reads. A thread that waits for a single task reads the answer itself (``attend``, ``attended``; see
``attending``): the loop thread is not woken for it, and hears only if the worker dies. One thread at a time, with the
loop's ``guard`` held.

``staff`` builds on it, and fills in what the messages mean (``_take``, ``_greet``, ``_silent``).
"""

from __future__ import annotations

import sys

from manyhands.engine.counts import Counts, Question
from manyhands.engine.interrupts import HeldBack
from manyhands.engine.process import end_process
from manyhands.engine.streams import Changed, Results
from manyhands.transport import channel as wire
from manyhands.transport.outcomes import PLAIN
from manyhands.transport.serialize import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manyhands.engine.counts import Name, Total
    from manyhands.engine.loop import Loop
    from manyhands.engine.streams import Chunk, Event
    from manyhands.engine.workers import WorkerHandle
    from manyhands.transport.channel import Message

#: More bytes than this are left to the loop thread: Ctrl-C waits while a result is taken in here.
SMALL = 1 << 16


class Mail:
    """The channels of a pool's workers."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._workers: dict[int, WorkerHandle] = {}  # by serial
        #: What the caches of helpers held in each worker, by lane, as it has told; for who replaces it. See ``helpers``.
        self.heritage: dict[int, bytes] = {}
        #: What has been done with them.
        self.counts = Counts()

    def _take(self, worker: WorkerHandle, message: Message) -> None:
        """A worker has sent results."""
        raise NotImplementedError

    def _hear(self, worker: WorkerHandle, what: int, body: bytes) -> None:
        """A worker has something for the caller's streams, handlers or filters."""
        raise NotImplementedError

    def _greet(self, worker: WorkerHandle, message: Message) -> None:
        """A worker says that it is ready, or that its initializer has failed."""
        raise NotImplementedError

    def _silent(self, worker: WorkerHandle) -> None:
        """A worker's channel is closed."""
        raise NotImplementedError

    # any thread

    def attend(self, chunk: Chunk, reader: object) -> WorkerHandle | None:
        """Have the calling thread alone read from the worker that runs this one task.

        Args:
            chunk: the task.
            reader: who is to read.

        Returns:
            The worker, to be waited for until ``attended`` is called; None: the loop thread goes on reading.
        """
        worker, loop = chunk.worker, self._loop
        if worker is None or loop is None or loop.inside():
            return None
        with HeldBack():
            if not loop.guard.acquire(blocking=False):
                return None
            try:
                free = worker.chunk is chunk and worker.reader is None and not (worker.gone or worker.writing)
                if free and chunk.stop - chunk.first == 1 and loop.pause(worker.channel.fileno()):
                    worker.reader = reader
                    return worker
            finally:
                loop.guard.release()
        return None

    def attended(self, chunk: Chunk, reader: object, *, quiet: bool) -> None:
        """Take in what has come from the worker, and let the loop thread have it back.

        Args:
            chunk: the task.
            reader: who has read.
            quiet: nobody's code is called when the result is known.
        """
        worker, loop = chunk.worker, self._loop
        if worker is None or worker.reader is not reader:
            return
        with HeldBack():
            if loop is None:  # closed meanwhile, and all its workers with it
                worker.reader = None
                worker.channel.close()
                return
            with loop.guard:
                self._return(worker)
                todo = loop.take_afterwards()
                # Opening a result, too, may call somebody's code: not while Ctrl-C is held back. And all in its order.
                if loop.delivering or not (quiet and all(is_plain(event) for _, event in todo)):
                    loop.leave(todo)
                    return
            for call, event in todo:
                call(event)

    def _return(self, worker: WorkerHandle) -> None:
        """Let the loop thread read a worker's channel again."""
        worker.reader = None
        if worker.gone:  # and perhaps the loop with it
            worker.channel.close()
            return
        assert self._loop is not None
        try:
            self._drain(worker)  # that there will be no more, the loop finds out as well
        except BaseException:
            # Of another signal's handler: what was on its way is lost, and so is the worker.
            if worker.pid:
                end_process(worker.pid)
            raise
        finally:  # last: else what has come would wake the loop
            if not worker.gone:
                self._loop.resume(worker.channel.fileno())

    def counted(self, seconds: float) -> dict[Name, Total]:
        """Return what the caches of helpers have done in all workers, those that have ended included.

        Args:
            seconds: those that run have so many to answer; of one that is busy for longer, what it has told last counts.
        """
        loop = self._loop
        if loop is None:
            return {}
        question = Question()
        if not loop.inside():  # which would wait for itself
            loop.call_soon(lambda: self._ask(question))
            question.wait(seconds)
        with HeldBack(), loop.guard:
            return self.counts.totals()

    # the loop thread, and callers that hold its guard

    def _ask(self, question: Question) -> None:
        asked = [worker for worker in self._workers.values() if worker.ready]
        number = self.counts.ask(question, [worker.serial for worker in asked])
        for worker in asked:
            if not worker.retired:  # who leaves tells it anyway
                worker.channel.push(wire.COUNT, [], number=number)
                self._flush(worker)

    def _readable(self, worker: WorkerHandle) -> None:
        if worker.reader is not None or worker.gone:
            return  # left to another thread, or it went while this one was waking up
        if self._drain(worker):
            return
        self._unwatch(worker)
        self._silent(worker)

    def _drain(self, worker: WorkerHandle) -> bool:
        """Take the messages that a worker has sent; False when there will be no more."""
        try:
            for message in worker.channel.pump():
                if message.kind == wire.READY:
                    self._greet(worker, message)
                elif message.kind == wire.KEEP:
                    self.heritage[worker.lane] = bytes(message.body)
                elif message.kind == wire.COUNTED:
                    self.counts.take(worker.serial, message.number, bytes(message.body))
                elif message.kind == wire.SAY:
                    self._hear(worker, message.flags, bytes(message.body))
                else:
                    self._take(worker, message)
        except EOFError:
            return False
        except (wire.BrokenChannel, OSError, ValueError):
            worker.fault = "sent something that is no message, and was ended"
            if worker.pid:
                end_process(worker.pid)
            return False
        return True

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

    def _unwatch(self, worker: WorkerHandle) -> None:
        assert self._loop is not None
        if worker.channel.fileno() >= 0:
            self._loop.unwatch(worker.channel.fileno())


def is_plain(event: Event) -> bool:
    """Tell whether taking in an event calls nobody's code: it is one small number, string or the like, or no result at all."""
    if not isinstance(event, Results):
        return isinstance(event, Changed)
    return all(kind == PLAIN and len(outcome) < SMALL for kind, outcome in event.outcomes)
