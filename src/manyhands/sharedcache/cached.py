"""The object that ``shared_cache`` makes of a function: what this process has seen, and how it looks for the rest.

Each process has a dictionary of the entries that it has read in the log, by key: keys of other processes are unpickled, and found
by their hash in this process and by ``==``, as everywhere. A hit takes no lock that another process could hold, and what it
writes, it writes into the entry's seat: should another sit there by now, that one has been used, as it seems.

The object finds its memory in workers because it travels as data: as the address of its memory, which the worker's own object
of that name then takes for its own. Where it did not come along (the method of an argument's class, a name that is computed)
there is a cache for each process, which is as right, and slower.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import weakref
from hashlib import blake2b
from typing import NamedTuple

from manyhands.cache import MISSING
from manyhands.keys import canonical, make_key, refusal
from manyhands.sharedcache.log import CLEARED, COUNTS, END, GENERATION, SLOTS, Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.sharedcache.file import Entries
    from manyhands.sharedcache.log import Flight


class Info(NamedTuple):
    """What ``cache_info`` shows; as of ``functools.lru_cache``."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


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
        self._generation = self._cleared = -1
        self._slot = -1
        self._entries: Entries | None = None  # the file, once it is open
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
        if self._maxsize == 0:  # there are no keys
            self._count(log, 1)
            return self._function(*args, **kwargs)
        key = make_key(args, kwargs, typed=self._typed)
        try:
            found = self._seen.get(key)
        except Exception as error:  # the arguments have no key
            raise refusal(key, error) from None
        if found is not None and log.words[GENERATION] == self._generation and log.use(*found[1]):
            value = found[0]
            if type(value) is not _Unread:
                self._count(log, 0)
                return value
        return self._further(log, key, args, kwargs)

    def cache_info(self) -> Info:
        """Return hits, misses, maxsize and size, over all processes.

        Example:
            >>> from manyhands import shared_cache
            >>> shared_cache(abs).cache_info()
            Info(hits=0, misses=0, maxsize=128, currsize=0)
        """
        log = self._log or self._shared()
        counts = log.words[COUNTS : COUNTS + 2 * SLOTS]
        return Info(sum(counts[::2]), sum(counts[1::2]), self._maxsize, log.live())

    def cache_clear(self) -> None:
        """Forget everything, in all processes at once, and in the file.

        Example:
            >>> from manyhands import shared_cache
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
            >>> from manyhands import shared_cache
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

    def _count(self, log: Log, what: int) -> None:
        with self._threads:
            if self._slot < 0:
                self._slot = log.slot()
            log.words[COUNTS + 2 * self._slot + what] += 1

    def _further(self, log: Log, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Look in the log, wait for who computes it, or compute it."""
        digest = None
        mine: list[int] = []
        while True:
            with log.lock:
                value = self._look(log, key)
                if value is not MISSING:
                    break
                if digest is None:
                    digest = _digest(key)
                flight, free = log.board(digest)
                if flight is not None and not free:
                    try:
                        mine = log.waits_for(flight)
                    except RuntimeError:  # a recursion without end, which Python ends
                        flight, free = None, True
            if flight is None or free:
                return self._compute(log, key, digest, flight, args, kwargs)
            try:
                flight.wait()  # until there is an entry, or who computes it has failed or died
            finally:
                log.go_on(mine)
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
        value = self._own.pop(key, MISSING)
        if value is not MISSING:
            self._own[key] = value  # it is the last to go
        return value

    def _read(self, log: Log) -> None:
        """Take in what others have appended since."""
        words = log.words
        if words[GENERATION] != self._generation:
            if words[CLEARED] != self._cleared:
                self._seen = {}
                self._own.clear()
            else:  # written anew: what was read is still what it was
                self._seen = {
                    key: found
                    for key, found in self._seen.items()
                    if type(found[0]) is not _Unread and log.seated(*found[1])
                }
            self._position, self._generation, self._cleared = log.start, words[GENERATION], words[CLEARED]
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
            self._seen[key] = value, place
            if log.words[GENERATION] != self._generation:  # it was written anew
                self._read(log)
            self._position = log.words[
                END
            ]  # past this entry: its key is here, and another object would be another not-a-number

    def _file(self) -> Entries:
        assert self._path is not None
        if self._entries is None:
            from manyhands.sharedcache.file import Entries

            self._entries = Entries(self._path, self._function)
        return self._entries

    def _after_fork(self) -> None:
        if self._entries is not None:  # its parent's: not to be closed, nor used
            _inherited.append(self._entries)
            self._entries = None
        self._slot = -1
        self._threads = threading.Lock()


class _Unread:
    """A value that was not unpickled yet: where it is."""

    __slots__ = ("place",)

    def __init__(self, place: tuple[int, int]) -> None:
        self.place = place


def _digest(key: Any) -> bytes:
    """What tells keys apart while they are under way, in all processes; equal for equal keys, as far as that can be seen."""
    from manyhands.transport.serialize import dumps

    try:
        data = canonical(key, dumps)
    except Exception:
        data = None
    if data is None:  # this process's own
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
            known._function = function  # with the globals of now
            return known
    return _attached(SharedCache(function, maxsize, typed, path), log)


def _attached(cache: SharedCache, log: Log) -> SharedCache:
    if cache._log is None or cache._log.memory is not log.memory:
        cache._begin()
        cache._log = log
    return cache


_all: weakref.WeakSet[SharedCache] = weakref.WeakSet()
_inherited: list[Entries] = []


def _let_go() -> None:
    """At the end of the program, as long as there is a world in which memory can be closed."""
    for cache in list(_all):
        cache._log = None
        if cache._entries is not None:
            cache._entries.close()


atexit.register(_let_go)


def _after_fork_in_child() -> None:
    for cache in list(_all):
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
