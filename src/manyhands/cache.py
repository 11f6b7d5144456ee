"""The one cache of a function that has an ``lru_cache``: noticed, kept in the caller's process, fed with what workers compute.

A function with ``functools.lru_cache`` that moved to processes as it is would have a cache in each of them: every key computed
once per process, and figures that nobody sees. So the cache is taken out. What a worker runs is the function *inside* of it
(``bare``); the caller has an ``lru_cache`` like it, with the same ``maxsize`` and ``typed``, and all calls go through that one::

    f(x) ─────────────────────> lru_cache ──miss──> the function inside, here
    results, in their order ──> lru_cache ──miss──> "what the worker has computed"   (Cache.answered)

That second line is what makes the figures those of the loop: when results are handed out, each call is made once more, to the
real ``lru_cache`` and in the order of the loop; where it misses it is given the answer instead of computing it. So hits, misses,
evictions and the order of use come from the one implementation that decides what is right, and direct calls are as quick as ever.

What the cache knows is looked up without touching it (to look it up through the cache would change the order of use); ``keys``
says how. Where that does not work, answers of earlier calls are computed again, and nothing else is different.

``decorated`` asks for caches, ``scheduling.caching`` has what a call does with one.
"""

from __future__ import annotations

import _thread
import functools
import os
import weakref
from itertools import chain, count
from types import MethodType

from manyhands.keys import FAST, make_key, mark, readable, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Answer = Callable[[tuple[Any, ...], dict[str, Any]], Any]

#: No value.
MISSING: Any = object()
#: What ``lru_cache`` makes of a function.
Wrapper: Any = functools._lru_cache_wrapper


class Missing(Exception):  # noqa: N818 - nothing has gone wrong
    """The cache has no answer, and was not to compute one."""


class Cache:
    """The one cache of a function, in this process.

    Args:
        root: the function as it was decorated, not bound to anything.
        original: the ``lru_cache`` that is found in it.

    Example:
        >>> @functools.lru_cache(maxsize=2)
        ... def double(x):
        ...     return 2 * x
        >>> cache = Cache(double, double)
        >>> cache.lru(3), cache.lru(3), cache.info().hits
        (6, 6, 1)
    """

    def __init__(self, root: Any, original: Any) -> None:
        parameters = original.cache_parameters()
        self.maxsize: int | None = parameters["maxsize"]
        self.typed: bool = parameters["typed"]
        self.inner: Any = original.__wrapped__ if root is original else root
        #: What other decorators have below them, and so what is computed here goes through.
        self._below: Any = None if root is original else original
        #: Another number whenever it is emptied: workers that hear of it empty what they have, too.
        self.generation = 0
        #: Single calls that are under way, by key, with those that wait for the same.
        self.flying: dict[Any, list[Any]] = {}
        self.lock = _thread.RLock()
        self._answers: dict[int, Answer] = {}  # of threads that have answers to give
        self._answered = self._probed = (
            0  # misses that computed nothing here; those that are no misses at all
        )
        self._computed: dict[int, int] = {}  # in other processes, by their ids
        inner, answers, me = computing(self.inner), self._answers, _thread.get_ident

        def compute(*args: Any, **kwargs: Any) -> Any:
            if answers and me() in answers:
                return answers[me()](args, kwargs)
            return inner(*args, **kwargs)

        _all.add(self)
        #: What calls go through.
        self.lru: Any = functools.lru_cache(self.maxsize, self.typed)(functools.wraps(self.inner)(compute))

    # figures

    def info(self) -> Any:
        """Return hits, misses, maxsize and size, as ``lru_cache`` shows them."""
        found = self.lru.cache_info()
        return type(found)(found.hits, max(0, found.misses - self._probed), self.maxsize, found.currsize)

    def computed(self) -> dict[int, int]:
        """Return how often each process has really run the function, by process id."""
        with self.lock:
            found, me = dict(self._computed), os.getpid()
            here = self.lru.cache_info().misses - self._probed - self._answered + found.pop(me, 0)
            return {me: here, **found} if here > 0 else found

    def ran(self, process: int, count: int) -> None:
        """So many answers were computed in a process."""
        with self.lock:
            self._computed[process] = self._computed.get(process, 0) + count

    def clear(self) -> None:
        """Forget everything, here and in workers."""
        with self.lock:
            self.generation = next(_emptied)
            self.lru.cache_clear()
            if self._below is not None:
                self._below.cache_clear()
            self._answered = self._probed = 0
            self._computed.clear()

    # answers

    def answered(self, answer: Answer, run: Callable[[], Any]) -> Any:
        """Make calls to the cache in which misses are answered instead of computed.

        Args:
            answer: gives the answer of a miss, or raises what the function did; ``Missing``: then it was no miss at all.
            run: makes the calls, in this thread.
        """
        ident, count, probed = _thread.get_ident(), 0, 0

        def counted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal count, probed
            try:
                value = answer(args, kwargs)
            except Missing:
                probed += 1
                raise
            except BaseException:
                count += 1
                raise
            count += 1
            return value

        before = self._answers.get(ident)
        self._answers[ident] = counted
        try:
            return run()
        finally:
            if before is None:
                del self._answers[ident]
            else:
                self._answers[ident] = before
            if count or probed:
                with self.lock:
                    self._answered += count
                    self._probed += probed

    def probe(self, run: Callable[[], Any]) -> Any:
        """Make calls to the cache up to the first that it has no answer for; hits count, that one does not.

        Args:
            run: makes the calls, in this thread.

        Raises:
            Missing: it has no answer.
        """
        return self.answered(_refuse, run)

    def ask(self, call: Callable[[], Any]) -> Any:
        """Return what a call gives if the cache has it, else ``MISSING``; a hit counts, a miss does not."""
        try:
            return self.probe(call)
        except Missing:
            return MISSING

    def tell(self, value: Any, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call whose answer is there already.

        Args:
            value: the answer.
            call: makes the call to the cache.
            *args: its arguments.
        """
        answers, ident = self._answers, _thread.get_ident()
        before = answers.get(ident)

        def answer(*_: Any) -> Any:
            with self.lock:
                self._answered += 1
            return value

        answers[ident] = answer
        try:
            return call(*args)
        finally:
            if before is None:
                del answers[ident]
            else:
                answers[ident] = before

    def tell_failed(self, call: Callable[[], Any]) -> None:
        """Make a call that has failed: a miss, and nothing to keep."""
        try:
            self.answered(_fail, call)
        except Exception:  # of _fail, or what lru_cache itself says of the arguments
            pass

    def known(self) -> dict[Any, Any]:
        """Return what the cache knows, by key, the oldest first; without a ``maxsize`` its own table: not to be changed."""
        return table(self.lru)[0] if self.maxsize != 0 and readable() else {}

    def sent(self, function: Any) -> Any:
        """Return what goes to workers in place of a function: it arrives there without its ``lru_cache``.

        Args:
            function: what a worker finds by name, or the function itself.
        """
        from manyhands.transport.serialize import named

        found = named(function)
        if found is function or isinstance(function, MethodType):
            return Bare(function, self.generation)
        plain = computing(bare(function))
        return Anew(plain, self.generation) if self.generation else plain

    def computing(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what calls the function here, and has it compute; see the function of that name.

        Args:
            call: calls the function with an item.
        """
        below = self._below
        if below is None or not evicts(below):
            return call

        def compute(item: Any) -> Any:
            below.cache_clear()
            return call(item)

        return compute

    # keys

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the key of a call, equal for the calls for which ``lru_cache`` finds the same entry.

        Args:
            args: positional arguments.
            kwargs: keyword arguments, in their order.
        """
        return make_key(args, kwargs, typed=self.typed, mark=mark() if kwargs else None)

    def keys(
        self, items: Sequence[Any], before: tuple[Any, ...], constants: dict[str, Any], shape: int
    ) -> Iterator[Any]:
        """Yield the key of each item of a call; in place of one that has none, an ``Unhashable``.

        Args:
            items: the items.
            before: what comes before them: the instance of a method.
            constants: keywords that are the same for all.
            shape: 0: an item is an argument, 1: a tuple of arguments.
        """
        if self.typed or shape or before:
            for item in items:
                try:
                    yield self.key((*before, *item) if shape else (*before, item), constants)
                except Exception as error:  # an item of starmap that is none
                    yield Unhashable(error)
        elif constants:
            after = (mark(), *chain.from_iterable(constants.items()))
            for item in items:
                yield (item, *after)
        else:
            yield from [item if type(item) in FAST else (item,) for item in items]


class Unhashable:
    """Stands for the key of arguments that have none.

    Args:
        error: what they raise.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __hash__(self) -> int:
        raise self.error


def _refuse(*_: Any) -> Any:
    raise Missing


def _fail(*_: Any) -> Any:
    raise ValueError


# functions


def root_of(function: Any) -> Any:
    """Return a function without what binds it."""
    return (
        root_of(function.__func__)
        if isinstance(function, (MethodType, staticmethod, classmethod))
        else function
    )


def find(function: Any) -> Any:
    """Return the ``lru_cache`` that a function has, at the top or under other decorators, or None.

    Example:
        >>> find(functools.partial(functools.cache(abs))) is not None, find(abs)
        (True, None)
    """
    for _ in range(100):
        if isinstance(function, Wrapper) or function is None:
            return function
        if isinstance(function, (MethodType, staticmethod, classmethod)):
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        else:
            try:
                function = vars(function).get("__wrapped__")
            except TypeError:
                return None
    return None


_caches: weakref.WeakKeyDictionary[Any, Cache] = weakref.WeakKeyDictionary()
_emptied = count(1)  # no number twice: functions with caches of their own may have a lru_cache in common
_all: weakref.WeakSet[Cache] = weakref.WeakSet()
_lock = _thread.allocate_lock()


def cache_of(function: Any) -> Cache | None:
    """Return the cache of a function that has an ``lru_cache``, or None; the same one for the same ``lru_cache``."""
    original = find(function)
    if original is None:
        return None
    root = root_of(function)
    if root is not original:
        return Cache(root, original)
    with _lock:
        cache = _caches.get(original)
        if cache is None:
            cache = _caches[original] = Cache(root, original)
        return cache


def through(cache: Cache, function: Any) -> Any:
    """Return what to call in place of a function: its cache, bound to what it is bound to."""
    return _bound(function, cache.lru)


def bare(function: Any) -> Any:
    """Return a function without its ``lru_cache``, where that is at the top; bound to what it is bound to."""
    root = root_of(getattr(function, "__manyhands__", function))
    return _bound(
        getattr(function, "__manyhands__", function), root.__wrapped__ if isinstance(root, Wrapper) else root
    )


def _bound(function: Any, to_bind: Any) -> Any:
    if isinstance(function, MethodType):
        return MethodType(to_bind, function.__self__)
    return function if isinstance(function, classmethod) else to_bind


def computing(function: Any) -> Any:
    """Return what computes whenever it is called, for a function that may have an ``lru_cache`` below other decorators.

    That one is not asked as often as in the loop, so it does not evict what it would there. Without a ``maxsize``, all that it
    has would be a hit in the loop as well.

    Args:
        function: the function, without an ``lru_cache`` at the top.
    """
    below = find(function)
    return (
        _bound(function, Computing(root_of(function), below))
        if below is not None and evicts(below)
        else function
    )


def evicts(cached: Any) -> bool:
    """Tell whether an ``lru_cache`` evicts entries.

    Args:
        cached: the function with the cache.
    """
    return bool(cached.cache_parameters()["maxsize"])


class Computing:
    """A function that has an ``lru_cache`` below other decorators, and computes whatever that has.

    Args:
        function: the function.
        below: the ``lru_cache``.
    """

    def __init__(self, function: Any, below: Any) -> None:
        self.__wrapped__ = function
        self._below = below
        self.__qualname__ = getattr(function, "__qualname__", type(function).__name__)
        self.__module__ = getattr(function, "__module__", __name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._below.cache_clear()
        return self.__wrapped__(*args, **kwargs)


class Bare:
    """What is sent in place of a function: it arrives without its ``lru_cache``.

    Args:
        function: what a worker finds by name, or the function itself.
        generation: of the cache.
    """

    def __init__(self, function: Any, generation: int) -> None:
        self.referred = function
        self._generation = generation
        self.__qualname__ = getattr(function, "__qualname__", type(function).__name__)

    @property
    def __manyhands__(self) -> Any:
        return computing(bare(self.referred))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return computing(bare(self.referred))(*args, **kwargs)

    def __reduce__(self) -> Any:
        return _arrived, (self.referred, self._generation)


class Anew:
    """What is sent in place of a function that travels by value, when its cache was emptied: workers are sent it once more.

    So they have none of what has gathered in caches that came with it.

    Args:
        function: the function.
        generation: of the cache.
    """

    def __init__(self, function: Any, generation: int) -> None:
        self.__manyhands__ = function
        self._generation = generation
        self.__qualname__ = getattr(function, "__qualname__", type(function).__name__)

    def __reduce__(self) -> Any:
        return _anew, (self.__manyhands__, self._generation)


def _anew(function: Any, _: int) -> Any:
    return function


_generations: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def _arrived(function: Any, generation: int) -> Bare:
    """In a worker. What has gathered here, in calls that tasks have made, goes when the caller's cache was emptied."""
    original = find(getattr(function, "__manyhands__", function))
    if original is not None and _generations.get(original, 0) != generation:
        _generations[original] = generation
        original.cache_clear()
        memory = getattr(function, "_memory", None)
        cache = _caches.get(original) if memory is None else memory.cache
        if cache is not None:
            cache.lru.cache_clear()
    return Bare(function, generation)


def _after_fork_in_child() -> None:
    global _lock
    _lock = _thread.allocate_lock()
    for cache in list(_all):
        cache.lock = _thread.RLock()
        cache._answers.clear()
        cache.flying.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
