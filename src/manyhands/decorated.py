"""What decorated functions have in common: their options, how they are bound to instances, and how they are pickled.

``functions`` (``parallel_map``) and ``tasks`` (``process_task``) build on it. Lean on purpose: it is loaded by
``import manyhands``.
"""

from __future__ import annotations

import sys
from itertools import count

from manyhands import options as options_module
from manyhands.naming import take_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from manyhands.cache import Cache
    from manyhands.options import Options

else:  # loading typing costs more than the rest of the package

    class Generic:
        """Subscripts, and nothing else."""

        __class_getitem__ = classmethod(type(list[int]))


#: What functions call to end a process, by their names in ``os``, ``signal``, ``ctypes`` and ``faulthandler``.
DEADLY = frozenset(
    {"_exit", "abort", "kill", "killpg", "raise_signal", "pthread_kill", "string_at", "_sigsegv"}
)


class Memory:
    """What is remembered of a function from call to call, shared by its copies with other options.

    Args:
        function: the function.
    """

    __slots__ = ("cache", "cost", "deadly", "initialized", "warned")

    def __init__(self, function: Any) -> None:
        self.cost: float | None = None
        self.warned = False
        self.initialized = False
        #: Of a function that has an ``lru_cache``.
        self.cache: Cache | None = None
        if _may_be_cached(function):
            from manyhands.cache import cache_of

            self.cache = cache_of(function)
        code = getattr(getattr(function, "func", function), "__code__", None)
        if code is None and self.cache is not None:
            code = getattr(self.cache.inner, "__code__", None)
        self.deadly = _may_end_process(code)


class Decorated:
    """A function with options.

    Args:
        function: the function.
        changes: the options that were given, over the defaults.
    """

    __wrapped__: Any
    #: The states that the function is given, as attributes; only where ``shared_state`` has given it some.
    state: Any

    def __init__(
        self, function: Callable[..., Any], changes: dict[str, Any] | None = None, _memory: Memory | None = None
    ) -> None:  # fmt: skip
        self.__wrapped__ = function
        self._changes = changes or {}
        self._memory = _memory or Memory(function)
        #: What a call in this process calls: the function, or the cache that it has.
        self._function = function
        if self._memory.cache is not None and self._changes.get("cache", options_module.defaults().cache):
            from manyhands.cache import through

            self._function = through(self._memory.cache, function)
        self._resolved: tuple[Options, Options] | None = None
        self._submitted = count()  # where there is a seed, for the random streams of single tasks
        take_names(self, function)
        state = getattr(function, "__manyhands_state__", None)
        if state is not None:
            self.state = state
        if hasattr(function, "__code__"):  # what was put onto the function, as functools.wraps takes it over
            for name, value in getattr(function, "__dict__", {}).items():
                if not hasattr(self, name):
                    self.__dict__[name] = value

    @property
    def __manyhands__(self) -> Any:
        """The plain function, for workers, which find this object under the function's name."""
        return self.__wrapped__

    @property
    def settings(self) -> Options:
        """The options in force; the defaults, as ``configure`` left them, with this function's own over them.

        Example:
            >>> Decorated(abs, {"chunksize": 5}).settings.chunksize
            5
        """
        defaults = options_module.defaults()
        if self._resolved is None or self._resolved[0] is not defaults:
            self._resolved = (defaults, defaults.changed(self._changes))
        return self._resolved[1]

    def _here(self) -> bool:
        """Whether calls run right here: for debugging, or because this is a worker already, and they ask for no limits."""
        settings = self.settings
        return settings.backend == "serial" or (inside_worker() and not settings.limited)

    def _with(self, changes: dict[str, Any]) -> Self:
        """A copy with other options."""
        return type(self)(self.__wrapped__, {**self._changes, **changes}, self._memory)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind to an instance, or pass through, exactly as the wrapped function would."""
        bind = getattr(type(self.__wrapped__), "__get__", None)
        if bind is None:
            return self
        bound = bind(self.__wrapped__, instance, owner)
        if bound is self.__wrapped__:
            return self
        return type(self)(bound, self._changes, self._memory)

    def __set_name__(self, owner: type, name: str) -> None:
        notify = getattr(self.__wrapped__, "__set_name__", None)
        if notify is not None:
            notify(owner, name)

    def __reduce__(self) -> Any:
        original = self._original()
        if original is self:
            return self.__qualname__  # type: ignore[attr-defined]
        if original is not None:
            return _copy, (original, self._changes)
        return _restore, (type(self), self.__wrapped__, self._changes)

    def _name(self) -> str:
        return getattr(self, "__qualname__", None) or type(self.__wrapped__).__name__

    def _original(self) -> Decorated | None:
        """What a worker finds under this function's name: this object, or the one it is a copy of; else None."""
        from manyhands.transport.serialize import named

        found: object = named(self)
        if found is self:
            return self
        if isinstance(found, Decorated) and found.__wrapped__ is self.__wrapped__ and named(found) is found:
            return found
        return None

    def _shipped(self) -> Any:
        """What goes to the workers: what they find by name, or else the function itself."""
        shipped: Any = self._original() or self.__wrapped__
        cache = self._cache()
        sent = shipped if cache is None else cache.sent(shipped)
        if "state" not in vars(self) or shipped is self.__wrapped__:
            return sent
        from functools import partial

        # The states of this process, not of what the worker has imported.
        return partial(sent, **vars(self.state))

    def _cache(self) -> Cache | None:
        """The one cache of the function, if it has one and the options leave it on."""
        cache = self._memory.cache
        return cache if cache is not None and self.settings.cache else None

    def _plain(self) -> Any:
        """What a task calls: the function, without its cache if the caller's is asked in its place."""
        if self._cache() is None:
            return self.__wrapped__
        from manyhands.cache import bare

        return bare(self.__wrapped__)

    # the cache

    def cache_info(self, *, per_worker: bool = False) -> Any:
        """Return hits, misses, maxsize and size of the function's ``lru_cache``, as a loop would show them after the same calls.

        Args:
            per_worker: return what each process has really done in place of that.

        Returns:
            The named tuple of ``functools.lru_cache``; or how often the function has run, by process id.

        Raises:
            AttributeError: the function has no ``lru_cache``, or ``cache=False``.

        Example:
            >>> import functools
            >>> from manyhands import parallel_map
            >>> @parallel_map
            ... @functools.cache
            ... def double(x: int) -> int:
            ...     return 2 * x
            >>> double.map([1, 2, 1, 1])
            [2, 4, 2, 2]
            >>> double.cache_info()
            CacheInfo(hits=2, misses=2, maxsize=None, currsize=2)
            >>> sum(double.cache_info(per_worker=True).values())
            2
        """
        cache = self._needs_cache("cache_info")
        return cache.computed() if per_worker else cache.info()

    def cache_clear(self) -> None:
        """Empty the function's ``lru_cache``, and what has gathered in workers, and set the figures to zero.

        Raises:
            AttributeError: the function has no ``lru_cache``, or ``cache=False``.

        Example:
            >>> import functools
            >>> from manyhands import parallel_map
            >>> double = parallel_map(functools.lru_cache(lambda x: 2 * x))
            >>> double(1), double.cache_info().currsize
            (2, 1)
            >>> double.cache_clear()
            >>> double.cache_info().currsize
            0
        """
        self._needs_cache("cache_clear").clear()

    def cache_parameters(self) -> dict[str, Any]:
        """Return ``maxsize`` and ``typed`` of the function's ``lru_cache``.

        Raises:
            AttributeError: the function has no ``lru_cache``, or ``cache=False``.

        Example:
            >>> import functools
            >>> from manyhands import parallel_map
            >>> parallel_map(functools.lru_cache(maxsize=10)(abs)).cache_parameters()
            {'maxsize': 10, 'typed': False}
        """
        cache = self._needs_cache("cache_parameters")
        return {"maxsize": cache.maxsize, "typed": cache.typed}

    def _needs_cache(self, name: str) -> Cache:
        cache = self._cache()
        if cache is None:
            why = (
                "has no functools.lru_cache"
                if self._memory.cache is None
                else "was given cache=False: each process has a cache of its own"
            )
            raise AttributeError(f"{self._name()}.{name}(): the function {why}", name=name, obj=self)
        return cache


def _may_be_cached(function: Any) -> bool:
    """Whether a function may have an ``lru_cache``: it is one, or wraps or binds something."""
    kind = type(function).__name__
    return kind in _WRAPPERS or "__wrapped__" in getattr(function, "__dict__", ())


#: Types of what a function with an ``lru_cache`` may look like from outside.
_WRAPPERS = frozenset({"_lru_cache_wrapper", "method", "staticmethod", "classmethod", "partial"})


def inside_worker() -> bool:
    """Tell whether this process is a worker of a pool."""
    worker = sys.modules.get("manyhands.engine.worker")
    return worker is not None and worker.inside


def _may_end_process(code: Any) -> bool:
    """Whether a function is written to end its process: that must not be the caller's."""
    if code is None:
        return False
    inner = (constant for constant in code.co_consts if hasattr(constant, "co_names"))
    return not DEADLY.isdisjoint(code.co_names) or any(map(_may_end_process, inner))


def _copy(original: Decorated, changes: dict[str, Any]) -> Decorated:
    return type(original)(original.__wrapped__, changes)


def _restore(kind: type[Decorated], function: Any, changes: dict[str, Any]) -> Decorated:
    return kind(function, changes)
