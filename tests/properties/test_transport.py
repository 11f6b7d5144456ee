"""What crosses between processes arrives, however the stream is cut and whenever a worker dies."""

from __future__ import annotations

import marshal
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.engine import worker as worker_module
from manyhands.engine.streams import Chunk
from manyhands.engine.worker import Run, Worker
from manyhands.engine.workers import WorkerHandle
from manyhands.exceptions import RemoteTraceback
from manyhands.transport import channel as wire
from manyhands.transport import errors, journal, tally
from manyhands.transport.channel import BrokenChannel, Channel, Message, PoolChannel
from manyhands.transport.journal import Journal
from manyhands.transport.outcomes import FAILED, PLAIN, Outcomes, unplain
from manyhands.transport.serialize import loads
from tests.properties.functions import examples, exceptions, values

# exceptions


@examples(60)
@given(
    error=exceptions,
    attributes=st.dictionaries(st.sampled_from(["extra", "code", "note"]), values, max_size=2),
)
def test_an_exception_arrives_with_type_arguments_and_attributes(
    error: BaseException, attributes: dict[str, Any]
) -> None:
    vars(error).update(attributes)
    error.add_note("a note")
    try:
        raise error
    except BaseException as caught:
        copy = errors.unpack(errors.pack(caught))
    assert type(copy) is type(error)
    assert repr(copy.args) == repr(error.args)
    assert repr(vars(copy)) == repr(vars(error))
    assert str(copy) == str(error)
    assert isinstance(copy.__cause__, RemoteTraceback)
    assert "raise error" in copy.__cause__.text


groups = st.recursive(
    exceptions.filter(lambda error: isinstance(error, Exception)),
    lambda inner: st.builds(ExceptionGroup, st.text(max_size=5), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=5,
)


@examples(60)
@given(error=groups)
def test_a_group_arrives_with_all_its_members(error: Exception) -> None:
    def tree(node: BaseException) -> Any:
        if isinstance(node, BaseExceptionGroup):
            return type(node), node.message, [tree(member) for member in node.exceptions]
        return type(node), repr(node.args), repr(vars(node))

    assert tree(errors.unpack(errors.pack(error))) == tree(error)


class Refuses:
    """Cannot be pickled."""

    def __init__(self, how: type[BaseException]) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        raise self.how("no")

    def __repr__(self) -> str:
        return "<refuses>"


@examples(60)
@given(
    error=exceptions, how=st.sampled_from([TypeError, SystemExit, RecursionError]), in_arguments=st.booleans()
)
def test_a_part_that_cannot_travel_is_shown_and_the_rest_arrives(
    error: BaseException, how: type[BaseException], in_arguments: bool
) -> None:
    if in_arguments:
        error.args = (*error.args, Refuses(how))
    error.handle = Refuses(how)  # type: ignore[attr-defined]
    copy: Any = errors.unpack(errors.pack(error))
    assert type(copy) is type(error)
    assert repr(copy.handle) == "<refuses>"
    assert repr(copy.args) == repr(error.args)


# the channel

fields = st.fixed_dictionaries(
    {
        "flags": st.integers(0, 255),
        "number": st.integers(0, 2**32 - 1),
        "definition": st.integers(0, 2**32 - 1),
        "first": st.integers(0, 2**32 - 1),
        "count": st.integers(0, 2**32 - 1),
    }
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.integers(0, 3 * wire.READ_SIZE).map(bytes),
    st.sampled_from([wire.READ_SIZE - wire.HEADER.size, wire.READ_SIZE, wire.READ_SIZE + 1]).map(bytes),
)
#: LEND is part of the message behind it, and no message of its own to who receives.
kinds = st.sampled_from(sorted(wire.KINDS - {wire.LEND}))
messages = st.lists(st.tuples(kinds, fields, bodies), max_size=8)
KEY = 0x0123456789ABCDEF


def as_tuple(message: Message) -> tuple[Any, ...]:
    return (
        message.kind,
        {name: getattr(message, name) for name in ("flags", "number", "definition", "first", "count")},
        bytes(message.body),
    )


class Wire:
    """Collects what is written instead of sending it."""

    def __init__(self) -> None:
        self.written = b""

    def send(self, data: Any) -> int:
        self.written += bytes(data)
        return len(data)


def stream_of(sent: list[Any]) -> bytes:
    """The bytes that a worker writes for these messages."""
    wire_ = Wire()
    channel = Channel(wire_, KEY)  # type: ignore[arg-type]
    for kind, fields, body in sent:
        channel.send(kind, [body[: len(body) // 2], b"", body[len(body) // 2 :]], **fields)
    return wire_.written


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data, cut at some places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        yield data[start:end]


cuts = st.lists(st.integers(0, 1 << 20), max_size=12)


@examples(60)
@given(sent=messages, cuts=cuts)
def test_the_pool_reads_the_same_messages_however_the_stream_is_cut(sent: list[Any], cuts: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = PoolChannel(ours, KEY)
        theirs.setblocking(True)
        found: list[Any] = []
        for piece in pieces(stream_of(sent), cuts):
            for start in range(0, len(piece), 1 << 14):  # less than the socket holds
                theirs.sendall(piece[start : start + (1 << 14)])
                found += map(as_tuple, channel.pump())
        assert found == sent
        theirs.close()
        with pytest.raises(EOFError):
            list(channel.pump())


@examples(60)
@given(sent=messages.filter(len), cuts=cuts, lost=st.integers(1, 1 << 20))
def test_a_stream_that_ends_in_the_middle_gives_the_whole_messages_only(
    sent: list[Any], cuts: list[int], lost: int
) -> None:
    """A worker may be killed while it writes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = PoolChannel(ours, KEY)
        whole = stream_of(sent)
        data = whole[: len(whole) - 1 - lost % len(whole)]
        found: list[Any] = []
        for piece in pieces(data, cuts):
            for start in range(0, len(piece), 1 << 14):
                theirs.sendall(piece[start : start + (1 << 14)])
                found += map(as_tuple, channel.pump())
        theirs.close()
        with pytest.raises(EOFError):
            list(channel.pump())
        complete = [count for count in range(len(sent) + 1) if len(stream_of(sent[:count])) <= len(data)]
        assert found == sent[: max(complete)]


#: Anything, and what would be a message but for its key.
junk = st.one_of(
    st.binary(min_size=wire.HEADER.size, max_size=200),
    st.builds(
        lambda key, kind: wire.HEADER.pack(key, kind, 0, 1, 1, 0, 1, 0.0, 0.0, 0),
        st.integers(0, 2**64 - 1).filter(lambda key: key != KEY),
        st.sampled_from(sorted(wire.KINDS)),
    ),
)


@examples(60)
@given(junk=junk, before=messages)
def test_junk_is_never_taken_for_a_message(junk: bytes, before: list[Any]) -> None:
    before = [(kind, fields, body[:1000]) for kind, fields, body in before]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = PoolChannel(ours, KEY)
        theirs.sendall(stream_of(before) + junk)
        found: list[Any] = []
        with pytest.raises(BrokenChannel):
            for _ in range(20):
                found.extend(map(as_tuple, channel.pump()))
        assert found == before


@examples(60)
@given(sent=messages, cuts=cuts)
def test_a_worker_reads_the_same_messages_however_the_stream_is_cut(sent: list[Any], cuts: list[int]) -> None:
    class Pieces:
        """A socket that gives what was sent in pieces."""

        def __init__(self, data: list[bytes]) -> None:
            self.data = [piece for piece in data if piece]

        def recv(self, size: int) -> bytes:
            if not self.data:
                return b""
            piece = self.data.pop(0)
            if len(piece) > size:
                self.data.insert(0, piece[size:])
            return piece[:size]

        def recv_into(self, buffer: memoryview, size: int) -> int:
            piece = self.recv(min(size, len(buffer)))
            buffer[: len(piece)] = piece
            return len(piece)

    channel = Channel(Pieces(list(pieces(stream_of(sent), cuts))), KEY)  # type: ignore[arg-type]
    found = []
    while (message := channel.receive()) is not None:
        found.append(as_tuple(message))
    assert found == sent


@examples(60)
@given(sent=messages, room=st.lists(st.integers(0, 40_000), max_size=30))
def test_what_the_pool_writes_in_parts_arrives_whole(sent: list[Any], room: list[int]) -> None:
    """The socket takes only so much at a time, sometimes nothing."""

    class Narrow(Wire):
        def setblocking(self, _: bool) -> None: ...

        def send(self, data: Any) -> int:
            space = room.pop() if room else len(data)
            if not space:
                raise BlockingIOError
            return super().send(data[:space])

    narrow = Narrow()
    channel = PoolChannel(narrow, KEY)  # type: ignore[arg-type]
    for kind, fields, body in sent:
        channel.push(kind, [body, b""], **fields)
    for _ in range(len(room) + 2):
        if channel.flush():
            break
    assert not channel.outgoing
    assert narrow.written == stream_of(sent)


# the journal


class Died(BaseException):
    """The worker was killed at this very moment."""


def die() -> None:
    """What happens at the moment of death."""


class Moments:
    """Counts what a worker does to the memory it shares and to its channel; things can happen at any of these moments.

    Args:
        what: what happens, by moment.
    """

    def __init__(self, what: dict[int, Callable[[], object]]) -> None:
        self.what = what
        self.now = 0
        self.dead = False

    def pass_(self) -> None:
        self.now += 1
        happens = self.what.get(self.now)
        if happens is die:
            self.dead = True
        elif happens is not None:
            happens()
        if self.dead:  # for ever: a task's own exception handlers do not bring a process back
            raise Died


class Shared:
    """A memory whose every reading and writing is a moment."""

    def __init__(self, memory: memoryview, moments: Moments) -> None:
        self.memory = memory
        self.moments = moments

    def __getitem__(self, place: Any) -> Any:
        self.moments.pass_()
        return self.memory[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        self.moments.pass_()
        self.memory[place] = value


class Simulation:
    """A worker that runs one chunk, in this process; its pool sees messages and journal, as the real one does.

    Args:
        sizes: the size of each task's result; the task fails where it is negative.
        first: the first task of the body that is the chunk's.
        moments: when what happens to the worker.
        eager: results go after every task.
    """

    def __init__(
        self, sizes: list[int], first: int, what: dict[int, Callable[[], object]], *, eager: bool
    ) -> None:
        self.sizes = sizes
        self.called: list[int] = []
        self.sent: list[Message] = []
        self.moments = Moments(what)
        self.handle = WorkerHandle(1, 0)
        theirs, memory = self.handle.open()
        theirs.close()
        self.journal = Journal(memory)
        self.memory = memory
        self.worker = Worker(self, self.journal, memory)  # type: ignore[arg-type]
        self.real = self.journal.words, self.journal.ends, self.journal.data
        self.chunk = Chunk(None, None, [], 0, first, len(sizes), 0)  # type: ignore[arg-type]
        self.chunk.number = 7
        self.handle.chunk = self.chunk
        self.handle.limit(len(sizes))
        self.journal.words = Shared(self.real[0], self.moments)  # type: ignore[assignment]
        self.journal.ends = Shared(self.real[1], self.moments)  # type: ignore[assignment]
        self.journal.data = Shared(self.real[2], self.moments)  # type: ignore[assignment]
        self.worker.functions[1] = self.task
        self.eager = eager

    def task(self, index: int) -> bytes:
        self.called.append(index)
        self.moments.pass_()
        if self.sizes[index] < 0:
            raise KeyError(index)
        return bytes([index]) * self.sizes[index]

    def send(self, kind: int, parts: Any, **fields: Any) -> None:
        """Stands for the channel: death may come before the message has gone, or after."""
        body = b"".join(bytes(part) for part in parts)
        self.moments.pass_()
        names = ("flags", "number", "definition", "first", "count", "busy", "overhead")
        message = Message(kind, *(fields.get(name, 0) for name in names), memoryview(body))
        self.sent.append(message)
        self.chunk.received = message.first + message.count  # as the pool does when it takes it
        self.moments.pass_()

    def run(self) -> bool:
        """Run the chunk; False when the worker died in it."""
        body = memoryview(marshal.dumps(list(range(len(self.sizes))), 2))
        flags = worker_module.BATCH | (worker_module.EAGER if self.eager else 0)
        message = Message(wire.RUN, flags, 7, 1, self.chunk.first, self.chunk.stop, 0.0, 0.0, body)
        try:
            Run(self.worker, message).run()
        except Died:
            return False
        finally:
            tally.in_worker = None  # a real worker's goes with its process
        return True

    def outcomes(self) -> list[tuple[bool, Any]]:
        """All results that the pool has, in order: those it was sent, and those it finds in the journal."""
        found: list[tuple[bool, Any]] = []
        for message in self.sent:
            entries = memoryview(bytes(message.body[: 8 * message.count])).cast("Q").tolist()
            assert message.first == self.chunk.first + len(found)
            found += self.decoded(Outcomes(entries, message.body[8 * message.count :]))
        return found

    def decoded(self, outcomes: Outcomes) -> list[tuple[bool, Any]]:
        return [
            (True, errors.unpack(data).args)
            if kind == FAILED
            else (False, unplain(data) if kind == PLAIN else loads(data))
            for kind, data in outcomes
        ]

    def expected(self, first: int, stop: int) -> list[tuple[bool, Any]]:
        return [
            (True, (index,)) if self.sizes[index] < 0 else (False, bytes([index]) * self.sizes[index])
            for index in range(first, stop)
        ]

    def close(self) -> None:
        self.journal.words, self.journal.ends, self.journal.data = self.real
        self.journal.close()
        journal.release(self.memory)
        self.handle.close()


@pytest.fixture
def small_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is full soon."""
    monkeypatch.setattr(worker_module, "CAPACITY", 120)
    monkeypatch.setattr(worker_module, "ENTRIES", 5)


sizes = st.lists(st.one_of(st.integers(-1, 30), st.integers(100, 150)), min_size=1, max_size=14)


@examples(300)
@given(sizes=sizes, data=st.data(), moment=st.integers(1, 250), eager=st.booleans())
@pytest.mark.usefixtures("small_journal")
def test_after_a_death_every_task_is_accounted_for(
    sizes: list[int], data: st.DataObject, moment: int, eager: bool
) -> None:
    """Finished, begun or not begun: every finished result is kept once, no task that was called is called again."""
    first = data.draw(st.integers(0, len(sizes) - 1))
    simulation = Simulation(sizes, first, {moment: die}, eager=eager)
    try:
        survived = simulation.run()
        begun, done, unsent = simulation.handle.accounts(simulation.chunk)
        found = simulation.outcomes() + simulation.decoded(unsent)
        assert found == simulation.expected(first, done)
        assert done <= begun <= done + 1
        assert simulation.called == list(range(first, first + len(simulation.called)))
        assert first + len(simulation.called) in {
            done,
            begun,
            first,
        }  # who was called has finished, or is the culprit
        assert first + len(simulation.called) <= begun
        if survived:
            assert (done, begun) == (len(sizes), len(sizes))
    finally:
        simulation.close()


@examples(300)
@given(
    sizes=sizes,
    moment=st.integers(1, 150),
    later=st.integers(0, 60),
    ahead=st.integers(0, 6),
    death=st.none() | st.integers(1, 250),
)
@pytest.mark.usefixtures("small_journal")
def test_what_the_pool_takes_away_from_a_chunk_is_not_run_by_its_worker(
    sizes: list[int], moment: int, later: int, ahead: int, death: int | None
) -> None:
    """The pool lowers the limit at one moment and looks at a later one whether the worker was quicker."""
    taken: list[int] = []
    limit: list[int] = []

    def lower() -> None:
        place = min(simulation.handle.begun(simulation.chunk) + ahead, len(sizes))
        limit.append(place)
        simulation.handle.limit(place)

    def look() -> None:
        if limit and simulation.handle.begun(simulation.chunk) <= limit[0] < simulation.chunk.stop:
            taken.extend(range(limit[0], simulation.chunk.stop))
            simulation.chunk.stop = limit[0]

    what: dict[int, Callable[[], object]] = {moment: lower, moment + 1 + later: look}
    if death is not None:
        what.setdefault(death, die)
    simulation = Simulation(sizes, 0, what, eager=True)
    try:
        survived = simulation.run()
        assert not set(simulation.called) & set(taken)
        begun, done, unsent = simulation.handle.accounts(simulation.chunk)
        results = simulation.outcomes() + simulation.decoded(unsent)
        assert results == simulation.expected(0, done)
        # Together: results, at most one culprit, what was taken away, and what is left of the chunk, each task once.
        rest = list(range(max(begun, done), simulation.chunk.stop))
        culprit = list(range(done, begun))
        assert [*range(done), *culprit, *rest, *taken] == list(range(len(sizes)))
        assert not survived or not culprit
    finally:
        simulation.close()
