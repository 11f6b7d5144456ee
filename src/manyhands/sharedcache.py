"""``shared_cache``: a stand-in for ``lru_cache`` whose entries all processes of the program see; with a path, later runs, too.

::

    f(x) ──> what this process has seen ──> the log in shared memory ──> (the file) ──> compute, and append
             (a dictionary)                 (read forward, once)

The **log** is a block of shared memory to which entries are appended: a key and a value, pickled. Each process keeps a
dictionary of what it has read, and reads on from where it was when it does not find a key. What is cleared is noticed by the
generation of the log. With a ``maxsize``, each entry has one of that many **seats**: its number, when it was last used, and its
size; one that is evicted has lost it. Who appends or reads on holds the cache's lock; a hit of what this process has seen takes
no lock that another process could hold, and what it writes, it writes into the seat: should another sit there by now, that one
has been used, as it seems.

**Computed once.** Who computes a key holds one of ``FLIGHTS`` locks, and the key's digest stands beside it. Others who want that
key wait for that lock. It passes on when its holder ends, however it ends: then there is no entry, and the next one computes.
There is a lock for each key that is under way, so that nobody waits but for who computes what he wants.

The object finds its memory in workers because it travels as data: as the address of its memory, which the worker's own object
of that name then takes for its own. Where it did not come along (the method of an argument's class, a name that is computed)
there is a cache for each process, which is as right, and slower.

Source: the two words and the locks that survive their holders are those of ``manyhands.shared``.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import weakref
from hashlib import blake2b
from itertools import chain, compress
from typing import NamedTuple

from manyhands.cache import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.shared import Lock
    from manyhands.shared.memory import Memory

#: So many keys may be under way at a time; more are computed by whoever wants them.
FLIGHTS = 64
#: So many processes have figures of their own.
SLOTS = 512
# The head of the log, in words of 8 bytes.
GENERATION, END, TICK, LIVE, TAKEN, NUMBER, TABLE = 0, 1, 2, 3, 4, 5, 8
COUNTS = TABLE + 2 * FLIGHTS  # two words for the digest of each key that is under way
SEATS = COUNTS + 2 * SLOTS  # two words for each process: hits, misses
HEAD = 32  # before each entry in the log: its number, its seat, and the sizes of its key and its value
#: The log begins with so many bytes, and doubles when it is full.
SIZE = 1 << 18
#: What is lost to evicted entries is made room of when it is more than so many bytes, and than half of the log.
WASTE = 1 << 16


class _Keywords:
    """Stands between arguments and keywords in keys."""


class Info(NamedTuple):
    """What ``cache_info`` shows; as of ``functools.lru_cache``."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


def shared_cache(
    function: Any = None, /, *, maxsize: int | None = 128, typed: bool = False, path: Any = None
) -> Any:
    """Remember what a function returns, for all processes of the program; otherwise as ``functools.lru_cache``.

    Of two processes that want the same key at the same time one computes it, and the other waits; if the one ends before it
    has finished, the other computes it. Exceptions are not kept. What cannot be pickled is kept by the process that
    has computed it, for itself.

    Args:
        function: the function.
        maxsize: so many entries are kept, the most recently used of all processes; None: all.
        typed: arguments of different types are different.
        path: a file that keeps the entries for later runs as well, by the function's source and the arguments: a function
            that was changed computes anew. It is a database of the standard library's ``sqlite3``.

    Returns:
        The function with a cache, and ``cache_info``, ``cache_clear`` and ``cache_parameters``.

    Raises:
        TypeError: what is decorated cannot be called, or ``maxsize`` is no number.

    Example:
        >>> from manyhands import shared_cache
        >>> @shared_cache(maxsize=None)
        ... def square(x):
        ...     return x * x
        >>> square(3), square(3), square.cache_info().hits
        (9, 9, 1)
    """
    if function is not None and not callable(function):
        raise TypeError(
            f"shared_cache needs a function, not {function!r:.60} (a {type(function).__name__}); options are given by name: "
            "@shared_cache(maxsize=1000)"
        )
    if maxsize is not None and (isinstance(maxsize, bool) or not hasattr(maxsize, "__index__")):
        raise TypeError(f"maxsize must be a whole number or None, not {maxsize!r:.60}")
    path = None if path is None else os.path.abspath(os.fsdecode(path))

    def decorate(function: Any) -> SharedCache:
        return SharedCache(function, None if maxsize is None else max(0, maxsize), typed, path)

    return decorate if function is None else decorate(function)


class SharedCache:
    """A function with a cache that processes share; made by ``shared_cache``.

    Args:
        function: the function.
        maxsize: how many entries are kept; None: all.
        typed: arguments of different types are different.
        path: the file that keeps them for later runs, or None.
    """

    def __init__(
        self, function: Callable[..., Any], maxsize: int | None, typed: bool, path: str | None
    ) -> None:
        functools.update_wrapper(self, function)
        # Not in sight of who looks for code: it is data, and travels with those who use it.
        self._function = self.__dict__.pop("__wrapped__")
        self._maxsize = maxsize
        self._typed = typed
        self._path = path
        self._log: Log | None = None
        self._begin()

    def _begin(self) -> None:
        self._seen: dict[Any, tuple[Any, tuple[int, int]]] = {}  # values; the number and seat of the entry
        self._own: dict[Any, Any] = {}  # what cannot be pickled
        self._position = 0
        self._generation = -1
        self._slot = -1
        self._threads = threading.Lock()  # of this process
        _all.add(self)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":
            return self._function
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        from types import MethodType

        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns for these arguments, computed now or before, here or elsewhere."""
        log = self._log or self._shared()
        key = self._key(args, kwargs)
        found = self._seen.get(key)
        if found is not None and log.words[GENERATION] == self._generation and log.use(*found[1]):
            value = found[0]
            if type(value) is not _Unread:
                self._count(log, 0)
                return value
        return self._further(log, key, args, kwargs)

    def cache_info(self) -> Info:
        """Return hits, misses, maxsize and size, over all processes.

        Example:
            >>> shared_cache(abs).cache_info()
            Info(hits=0, misses=0, maxsize=128, currsize=0)
        """
        log = self._log or self._shared()
        counts = log.words[COUNTS : COUNTS + 2 * SLOTS]
        return Info(sum(counts[::2]), sum(counts[1::2]), self._maxsize, log.live())

    def cache_clear(self) -> None:
        """Forget everything, in all processes at once, and in the file.

        Example:
            >>> shared_cache(abs).cache_clear()
        """
        log = self._log or self._shared()
        with log.lock:
            log.clear()
            for index in range(COUNTS, COUNTS + 2 * SLOTS):
                log.words[index] = 0
            if self._path is not None:
                self._file().clear()

    def cache_parameters(self) -> dict[str, Any]:
        """Return ``maxsize`` and ``typed``.

        Example:
            >>> shared_cache(abs).cache_parameters()
            {'maxsize': 128, 'typed': False}
        """
        return {"maxsize": self._maxsize, "typed": self._typed}

    def __reduce__(self) -> Any:
        from manyhands.transport.serialize import named

        log = self._log or self._shared()
        if named(self) is self:
            return _arrived, (self.__module__, self.__qualname__, log)
        return _made, (self._function, self._maxsize, self._typed, self._path, log)

    def __repr__(self) -> str:
        return f"<shared_cache {self.__qualname__}>"

    # looking up

    def _shared(self) -> Log:
        with self._threads:
            if self._log is None:
                self._log = Log.new(self._maxsize)
            return self._log

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (*args, _Keywords, *chain.from_iterable(kwargs.items())) if kwargs else args
        return (*key, *map(type, args), *map(type, kwargs.values())) if self._typed else key

    def _count(self, log: Log, what: int) -> None:
        with self._threads:
            if self._slot < 0:
                self._slot = log.slot()
            log.words[COUNTS + 2 * self._slot + what] += 1

    def _further(self, log: Log, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Look in the log, wait for who computes it, or compute it."""
        if self._maxsize == 0:
            self._count(log, 1)
            return self._function(*args, **kwargs)
        digest = None
        while True:
            with log.lock:
                value = self._look(log, key)
                if value is not MISSING:
                    break
                if digest is None:
                    digest = _digest(key)
                flight, free = log.board(digest)
            if flight is None or free:
                return self._compute(log, key, digest, flight, args, kwargs)
            try:
                with flight.lock:  # until there is an entry, or who computes it has failed or died
                    pass
            except RuntimeError:  # it is this thread: a recursion without end, which Python ends
                return self._compute(log, key, digest, None, args, kwargs)
        self._count(log, 0)
        return value

    def _look(self, log: Log, key: Any) -> Any:
        """Read on, and look for a key; the log's lock is held."""
        self._read(log)
        found = self._seen.get(key)
        if found is not None:
            if log.use(*found[1]):
                return found[0] if type(found[0]) is not _Unread else self._open(log, key, found)
            del self._seen[key]
        return self._own.get(key, MISSING)

    def _read(self, log: Log) -> None:
        """Take in what others have appended since."""
        if log.words[GENERATION] != self._generation:
            self._seen.clear()
            self._own.clear()
            self._position, self._generation = log.start, log.words[GENERATION]
        from manyhands.transport.serialize import loads

        while self._position < log.words[END]:
            place, data, value, self._position = log.entry(self._position)
            if not log.seated(*place):
                continue
            try:
                key = loads(data)
                if self._seen.get(key, (None, None))[1] != place:
                    self._seen[key] = _Unread(value), place
            except Exception:  # a class that is not here, or keys that cannot be compared
                continue
        if self._maxsize is not None and len(self._seen) > 2 * self._maxsize + 64:
            self._seen = {key: found for key, found in self._seen.items() if log.seated(*found[1])}

    def _open(self, log: Log, key: Any, found: tuple[_Unread, tuple[int, int]]) -> Any:
        """Unpickle a value that another process has computed, when it is wanted."""
        from manyhands.transport.serialize import loads

        start, end = found[0].place
        try:
            value = loads(bytes(log.map()[start:end]))
        except Exception:
            return MISSING
        self._seen[key] = value, found[1]
        return value

    def _compute(
        self, log: Log, key: Any, digest: bytes, flight: Flight | None, args: Any, kwargs: Any
    ) -> Any:
        try:
            value = MISSING if self._path is None else self._file().get(key)
            if value is MISSING:
                self._count(log, 1)
                value = self._function(*args, **kwargs)
                if self._path is not None:
                    self._file().put(key, value)
            else:
                self._count(log, 0)
            self._keep(log, key, value)
            return value
        finally:
            if flight is not None:
                with log.lock:
                    log.land(flight)

    def _keep(self, log: Log, key: Any, value: Any) -> None:
        from manyhands.transport.serialize import dumps

        try:
            entry = dumps(key), dumps(value)
        except Exception:  # not for others, then
            if self._maxsize is not None and len(self._own) >= self._maxsize:
                self._own.pop(next(iter(self._own)))
            self._own[key] = value
            return
        with log.lock:
            self._read(log)
            old = self._seen.get(key)
            if old is not None and log.seated(*old[1]):
                return  # somebody was quicker
            try:
                place = log.append(*entry)
            except OSError:  # there is no more shared memory
                self._own[key] = value
                return
            if log.words[GENERATION] != self._generation:  # it was written anew
                self._read(log)
            self._seen[key] = value, place

    def _file(self) -> Any:
        from manyhands.scheduling.entries import Entries

        assert self._path is not None
        return Entries.of(self._path, self._function)

    def _after_fork(self) -> None:
        self._slot = -1
        self._threads = threading.Lock()


class _Unread:
    """A value that was not unpickled yet: where it is."""

    __slots__ = ("place",)

    def __init__(self, place: tuple[int, int]) -> None:
        self.place = place


class Flight:
    """One key that is under way.

    Args:
        number: its place on the board.
        lock: held by who computes it.
    """

    __slots__ = ("lock", "number")

    def __init__(self, number: int, lock: Lock) -> None:
        self.number = number
        self.lock = lock


class Log:
    """The entries, in shared memory; pickled, it is an address.

    Args:
        memory: the memory.
        lock: held by who changes anything but figures and seats.
        flights: a lock for each key that is under way.
        seats: how many entries there may be; None: any number.
    """

    def __init__(self, memory: Memory, lock: Lock, flights: list[Lock], seats: int | None) -> None:
        self.memory = memory
        self.lock = lock
        self.flights = flights
        self.seats = seats
        self.start = 8 * (SEATS + 3 * (seats or 0))
        self.words = memoryview(memory.map).cast("Q")

    @classmethod
    def new(cls, seats: int | None) -> Log:
        from manyhands.shared import Lock
        from manyhands.shared.memory import Memory

        size = SIZE + 24 * (seats or 0)
        log = cls(Memory(-(-size // 4096) * 4096), Lock(), [Lock() for _ in range(FLIGHTS)], seats)
        log.words[END] = log.start
        return log

    def __reduce__(self) -> Any:
        return Log, (self.memory, self.lock, self.flights, self.seats)

    def map(self) -> Any:
        """Return the memory, with all of the log in sight."""
        self._see(self.words[END])
        return self.memory.map

    def _see(self, size: int) -> None:
        if size > self.memory.size:
            room = self.memory.size
            while room < size:
                room *= 2
            self.memory.grow(room)
            self.words = memoryview(self.memory.map).cast("Q")

    def live(self) -> int:
        """How many entries there are; taken from the seats, where there are any, as a sum could be left half-way by a kill."""
        return self.words[LIVE] if self.seats is None else self.seats - self._column(0).count(0)

    def seated(self, number: int, seat: int) -> bool:
        """Tell whether an entry of this generation is still there."""
        return self.seats is None or self.words[seat] == number

    def use(self, number: int, seat: int) -> bool:
        """Note that an entry is used now; False: it is there no more."""
        if self.seats is None:
            return True
        words = self.words
        if words[seat] != number:
            return False
        words[TICK] = words[seat + 1] = words[TICK] + 1
        return True

    def slot(self) -> int:
        """Return a place for the figures of a process; the last one is shared by all that come too late."""
        with self.lock:
            slot = self.words[TAKEN]
            self.words[TAKEN] = min(slot + 1, SLOTS - 1)
            return slot

    # the rest is for who holds the lock

    def entry(self, offset: int) -> tuple[tuple[int, int], bytes, tuple[int, int], int]:
        """Return an entry's number and seat, its key's bytes, where those of its value are, and where the next entry is."""
        view = self.map()
        first = offset >> 3
        number, seat, size, more = self.words[first : first + 4]
        start = offset + HEAD
        end = start + size + more
        return (number, seat), bytes(view[start : start + size]), (start + size, end), -(-end // 8) * 8

    def append(self, key: bytes, value: bytes) -> tuple[int, int]:
        """Add an entry, and return its number and seat."""
        words = self.words
        seat = 0 if self.seats is None else self._seat()
        number = words[NUMBER] = words[NUMBER] + 1
        self._write(number, seat, key, value)
        words = self.words
        if self.seats is not None:
            words[TICK] = words[TICK] + 1
            words[seat], words[seat + 1], words[seat + 2] = number, words[TICK], len(key) + len(value) + HEAD
        else:
            words[LIVE] += 1
        return number, seat

    def _write(self, number: int, seat: int, key: bytes, value: bytes) -> None:
        offset = self.words[END]
        start = offset + HEAD
        middle, end = start + len(key), start + len(key) + len(value)
        after = -(-end // 8) * 8
        self._see(after)
        words, view, first = self.words, self.memory.map, offset >> 3
        view[start:middle], view[middle:end] = key, value
        words[first], words[first + 1], words[first + 2], words[first + 3] = (
            number,
            seat,
            len(key),
            len(value),
        )
        words[END] = after  # last: who dies before has written nothing

    def _seat(self) -> int:
        """Return a free seat, that of the entry that was not used for the longest time if there is no other."""
        numbers, uses, sizes = (self._column(place) for place in range(3))
        if self.words[END] - self.start > 2 * sum(compress(sizes, numbers)) + WASTE:
            self._write_anew()
        if 0 in numbers:
            return SEATS + 3 * numbers.index(0)
        seat = SEATS + 3 * uses.index(min(uses))
        self.words[seat] = 0
        return seat

    def _column(self, place: int) -> list[int]:
        """What all seats have in that place: the number of the entry, 0 where there is none; when it was used; its size."""
        assert self.seats is not None
        return self.words[SEATS + place : SEATS + 3 * self.seats : 3].tolist()

    def _write_anew(self) -> None:
        """Leave out the entries that were evicted."""
        kept, offset = [], self.start
        while offset < self.words[END]:
            place, key, (start, end), offset = self.entry(offset)
            if self.seated(*place):
                kept.append((place, key, bytes(self.memory.map[start:end])))
        self.words[GENERATION] += 1
        self.words[END] = self.start
        for (number, seat), key, value in kept:
            self._write(number, seat, key, value)

    def clear(self) -> None:
        words = self.words
        words[GENERATION] += 1  # first: nobody takes what comes now for what was there
        words[END] = self.start
        words[LIVE] = 0
        for seat in range(SEATS, SEATS + 3 * (self.seats or 0), 3):
            words[seat] = 0

    def board(self, digest: bytes) -> tuple[Flight | None, bool]:
        """Return the flight of a key, and whether this thread has it; None: all are taken."""
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        words = self.words
        for number in range(FLIGHTS):
            place = TABLE + 2 * number
            if words[place] == first and words[place + 1] == second:
                # If nobody holds it, who has computed it has died.
                return Flight(number, self.flights[number]), _idle(self.flights[number])
        # Those beside which a key stands, and that nobody holds, were left by the dead.
        for number in sorted(range(FLIGHTS), key=lambda number: words[TABLE + 2 * number] != 0):
            if _idle(self.flights[number]):
                words[TABLE + 2 * number], words[TABLE + 2 * number + 1] = first, second
                return Flight(number, self.flights[number]), True
        return None, False

    def land(self, flight: Flight) -> None:
        self.words[TABLE + 2 * flight.number] = self.words[TABLE + 2 * flight.number + 1] = 0
        flight.lock.release()


def _idle(lock: Lock) -> bool:
    """Take a lock if nobody has it; this thread may have it, as functions call each other."""
    try:
        return lock.acquire(blocking=False)
    except RuntimeError:
        return False


def _digest(key: Any) -> bytes:
    """What tells keys apart while they are under way, in all processes."""
    from manyhands.transport.serialize import dumps

    try:
        data = dumps(key)
    except Exception:
        data = repr((os.getpid(), hash(key))).encode()
    return blake2b(data, digest_size=16).digest()


def _arrived(module: str, name: str, log: Log) -> SharedCache:
    """In another process: the object of that name takes the memory for its own."""
    found: Any = sys.modules.get(module) or __import__(module, fromlist=("",))
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, SharedCache)
    return _attached(found, log)


def _made(function: Any, maxsize: int | None, typed: bool, path: str | None, log: Log) -> SharedCache:
    """In another process: the object that has that memory, or a new one."""
    for known in list(_all):
        if known._log is not None and known._log.memory is log.memory:
            return known
    return _attached(SharedCache(function, maxsize, typed, path), log)


def _attached(cache: SharedCache, log: Log) -> SharedCache:
    if cache._log is None or cache._log.memory is not log.memory:
        cache._begin()
        cache._log = log
    return cache


_all: weakref.WeakSet[SharedCache] = weakref.WeakSet()


def _let_go() -> None:
    """At the end of the program, as long as there is a world in which memory can be closed."""
    for cache in list(_all):
        cache._log = None


atexit.register(_let_go)


def _after_fork_in_child() -> None:
    for cache in list(_all):
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
