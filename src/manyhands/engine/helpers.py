"""The caches of a worker's helpers: what has been done with them, and what they hold, told to the pool.

::

    worker ──COUNTED: now and then when it has nothing to do, when it is asked, before it leaves──> pool (``counts``)
           ──KEEP: what the caches hold, at the same times, where that is wanted (``warm_cache=``)──> pool
    its replacement <──with what it is set up with─────────────────────────────────────────────────┘

A helper is a function with an ``lru_cache`` that a function calls, itself or through others of its project; ``captured`` finds
them. Nobody counts while they work: an ``lru_cache`` does that itself, and what it had before it came here is taken off.

Only in workers, between tasks; ``worker`` loads it when the first function comes that has helpers.
"""

from __future__ import annotations

from _blake2 import blake2b  # hashlib loads OpenSSL, and the first worker that is forked waits for it
from functools import partial
from time import perf_counter
from weakref import WeakKeyDictionary

from manyhands.captured.reads import cached_helpers
from manyhands.engine.counts import DIGEST, MOST, pack
from manyhands.engine.warming import fill
from manyhands.keys import contents, entries, unmarked
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

    from manyhands.engine.counts import Counted, Name

#: The pool is told at most once in so many seconds, and in so small a part of a worker's time.
PAUSE, PART = 0.1, 0.02
#: So many bytes of entries are told at most, of all helpers together.
LARGEST = 8 << 20
#: After so many seconds with the keys of a cache a worker looks whether there is something to do.
LOOK = 0.000_5


class Helper:
    """One helper's cache in this process.

    Args:
        function: the function with the ``lru_cache``.
    """

    def __init__(self, function: Any) -> None:
        self.most = 0  # so many entries go to who replaces this worker
        self._hits = self._misses = 0
        self._seen = -1  # misses when its keys were looked at last
        self._keys = b""
        self._before: dict[int, Any] = {}
        self.begin(function)

    def begin(self, function: Any) -> None:
        """Count from here: what the cache holds was not computed by this worker."""
        info = function.cache_info()
        self._hits, self._misses, self._seen = info.hits, info.misses, -1
        # By their ids: to have many of them told apart by what they are would take its time, and the first task waits.
        self._before = {id(key): key for key in entries(function)} if info.currsize else {}

    def counted(self, function: Any, busy: Callable[[], object] | None = None) -> tuple[Counted, bool]:
        """Return hits and misses since then, and the keys of what has been computed since then and is there.

        Args:
            function: the function with the cache.
            busy: tells whether there is something else to do: then keys are told as they were found last.

        Returns:
            What was counted, and whether the keys are those of now.
        """
        info = function.cache_info()
        if info.misses != self._seen:
            found = digests(function, self._before, busy)
            if found is not None:
                self._seen, self._keys = info.misses, b"".join(found)
        counted = max(0, info.hits - self._hits), max(0, info.misses - self._misses), self._keys
        return counted, info.misses == self._seen


class Helpers:
    """The caches of one worker's helpers.

    Args:
        count: takes what they have done, packed, for the pool; see ``counts``.
        keep: takes what they hold, packed, for who replaces this worker.
    """

    def __init__(self, count: Callable[[bytes], object], keep: Callable[[bytes], object]) -> None:
        self._count = count
        self._keep = keep
        # Weakly: one that travels by value comes anew with each function that calls it, and goes with it.
        self._helpers: WeakKeyDictionary[Any, tuple[Name, Helper]] = WeakKeyDictionary()
        self._told: list[tuple[int, int]] = []
        self._kept = 0  # misses when it was told last what the caches hold
        self._next = 0.0

    def meet(self, function: Any, most: int | None) -> list[Any]:
        """Have the helpers of a function looked after, and return those that are new and may begin warm.

        Args:
            function: the function.
            most: so many entries of each go to who replaces this worker; None: none.
        """
        new = []
        for lru in cached_helpers(function):
            known = self._helpers.get(lru)
            if known is None:
                known = self._helpers[lru] = named(lru), Helper(lru)
            if most is not None and not known[1].most:
                new.append(lru)
            known[1].most = max(known[1].most, most or 0)
        return new

    def fill(self, new: list[Any], heritage: bytes) -> None:
        """Put entries that another worker had into caches, the oldest first.

        Args:
            new: the helpers.
            heritage: as another worker has told it.
        """
        found: dict[Name, list[bytes]] = loads(heritage)
        for lru in new:
            name, helper = self._helpers[lru]
            if name in found:
                fill(lru, found[name][-helper.most :])
                helper.begin(lru)

    def tell_in_time(self, ready: Callable[[float], object]) -> None:
        """Tell the pool what has changed, if anything has, when it is time and nothing else is to be done.

        Args:
            ready: waits so many seconds for something to do, and tells whether there is.
        """
        while self._figures() != self._told:
            if ready(max(0.0, self._next - perf_counter())) and perf_counter() < self._next:
                return
            self.tell(lambda: ready(0.0))

    def tell(self, busy: Callable[[], object] | None = None) -> None:
        """Tell the pool what has changed, if anything has.

        Args:
            busy: tells whether there is something else to do: what takes long is told when there is not.
        """
        figures, start = self._figures(), perf_counter()
        if figures == self._told:
            return
        packed, complete = self._packed(busy)
        self._told = figures if complete else []
        self._count(packed)
        misses = sum(lru.cache_info().misses for lru, (_, helper) in self._helpers.items() if helper.most)
        if misses != self._kept:
            self._kept = misses
            self._keep(dumps(self._held()))
        end = perf_counter()
        self._next = end + max(PAUSE, (end - start) / PART)

    def packed(self) -> bytes:
        """Return what has been done with the caches, for the pool."""
        return self._packed(None)[0]

    def _packed(self, busy: Callable[[], object] | None) -> tuple[bytes, bool]:
        """What has been done with the caches, and whether that is all."""
        every: dict[Name, Counted] = {}
        complete = True
        for lru, (name, helper) in list(self._helpers.items()):
            try:
                counted, now = helper.counted(lru, busy)
            except Exception:  # a thread of a task's is at it
                continue
            hits, misses, keys = every.get(name, (0, 0, b""))  # it has come by value several times
            every[name] = hits + counted[0], misses + counted[1], keys + counted[2]
            complete = complete and now
        return pack(list(every.items())), complete

    def _figures(self) -> list[tuple[int, int]]:
        return [lru.cache_info()[:2] for lru in list(self._helpers)]

    def _held(self) -> dict[Name, list[bytes]]:
        """The entries that can be pickled, those used last rather than others where they are too many."""
        room, packed = LARGEST, {}
        for lru, (name, helper) in list(self._helpers.items()):
            entries: list[bytes] = []
            try:
                held = contents(lru)[-helper.most :] if helper.most else []
            except Exception:  # a thread of a task's is at it
                continue
            for entry in reversed(held):
                try:
                    frame = dumps(entry)
                except BaseException:  # it stays here
                    continue
                room -= len(frame)
                if room < 0:
                    break
                entries.append(frame)
            packed[name] = entries[::-1]
        return packed


def named(lru: Any) -> Name:
    """Return the module and the name of a helper; of one that has no name itself, as a ``partial``, what is called.

    Args:
        lru: the function with the cache.

    Example:
        >>> from functools import lru_cache, partial
        >>> named(lru_cache(partial(sorted, reverse=True)))
        ('builtins', 'sorted')
    """
    found = lru if hasattr(lru, "__qualname__") else lru.__wrapped__
    while isinstance(found, partial):
        found = found.func
    if not hasattr(found, "__qualname__"):
        found = type(found)
    return str(getattr(found, "__module__", "")), str(found.__qualname__)


def digests(
    lru: Any, before: Container[int] = (), busy: Callable[[], object] | None = None
) -> list[bytes] | None:
    """Return so many bytes for each key that an ``lru_cache`` has an entry of, the same in every process.

    Args:
        lru: the function with the cache.
        before: the ids of keys that do not count.
        busy: tells whether there is something else to do.

    Returns:
        Those of so many keys as are told apart at most; None: there is something else to do.
    """
    found = []
    look = perf_counter() + LOOK
    for key in entries(lru)[-MOST:]:  # those that were there before come first
        if busy is not None and perf_counter() > look:
            if busy():
                return None
            look = perf_counter() + LOOK
        if id(key) in before:
            continue
        try:
            found.append(blake2b(dumps(unmarked(key)), digest_size=DIGEST).digest())
        except Exception:  # it is no other process's key
            continue
    return found
