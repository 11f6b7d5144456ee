"""What passes through a pool: definitions, chunks, the streams they come in, and the events that come back.

Plain records; ``pool`` moves them, ``definitions`` and ``submissions`` make them.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from manyhands.engine.lanes import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.engine.pool import Pool
    from manyhands.engine.workers import WorkerHandle
    from manyhands.transport.outcomes import Outcomes


class Definition:
    """A function with its constants, as bytes; sent once to each worker."""

    __slots__ = ("blob", "dropped", "number", "used_at")

    def __init__(self, number: int, blob: bytes) -> None:
        self.number = number
        self.blob = blob
        self.used_at = monotonic()  # when it was last asked for
        self.dropped = False  # it is large, and was let go


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
        timeout: seconds that each task may take, or None.
        lane: of the worker that should have it; see ``lanes``.
    """

    __slots__ = (
        "base",
        "body",
        "called_back",
        "definition",
        "first",
        "flags",
        "lane",
        "lost",
        "number",
        "owner",
        "received",
        "seen",
        "seen_at",
        "sent_at",
        "stop",
        "timeout",
        "worker",
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
        timeout: float | None = None,
        lane: int = ANY,
    ) -> None:
        self.timeout = timeout
        self.lane = lane
        self.called_back = False  # by the worker of its lane: another one has it
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
        self.worker: WorkerHandle | None = None
        self.seen, self.seen_at = -1, 0.0  # how far it was when somebody last looked

    def pace(self, begun: int, now: float) -> float:
        """Return the seconds that a task has taken since somebody last looked, 0 the first time; ``begun`` were begun now."""
        pace = (now - self.seen_at) / max(1, begun - self.seen) if self.seen >= 0 else 0.0
        self.seen, self.seen_at = begun, now
        return pace

    def part(self, first: int, stop: int) -> Chunk:
        """Return a part of the chunk as a chunk of its own."""
        return Chunk(
            self.owner, self.definition, self.body, self.flags, first, stop, self.base, self.timeout, self.lane
        )  # fmt: skip


class Results:
    """Results of tasks ``first`` and following of the input, in order: (kind of outcome, bytes) each.

    Where they do not follow each other in the input, ``places`` has their indexes.
    """

    __slots__ = ("busy", "first", "mutated", "outcomes", "places", "travel", "worker")

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
        self.places: list[int] | None = None
        self.outcomes = outcomes
        self.busy = busy
        self.travel = travel
        self.mutated = mutated
        self.worker = worker


class Crash:
    """The task with this index of the input ended its worker, or was ended with it because its time was over.

    Args:
        index: the task.
        pid: the worker.
        exitcode: as with ``subprocess``; None where it is not known.
        peak: the most memory that the worker has used, bytes; 0 where it is not known.
        starved: so many processes were killed for want of memory since the pool began; None: cannot be told.
        timeout: the limit that the task has passed, seconds; None: it was not that.
        stack: where the worker was then, if that could be had.
        fault: why the pool has ended it, in words; empty: it has not.
    """

    __slots__ = ("exitcode", "fault", "index", "peak", "pid", "stack", "starved", "timeout")

    def __init__(
        self, index: int, pid: int, exitcode: int | None, peak: int = 0, starved: int | None = None,
        timeout: float | None = None, stack: str = "", fault: str = "",
    ) -> None:  # fmt: skip
        self.index = index
        self.pid = pid
        self.exitcode = exitcode
        self.peak = peak
        self.starved = starved
        self.timeout = timeout
        self.stack = stack
        self.fault = fault


class Talk:
    """Something that a running task says.

    Args:
        chunk: the chunk that the task is in, alone.
        index: the task.
        port: which of its conversations it belongs to.
        kind: what sort of thing it is, as the two ends have agreed.
        count: a number, as they have agreed.
        body: bytes.
    """

    __slots__ = ("body", "chunk", "count", "index", "kind", "port")

    def __init__(self, chunk: Chunk, index: int, port: int, kind: int, count: int, body: memoryview) -> None:
        self.chunk = chunk
        self.index = index
        self.port = port
        self.kind = kind
        self.count = count
        self.body = body


class Broken:
    """The pool cannot go on; no task of the stream that has no result yet will get one."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Said:
    """A task has printed, logged or warned of something; ``host.show`` does with it what would have been done here.

    Args:
        what: the kind, a word of ``guest``.
        body: as it came.
    """

    __slots__ = ("body", "what")

    def __init__(self, what: int, body: bytes) -> None:
        self.what = what
        self.body = body


class Changed:
    """Workers have become ready, or free."""

    __slots__ = ()


if TYPE_CHECKING:
    Event = Results | Crash | Talk | Broken | Said | Changed
    #: Takes the events of a stream, in the loop thread; must not wait.
    Deliver = Callable[[Event], object]


class Stream:
    """The chunks of one call on their way through the pool.

    Args:
        pool: the pool.
        deliver: called in the loop thread with what becomes of them.
        limit: how many workers it may occupy.
        reserved: they are there for it alone, beside the pool's others.
    """

    def __init__(self, pool: Pool, deliver: Deliver, limit: int, *, reserved: bool = False) -> None:
        self.pool = pool
        self.reserved = reserved
        self.deliver = deliver
        self.limit = limit
        self.ready: deque[Chunk] = deque()
        self.in_flight = 0
        self.closed = False

    def take(self, event: Event) -> None:
        """Deliver an event, to nobody when the stream has been closed."""
        self.deliver(event)

    def post(
        self, definition: Definition, body: list[bytes], flags: int, count: int, base: int,
        timeout: float | None = None, lane: int = ANY,
    ) -> Chunk:  # fmt: skip
        """Hand over a chunk; from any thread."""
        chunk = Chunk(self, definition, body, flags, 0, count, base, timeout, lane)
        self.post_all([chunk])
        return chunk

    def post_all(self, chunks: list[Chunk]) -> None:
        """Hand over chunks, all at once: nobody is given another's because his own comes a moment later."""
        self.ready.extend(chunks)
        self.pool.poke()

    def close(self, *, kill: bool = False) -> None:
        """Drop what is not in flight, stop what is after the running task; ``kill``: at once, with the worker."""
        self.closed = True
        self.ready.clear()
        self.deliver = _nobody  # a task that is still running holds the stream, and should not hold the call
        self.pool.loop_soon(lambda: self.pool.forget(self, kill))


def _nobody(event: Event) -> None:
    """Takes the events of a closed stream."""
