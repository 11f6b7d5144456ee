"""What the pool knows of one worker: its process, its channel, its journal, the chunk it runs, the functions it has."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict

from manyhands.engine.worker import ASK_STACK, TIMED
from manyhands.transport import channel as wire
from manyhands.transport import journal
from manyhands.transport.arena import Peer
from manyhands.transport.channel import PoolChannel
from manyhands.transport.descriptors import away, kept_off, pair
from manyhands.transport.journal import Journal
from manyhands.transport.mapped import Remote
from manyhands.transport.outcomes import Outcomes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.engine.streams import Chunk, Definition

#: What a worker loads before a task whose time is limited may take so many seconds.
LOADING = 60.0
NEVER = float("inf")

#: A worker keeps so many functions; the one not used for longest is forgotten.
KEPT_FUNCTIONS = 64


class WorkerHandle:
    """One worker, seen from the pool.

    Args:
        serial: its number in the pool; its pid is known only later.
        lane: its place in the pool, see ``lanes``.
    """

    channel: PoolChannel

    def __init__(self, serial: int, lane: int) -> None:
        self.serial = serial
        self.lane = lane
        self.key = int.from_bytes(os.urandom(8), sys.byteorder)
        self.pid = 0
        self.ready = False
        self.retired = False
        self.heir = False  # it begins with what the caches of another one held
        self.abandoned = False  # it runs a chunk that nobody waits for
        self.writing = False
        self.reader: object = None  # who reads its channel in the loop thread's place
        self.gone = False
        self.tasks = 0
        self.chunk: Chunk | None = None
        self.path: list[str] = []
        self.authkey: bytes | None = None
        self.told = b""  # what it knows of its host
        self.alarm = NEVER  # when somebody next looks whether its task has run too long
        self.doubted = False  # it is being looked whether its task is still the same
        self.expired: int | None = None  # the task of its chunk whose time is over, so that it is ended
        self.fault = ""  # why the pool has ended it, if it has
        self.peak = 0  # bytes, known when it has ended
        self._known: OrderedDict[int, Definition] = OrderedDict()
        self._journal: Journal | None = None
        self.token = int.from_bytes(os.urandom(8), sys.byteorder)  # of its arena

    def open(self, *, arena: bool = False) -> tuple[Any, Any]:
        """Make channel and journal; return the ends that go to the process (the caller closes them).

        Args:
            arena: large things may go through shared memory, both ways.
        """
        ours, theirs = pair()
        try:
            descriptor = journal.create()
            if isinstance(descriptor, int):
                descriptor = away(descriptor)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        try:
            with kept_off():
                self._journal = Journal(descriptor)
        except BaseException:  # mapping takes a descriptor, too
            ours.close()
            theirs.close()
            journal.release(descriptor)
            raise
        self.channel = PoolChannel(ours, self.key)
        if arena and isinstance(descriptor, int):
            try:
                file = away(os.dup(descriptor))
            except OSError:  # it is going to be short of them anyway
                self.close()
                journal.release(descriptor)
                theirs.close()
                raise
            self.channel.peer = Peer(self._journal.by_worker)
            self.channel.remote = Remote(file, self.token, self._journal.by_pool)
        return theirs, descriptor

    def know(self, definition: Definition) -> bool:
        """Make sure that the worker has a function before it is told to run it; tell whether it is new to it."""
        if definition.number in self._known:
            self._known.move_to_end(definition.number)
            return False
        self.forget()
        if len(self._known) >= KEPT_FUNCTIONS:
            oldest, _ = self._known.popitem(last=False)
            self.channel.push(wire.FORGET, [], definition=oldest)
        self._known[definition.number] = definition
        self.channel.push(wire.DEFINE, [definition.blob], definition=definition.number)
        return True

    def forget(self) -> None:
        """Have the worker forget what is not kept here, and takes much room there."""
        for number in [each.number for each in self._known.values() if each.dropped]:
            del self._known[number]
            self.channel.push(wire.FORGET, [], definition=number)

    def run(self, chunk: Chunk) -> None:
        """Send a chunk."""
        self.chunk = chunk
        self.limit(chunk.stop)
        self.channel.push(
            wire.RUN, chunk.body, flags=chunk.flags | (TIMED if chunk.timeout is not None else 0), number=chunk.number,
            definition=chunk.definition.number, first=chunk.first, count=chunk.stop, base=chunk.base,
        )  # fmt: skip

    def limit(self, stop: int) -> None:
        """Have the worker stop before that task."""
        assert self._journal is not None
        self._journal.words[journal.LIMIT] = stop

    def begun(self, chunk: Chunk) -> int:
        """The number of tasks of the chunk's body that were begun, those before its first included."""
        assert self._journal is not None
        words = self._journal.words
        if words[journal.CHUNK] != chunk.number:
            return chunk.first
        # Between the last task and the end of the chunk nothing runs, though the worker has not said so yet.
        return min(chunk.stop, max(chunk.received, words[journal.DONE] + words[journal.RUNNING]))

    def running(self, chunk: Chunk) -> tuple[int, float, bool] | None:
        """The task of the chunk that runs, the (monotonic) time at which its time is over, and whether it has begun.

        None: no task runs. One that has not begun waits for what the worker loads for it.
        """
        assert self._journal is not None
        assert chunk.timeout is not None
        words = self._journal.words
        if words[journal.CHUNK] != chunk.number:
            return None
        task, began = words[journal.DONE], words[journal.BEGAN]
        if not words[journal.RUNNING] or task >= chunk.stop:
            return None
        due = began * 1e-9 if began else chunk.sent_at + LOADING
        return task, due + chunk.timeout, began > 0

    def at(self, chunk: Chunk) -> int | None:
        """The task of the chunk that runs."""
        assert self._journal is not None
        words = self._journal.words
        running = words[journal.CHUNK] == chunk.number and words[journal.RUNNING]
        return words[journal.DONE] if running else None

    def ask_stack(self) -> None:
        """Have the worker write where it is."""
        if ASK_STACK and self.pid and self._journal is not None:
            self._journal.clear_text()
            try:
                os.kill(self.pid, ASK_STACK)
            except ProcessLookupError:
                pass

    def stack(self) -> str:
        """Where the worker was when it was asked; empty if it did not say."""
        return "" if self._journal is None else self._journal.text()

    def accounts(self, chunk: Chunk) -> tuple[int, int, Outcomes]:
        """After its death: tasks begun, tasks finished, and the finished results that it had not sent."""
        assert self._journal is not None
        words = self._journal.words
        if words[journal.CHUNK] != chunk.number:
            return chunk.received, chunk.received, Outcomes([], memoryview(b""))
        unsent = self._journal.held().since(max(0, chunk.received - words[journal.FIRST]))
        return self.begun(chunk), chunk.received + len(unsent), unsent

    def unprinted(self) -> list[bytes]:
        """After its death: finished lines of standard output and standard error that are not out."""
        return [] if self._journal is None else self._journal.unprinted()

    def close(self) -> None:
        self.gone = True
        if self.reader is not None:  # who reads it wakes up, and closes it
            self.channel.shut()
        else:
            self.channel.close()
        peer, remote = self.channel.peer, self.channel.remote
        if peer is not None:
            peer.leave()
        if remote is not None:
            self.channel.remote = None
            remote.orphan()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
