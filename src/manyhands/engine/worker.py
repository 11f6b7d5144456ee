"""The worker process: waits for messages, runs tasks, writes results; imports next to nothing before its first task.

``process`` and ``template`` start it, ``pool`` talks to it. The loop of a chunk keeps the order that makes a crash
accountable (see ``transport.journal``): note that the task begins, run it, put its result into the journal, note that it
is there. What is in the journal goes to the pool when it is full, when it has waited for ``FLUSH`` seconds, and at the end.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal costs an import of enum
import os
import sys
from _pickle import loads
from marshal import dumps
from time import monotonic_ns, perf_counter

from manyhands.transport import channel as wire
from manyhands.transport import tally
from manyhands.transport.arena import IDLE, Arena, Peer, leased, leases_of
from manyhands.transport.channel import Channel, Message
from manyhands.transport.frames import split
from manyhands.transport.journal import (
    BEGAN,
    CAPACITY,
    CHUNK,
    DONE,
    ENTRIES,
    FIRST,
    LIMIT,
    RUNNING,
    SIZE,
    TEXT,
    Journal,
    release,
)
from manyhands.transport.mapped import Remote
from manyhands.transport.outcomes import COUNTED_ENTRY, FAILED_ENTRY, PLAIN_ENTRY, POSITION, VERSION, unplain
from manyhands.transport.serialize import ATOMIC, Encoder
from manyhands.transport.windows import WINDOWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.engine.guest import Guest
    from manyhands.engine.helpers import Helpers
    from manyhands.engine.ways import Way

#: Frames of this package at the top of a task's traceback say nothing to its reader.
OWN = os.path.dirname(__file__)
#: After a single task, whose caller may have waited for it to go on, a worker looks for the next so many seconds.
LOOK = 0.000_100
#: Results wait in the journal for so many seconds at most while tasks go on.
FLUSH = 0.005

# How the items of a chunk become arguments (flags of RUN).
ONE, MANY, FULL = 0, 1, 2  # f(item), f(*item), f(*item[0], **item[1])
SHAPE, BATCH, EAGER, TIMED, TALKS = 3, 4, 16, 32, 64
# What a worker reports with results (flags of RESULTS and DONE).
MUTATED = 8
# READY with this flag: the initializer failed, the body is its exception.
REFUSED = 1
# STOP with this flag: another one takes its place.
REPLACED = 1

#: The signal upon which a worker writes where it is; 0 where the system has none to spare.
ASK_STACK: int = max(0, getattr(_signal, "SIGRTMAX", 2) - 2)

#: What may be too much for marshal (it counts in 31 bits); pickle takes it.
LONG = frozenset({str, bytes})

#: True in workers: a call made inside a task runs right there, instead of starting processes of processes.
inside = False


def main(connection: Any, journal: int | str, key: int, arena: int = -1) -> None:
    """Serve one pool until it says stop or is gone. Does not return.

    Args:
        connection: the worker's end of the channel, a connected socket.
        journal: what opens the journal; released here.
        key: the channel's key.
        arena: the file of the pool's arena, kept here; -1: it has none.
    """
    global inside
    inside = tally.worker = True
    code, process = 1, os.getpid()
    try:
        _guard_signals()
        worker = Worker(Channel(connection, key), Journal(journal), journal, arena)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=worker.disown)
        worker.serve()
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool is gone: nobody is left to tell
    except BaseException:
        if os.getpid() == process:
            sys.excepthook(*sys.exc_info())
    finally:
        if (
            os.getpid() != process
        ):  # a child that a task forked came back from it: the answer is the worker's to give
            _flush_streams()
            os._exit(0)
        _leave(code)


def _guard_signals() -> None:
    """Ctrl-C reaches every process of the terminal; only the caller decides what it means.

    A handler that does nothing, not SIG_IGN: what a task starts with exec gets the default back.
    """
    _signal.signal(_signal.SIGINT, lambda *_: None)
    if hasattr(_signal, "pthread_sigmask"):
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGINT})  # held back until here
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(_signal, name):
            _signal.signal(getattr(_signal, name), _signal.SIG_DFL)


def _leave(code: int) -> None:
    """End without running into what a task has left behind: threads, odd streams."""
    try:
        import atexit

        atexit._run_exitfuncs()
    except BaseException:
        pass
    _flush_streams()
    os._exit(code)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, None, or not a stream any more
            pass


class Worker:
    """The state of one worker: its channel, its journal, the functions it was sent.

    Args:
        channel: where messages come from and results go.
        journal: what survives this process.
        file: what the journal was opened with.
        arena: the file of the pool's arena; -1: it has none.
    """

    def __init__(self, channel: Channel, journal: Journal, file: int | str, arena: int = -1) -> None:
        self.channel = channel
        self.pools_arena = arena
        self.arena: Arena | None = None
        self.journal = journal
        self.file = file
        self.shows_stack = False
        self.memory_limit: int | None = None
        self.definitions: dict[int, memoryview] = {}  # those that are not loaded yet
        self.functions: dict[int, Callable[..., Any] | bytes] = {}
        self.captured: dict[int, Any] = {}  # the globals that a function reads, as they are in the caller
        self.current = 0  # the definition whose globals are in force
        self.ways: dict[int, Way] = {}  # of definitions whose tasks are not just called
        self.watched: set[int] = set()
        self.classes: dict[type, str] = {}  # those that came with definitions: the caller has them
        self.encoder = Encoder(self.classes)
        self.guest: Guest | None = None
        self.kept: list[Message] = []  # came while a task was listening, and was not for it
        self.heritage = b""  # what the caches of the worker held that this one replaces
        self.helpers: Helpers | None = None

    def next_message(self) -> Message | None:
        if self.kept:
            return self.kept.pop(0)
        if self.helpers is not None:
            self.helpers.tell_in_time(self.channel.ready)
        patience = IDLE
        while self.holds() and not self.channel.ready(patience):
            self.rest()  # nothing to do for a while
            patience *= 2
        return self.channel.receive()

    def holds(self) -> bool:
        """Tell whether there is memory that was kept for what may come."""
        shared = sys.modules.get("manyhands.shared.memory")
        return (self.arena is not None and self.arena.total > 0) or (shared is not None and bool(shared.kept))

    def rest(self) -> None:
        """Give back memory that was kept for what may come."""
        if self.arena is not None:
            self.arena.rest()
        shared = sys.modules.get("manyhands.shared.memory")
        if shared is not None:
            shared.kept.clear()

    def serve(self) -> None:
        while (message := self.next_message()) is not None:
            if message.kind == wire.RUN:
                Run(self, message).run()
                if message.flags & SHAPE == FULL:
                    self.channel.look(LOOK)
            elif message.kind == wire.DEFINE:
                self.definitions[message.definition] = message.body
            elif message.kind == wire.FORGET:
                self.functions.pop(message.definition, None)
                self.captured.pop(message.definition, None)
                self.ways.pop(message.definition, None)
                self.definitions.pop(message.definition, None)
            elif message.kind == wire.PATH:
                set_path(*loads(message.body))
            elif message.kind == wire.SETUP:
                if not self.set_up(message.body):
                    return
            elif message.kind == wire.HOST:
                if self.guest is None:
                    from manyhands.engine.guest import Guest

                    self.guest = Guest(self.channel, self.journal)
                self.guest.learn(loads(message.body))
            elif message.kind == wire.COUNT:
                self.count(message.number)
            elif message.kind == wire.STOP:
                self.hand_over(message)
                return

    def hand_over(self, message: Message) -> None:
        """It is time to leave: tell what is of use to whoever comes in this worker's place."""
        if self.helpers is not None and message.flags & REPLACED:
            self.helpers.tell()

    def count(self, question: int) -> None:
        """Say what has been done with the caches of helpers here."""
        counted = b"" if self.helpers is None else self.helpers.packed()
        self.channel.send(wire.COUNTED, [counted], number=question)

    def function(self, number: int) -> Callable[..., Any] | bytes:
        """Return the function of that definition; it is loaded when the first of its tasks is about to begin."""
        if number in self.definitions:
            found = define(self.definitions.pop(number), self.classes)
            self.functions[number], self.captured[number], way, helped = found
            if way is not None:
                self.ways[number] = way
            if helped:
                self.meet_helpers(self.functions[number], None if way is None else way.warm)
        if number != self.current:
            # Its globals too: another definition of the same function may have brought others in the meantime.
            self.current = number
            if self.captured.get(number):
                from manyhands.captured import apply

                try:
                    apply(self.captured[number])
                except BaseException as error:
                    return unloadable(error)
        return self.functions[number]

    def meet_helpers(self, function: Any, entries: int | None) -> None:
        """Have the caches of a function's helpers looked after, and begin with what is there for them."""
        if self.helpers is None:
            from manyhands.engine.helpers import Helpers

            send = self.channel.send
            self.helpers = Helpers(
                lambda counted: send(wire.COUNTED, [counted]), lambda heritage: send(wire.KEEP, [heritage])
            )
        new = self.helpers.meet(function, entries)
        if new and self.heritage:
            # What that does to this process is on no task's account: the chunk is taken for one that has not been read.
            words = self.journal.words
            chunk, words[CHUNK] = words[CHUNK], 0
            self.helpers.fill(new, self.heritage)
            words[CHUNK] = chunk

    def disown(self) -> None:
        """In a process that a task has forked: channel and journal stay the worker's alone."""
        if self.channel.remote is not None:
            self.channel.remote.disown()
        self.channel.close()
        self.journal.close()
        release(self.file)
        if self.guest is not None:
            self.guest.disown()

    def join(self, pools: int, own: int, limit: int) -> None:
        """Take part in the pool's arena, and have one.

        Args:
            pools: the token of the pool's.
            own: the token of this worker's.
            limit: bytes that this worker's may have.
        """
        self.arena = Arena(int(self.file), own, limit, SIZE, owned=False)
        self.encoder = Encoder(self.classes, store=self.arena.store)
        self.channel.peer = Peer(self.journal.by_pool)
        # Mappings that stay would count against a limit on memory.
        windows = WINDOWS if self.memory_limit is None else 0
        self.channel.remote = Remote(self.pools_arena, pools, self.journal.by_worker, windows)

    def show_stack(self) -> None:
        """From now on ``ASK_STACK`` makes this process write where it is into its journal, whatever it is doing."""
        if ASK_STACK and isinstance(self.file, int):
            os.lseek(self.file, TEXT, os.SEEK_SET)
            if not self.shows_stack:
                import faulthandler

                faulthandler.register(ASK_STACK, self.file, all_threads=True, chain=False)
                self.shows_stack = True

    def set_up(self, body: memoryview) -> bool:
        """Take over what the pool says about itself, run the initializer, report; False when that failed."""
        path, key, argv, initializer, self.memory_limit, arenas, self.heritage = loads(body)
        set_path(path, key)
        if arenas is not None:
            self.join(*arenas)
        if argv is not None:
            sys.argv[:] = argv
        if self.memory_limit is not None:
            from manyhands.engine.memory import limit

            limit(self.memory_limit)
        if initializer is not None:
            try:
                from manyhands.engine.initializing import run

                run(initializer, unwrap)
            except BaseException as error:
                from manyhands.transport.errors import pack

                self.channel.send(wire.READY, [pack(error)], flags=REFUSED, number=os.getpid())
                return False
            finally:
                _flush_streams()
        self.channel.send(wire.READY, [], number=os.getpid())
        return True


def set_path(path: list[str], authkey: bytes | None) -> None:
    """Look for modules where the caller does, and talk to its managers."""
    sys.path[:] = path
    if authkey is not None:
        from manyhands.engine.authkey import adopt

        adopt(authkey)


def define(
    body: memoryview, known: dict[type, str]
) -> tuple[Callable[..., Any] | bytes, Any, Way | None, bool]:
    """Build a function from its definition: the function, or the exception for its tasks; its globals; how it is run; whether
    it calls functions with an ``lru_cache``.

    Args:
        body: the definition.
        known: where the classes that come with it are put.
    """
    try:
        target, constants, captured, classes, packed, helped = loads(body)
        for number, blob in classes:
            known[loads(blob)] = number
        function: Callable[..., Any] = unwrap(loads(target))
        if constants is not None:
            from functools import partial

            function = partial(function, **loads(constants))
        if packed is None:
            return function, captured, None, helped
        from manyhands.engine.ways import unpack

        return function, captured, unpack(packed), helped
    except BaseException as error:
        return unloadable(error), None, None, False


def unloadable(error: BaseException) -> bytes:
    """The outcome of every task of a function that the worker could not load."""
    from manyhands.exceptions import ManyhandsError
    from manyhands.transport.errors import pack

    if not isinstance(error, ManyhandsError):  # which says itself what is wrong
        error.add_note(
            "manyhands: a worker could not load the function; it must be importable there, or live in __main__"
        )
    return pack(error)


def unwrap(function: Any) -> Any:
    """The plain function behind one of ours, which pickles by reference to what its module holds: the decorated one."""
    return getattr(function, "__manyhands__", function)


class Run:
    """One chunk being run.

    Args:
        worker: whose chunk it is.
        message: the RUN message.
    """

    def __init__(self, worker: Worker, message: Message) -> None:
        self.worker = worker
        self.message = message
        self.flushed = perf_counter()
        self.sent = message.first  # index of the first result not sent
        self.travel = 0.0  # seconds spent on unpickling and pickling since the last flush
        self.flags = 0

    def run(self) -> None:
        """Run the chunk and send what came of it; the last message says how far it got."""
        message, words = self.message, self.worker.journal.words
        if message.flags & TIMED:
            self.worker.show_stack()
        words[RUNNING] = words[BEGAN] = 0
        words[FIRST] = words[DONE] = message.first
        words[CHUNK] = message.number
        words[RUNNING] = 1  # loading the function may end this process: on the account of the first task
        function = self.worker.function(message.definition)
        if isinstance(function, bytes):
            self.refuse(function)
        elif message.flags & TALKS:
            from manyhands.engine.talking import talking

            with talking(self.worker, message.number):
                self.go(function)
        else:
            self.go(function)
        tally.in_worker = None
        words[RUNNING] = 0
        self.flush(wire.DONE)

    def go(self, function: Callable[..., Any]) -> None:
        """Run the tasks, in the way that came with the function if there is one."""
        message = self.message
        way = self.worker.ways.get(message.definition)
        if way is None:
            self.work(*self.prepare(function))
        else:
            single = message.flags & SHAPE == FULL
            call, items = self.prepare(way.single(function) if single else function)
            self.work(way.chunk(call, None if single else int(message.busy) + message.first), items)

    def refuse(self, failure: bytes) -> None:
        """Give every task the failure of its function."""
        words = self.worker.journal.words
        for index in range(self.message.first, self.message.count):
            if index >= words[LIMIT]:  # as in work()
                break
            self.keep(failure, FAILED_ENTRY)

    def prepare(self, function: Callable[..., Any]) -> tuple[Callable[[Any], Any], Sequence[Any]]:
        """Return the items of the chunk, and what to call with each of them."""
        message, clock = self.message, perf_counter
        shape = message.flags & SHAPE
        if message.flags & BATCH:  # numbers, strings, ...: nothing that opening could do harm
            start = clock()
            items = unplain(message.body)[message.first : message.count]
            self.travel += clock() - start
            return (function if shape == ONE else lambda item: function(*item)), items
        # Each item is a pickle of its own, opened when its turn has come: what opening does is on its account alone.
        ends, data = split(message.body)
        bounds = list(zip([0, *ends], ends, strict=False))[message.first : message.count]
        # Only where there is something to be changed, see ``watching``.
        watch = message.definition not in self.worker.watched
        self.worker.watched.add(message.definition)
        remote, held = self.worker.channel.remote, getattr(message.body.obj, "held", None)

        def call(place: tuple[int, int]) -> Any:
            nonlocal watch
            start = clock()
            if held is not None and remote is not None:
                remote.traces = []
            item = loads(data[place[0] : place[1]])
            maps: list[Any] = []
            if held is not None and remote is not None and remote.traces is not None:
                for slot, made in remote.traces:
                    held.pop(slot, None)  # from here on the item alone holds what it was made from
                    maps.append(made)
                remote.traces = None
            self.travel += clock() - start
            arguments, keywords = item if shape == FULL else (((item,) if shape == ONE else item), {})
            if not watch:
                return function(*arguments, **keywords)
            watch = False
            from manyhands.engine.watching import Watched

            watched = Watched(arguments, maps)
            value = function(*arguments, **keywords)
            if watched.have_changed():
                self.flags |= MUTATED
            return value

        return call, bounds

    def work(self, call: Callable[[Any], Any], items: Sequence[Any]) -> None:
        """Run the tasks one after the other, until the last or the one before which the pool wants a stop."""
        message, journal = self.message, self.worker.journal
        words, ends, data = journal.words, journal.ends, journal.data
        index, last, encode = message.first, message.count, self.worker.encoder.encode
        first, place, eager, clock = index, 0, message.flags & EAGER, perf_counter
        timed = message.flags & TIMED
        parts = tally.Parts()
        tally.in_worker = parts
        if timed:
            words[BEGAN] = monotonic_ns()
        for item in items:
            if index >= words[LIMIT]:  # read after DONE was written, see transport.journal
                break
            try:
                value = call(item)
            except BaseException as error:
                kind, result = FAILED_ENTRY, failure(error, self.worker.memory_limit)
                parts.clear()
            else:
                if parts:
                    start = clock()
                    kind, result = count(value, parts, encode)
                    self.travel += clock() - start
                elif type(value) in ATOMIC and not (type(value) in LONG and len(value) > CAPACITY):
                    kind, result = PLAIN_ENTRY, dumps(value, VERSION)
                else:
                    start = clock()
                    kind, result = package(value, encode)
                    self.travel += clock() - start
            index += 1
            if timed:  # before DONE: who reads both never takes a new task for an old one
                words[BEGAN] = monotonic_ns()
            # keep(), written out: this is the hottest place of the worker
            end = place + len(result)
            if end <= CAPACITY and index - first <= ENTRIES and type(result) is bytes:
                data[place:end] = result
                ends[index - first - 1] = end | kind
                words[DONE] = index
                place = end
            else:
                self.keep(result, kind)
                first = words[FIRST]
                place = ends[index - first - 1] & POSITION if index > first else 0
            if eager and clock() - self.flushed > FLUSH and index < last:
                self.flush(wire.RESULTS)
                first, place = index, 0

    def keep(self, result: bytes, kind: int) -> None:
        """Put one result into the journal, sending what is there first if it does not fit."""
        journal = self.worker.journal
        words = journal.words
        held = words[DONE] - words[FIRST]
        place = journal.ends[held - 1] & POSITION if held else 0
        direct = len(result) > CAPACITY or type(result) is not bytes
        if place + len(result) > CAPACITY or held == ENTRIES or (held and direct):
            self.flush(wire.RESULTS)
            held = place = 0
        if direct:  # too large for the journal, or it is in shared memory, of which the journal knows nothing
            self.send(wire.RESULTS, [(len(result) | kind).to_bytes(8, sys.byteorder), result], 1)
            words[FIRST] += (
                1  # it is not held here; in this order, what was sent is never taken for finished twice
            )
            words[DONE] += 1
            return
        journal.data[place : place + len(result)] = result
        journal.ends[held] = place + len(result) | kind
        words[DONE] += 1

    def flush(self, kind: int) -> None:
        """Send what the journal holds."""
        journal = self.worker.journal
        words = journal.words
        held = words[DONE] - words[FIRST]
        size = journal.ends[held - 1] & POSITION if held else 0
        if held or kind == wire.DONE:
            self.send(kind, [journal.ends[:held].cast("B"), journal.data[:size]], held)
        words[FIRST] = words[DONE]

    def send(self, kind: int, parts: Sequence[Any], count: int) -> None:
        _flush_streams()  # what a task has printed is out before its result is
        now = perf_counter()
        self.worker.channel.send(
            kind,
            parts,
            flags=self.flags,
            number=self.message.number,
            first=self.sent,
            count=count,
            busy=max(0.0, now - self.flushed - self.travel),
            overhead=self.travel,
        )
        self.sent += count
        self.travel = 0.0
        self.flushed = perf_counter()


def failure(error: BaseException, memory_limit: int | None = None) -> bytes:
    """The bytes of an exception that a task raised."""
    if memory_limit is not None and isinstance(error, MemoryError):
        from manyhands.engine.memory import explain

        explain(error, memory_limit)
    from manyhands.transport.errors import pack

    return pack(error, own=OWN)


def package(value: Any, encode: Callable[[Any], bytes]) -> tuple[int, bytes]:
    """The bytes of a result, or of the error that it has none."""
    try:
        return 0, encode(value)
    except BaseException as error:
        from manyhands.transport.refusal import refuse
        from manyhands.transport.serialize import dumps

        return FAILED_ENTRY, failure(refuse(value, "the result", error, dumps))


def count(value: Any, parts: tally.Parts, encode: Callable[[Any], bytes]) -> tuple[int, bytes]:
    """The bytes of a result and of what the task has added, or of the error that one of them has none."""
    from manyhands.transport.outcomes import VALUE, join_counted

    kind, result = package(value, encode)
    if kind == FAILED_ENTRY:
        parts.clear()
        return kind, result
    shares = tally.close(parts)
    try:
        added = encode(shares)
        return COUNTED_ENTRY, leased(join_counted(VALUE, result, added), leases_of((result, added)))
    except BaseException as error:
        from manyhands.transport.refusal import refuse
        from manyhands.transport.serialize import dumps

        what = {name: share for _, name, share in shares}
        return FAILED_ENTRY, failure(refuse(what, "what was added", error, dumps))
