"""The options of a decorated function: what they are called, what they may be, and which of them win.

Defaults < ``configure()`` < the decorator < ``.options()``. An ``Options`` never changes; everything is validated here, in
one place, before any work starts. Used by ``functions`` and passed down as plain values.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BACKENDS = ("processes", "threads", "serial")
START_METHODS = ("template", "forkserver", "spawn", "fork")


ON_ERROR = ("raise", "collect", "skip")

_DEFAULTS: dict[str, Any] = {
    "backend": "processes", "initargs": (), "on_error": "raise", "retries": 0, "retry_on": Exception, "backoff": 0.1,
    "context": False, "cache": True,
}  # fmt: skip


class Options:
    """How the calls of one function run; made by the decorator and by ``.options()``.

    Args:
        max_workers: how many workers at most; None: one for each core this process may use.
        chunksize: how many tasks travel together; None: found out by measuring.
        buffersize: how many results ``imap`` may be ahead of its consumer; None: bounded by time and bytes.
        backend: "processes", "threads" or "serial".
        start_method: "template" (a clean process that forks; also called "forkserver"), "spawn" or "fork"; None: "template"
            where there is a fork, "spawn" elsewhere.
        initializer: called once in every worker before its first task.
        initargs: the arguments of ``initializer``.
        max_tasks_per_child: a worker is replaced after that many tasks; None: never.
        timeout: seconds that one task may take in its worker; then it is ended, whatever it is doing. None: any time.
        deadline: seconds that a whole call may take; what is not done by then is ended. None: any time.
        memory_limit: bytes (or "500 MB", "2 GiB") that a worker may allocate; over it the task gets a ``MemoryError``.
        arena_limit: bytes (or words, as above) of shared memory for large arguments on their way, and as much for results; over
            it they go through a pipe, which takes longer. 0: none. None: a quarter of the machine's memory.
        retries: how many times more a task is tried that failed, timed out or ended its worker.
        retry_on: the exceptions that are worth another try, a class or a tuple of them.
        backoff: seconds before the first retry of a task, give or take half; twice as many before each further one.
        on_error: "raise" the exception of the first failing item; "collect" a ``Failure`` in place of each failed result;
            "skip" failed items; or a function that gets each ``Failure`` and returns what to put in its place, or raises.
        on_result: called with each result in the caller's process, in order of completion.
        on_error_callback: called with the ``Failure`` of each item that failed for good, in order of completion.
        checkpoint: a file that keeps finished results; the same call, made again, runs only what is missing.
        seed: gives every item its own random stream, by its index, in ``random`` and, if it is loaded, NumPy.
        context: tasks see the values that ``contextvars`` have in the caller.
        cache: a function that has an ``lru_cache`` has one for all processes, as before it was decorated; False: each process
            has its own.
        affinity: which items go to the same worker, so that caches there stay warm: "args", those with equal arguments; or a
            function that is called with the arguments of each item and returns its key. None: it does not matter.
        warm_cache: a worker that replaces another begins with so many entries of the ``lru_cache`` of each function that the
            function calls, those used last; None: with none.

    Example:
        >>> from manyhands import parallel_map
        >>> parallel_map(abs, max_workers=2).options(chunksize=10).settings.chunksize
        10
    """

    _NAMES = (
        "max_workers", "chunksize", "buffersize", "backend", "start_method", "initializer", "initargs", "max_tasks_per_child",
        "timeout", "deadline", "memory_limit", "retries", "retry_on", "backoff", "on_error", "on_result", "on_error_callback",
        "checkpoint", "seed", "context", "arena_limit", "cache", "affinity",
        "warm_cache",
    )  # fmt: skip
    # What follows from them, worked out once: small calls ask for nothing else.
    __slots__ = (*_NAMES, "has_way", "isolated", "limited", "simple")

    max_workers: int | None
    chunksize: int | None
    buffersize: int | None
    backend: str
    start_method: str | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_child: int | None
    timeout: float | None
    deadline: float | None
    memory_limit: int | None
    arena_limit: int | None
    retries: int
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    backoff: float
    on_error: str | Callable[[Any], Any]
    on_result: Callable[[Any], object] | None
    on_error_callback: Callable[[Any], object] | None
    checkpoint: str | None
    seed: int | None
    context: bool
    cache: bool
    affinity: str | Callable[..., Any] | None
    warm_cache: int | None
    #: Tasks are limited in time or memory, which only another process can see to.
    limited: bool
    #: Tasks rely on something that the caller's process has not got, so that none may run there.
    isolated: bool
    #: Tasks are not just called; see ``engine.ways``.
    has_way: bool
    #: Nothing is asked for that a plain loop does not do by itself.
    simple: bool

    def __init__(self, **values: Any) -> None:
        for name in self._NAMES:
            object.__setattr__(self, name, values.get(name, _DEFAULTS.get(name)))
        limited = self._asks("timeout", "deadline", "memory_limit")
        isolated = limited or self._asks("initializer", "max_tasks_per_child")
        more = self.on_error != "raise" or self.retries or self.context
        more = more or self._asks("on_result", "on_error_callback", "checkpoint", "seed")
        object.__setattr__(self, "limited", limited)
        object.__setattr__(self, "isolated", isolated)
        object.__setattr__(self, "has_way", self.context or self._asks("seed", "warm_cache"))
        object.__setattr__(self, "simple", not (isolated or more))

    def _asks(self, *names: str) -> bool:
        return any(getattr(self, name) is not None for name in names)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            "options never change; make others with .options(), or the defaults with configure()"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(tuple(self.as_dict().values()))

    def __reduce__(self) -> Any:
        return _options, (self.as_dict(),)

    def __repr__(self) -> str:
        given = {name: value for name, value in self.as_dict().items() if value != _DEFAULTS.get(name)}
        return f"Options({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def as_dict(self) -> dict[str, Any]:
        """Return names and values.

        Example:
            >>> Options(chunksize=3).as_dict()["chunksize"]
            3
        """
        return {name: getattr(self, name) for name in self._NAMES}

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Refuse options that cannot be kept where the tasks are to run.

        Args:
            names: the options.
            why: what cannot be done, and what to do instead.

        Raises:
            OptionsError: one of them is set.

        Example:
            >>> Options(max_workers=2).refuse(("timeout",), "no")
        """
        for name in names:
            if getattr(self, name) is not None:
                from manyhands.exceptions import OptionsError

                raise OptionsError(f"{name}: {why}")

    def changed(self, changes: dict[str, Any]) -> Options:
        """Return a copy with other values, as ``validated`` gives them.

        Args:
            changes: option names and values.

        Example:
            >>> Options().changed({"max_workers": 3}).max_workers
            3
        """
        return Options(**{**self.as_dict(), **changes})


def validated(changes: dict[str, Any]) -> dict[str, Any]:
    """Check option names and values.

    Args:
        changes: option names and values; ``mp_context`` is taken for the start method it names.

    Returns:
        The same, with ``start_method`` in place of ``mp_context``, and amounts of memory in bytes.

    Raises:
        OptionsError: an option is unknown or its value is out of range.
        TypeError: a value is of the wrong type.

    Example:
        >>> validated({"max_workers": 3, "mp_context": "spawn"})
        {'max_workers': 3, 'start_method': 'spawn'}
    """
    changes = dict(changes)
    if "mp_context" in changes:
        context = changes.pop("mp_context")
        if context is not None and not isinstance(context, str):
            if not hasattr(context, "get_start_method"):
                raise TypeError(
                    f"mp_context must be a multiprocessing context or the name of a start method, not {context!r:.60} "
                    f"(a {type(context).__name__})"
                )
            context = context.get_start_method()
        if context is not None:
            changes["start_method"] = context
    for name, value in changes.items():
        if name not in _CHECKS:
            raise _unknown(name)
        _CHECKS[name](name, value)
        if name in _FORMS and value is not None:
            changes[name] = _FORMS[name](value)
    return changes


def configure(**changes: Any) -> Options:
    """Change the defaults of every decorated function of this process that does not say otherwise.

    Args:
        **changes: options as in ``Options``.

    Returns:
        The defaults as they now are.

    Raises:
        OptionsError: an option is unknown or its value is out of range.
        TypeError: a value is of the wrong type.

    Example:
        >>> import manyhands
        >>> manyhands.configure(max_workers=2).max_workers
        2
        >>> manyhands.configure(max_workers=None).max_workers is None
        True
    """
    global _defaults
    _defaults = _defaults.changed(validated(changes))
    return _defaults


def defaults() -> Options:
    """Return what ``configure()`` has made of the defaults.

    Example:
        >>> defaults().backend
        'processes'
    """
    return _defaults


def _options(values: dict[str, Any]) -> Options:
    return Options(**values)


_defaults = Options()


def check_workers(name: str, value: Any) -> None:
    """Refuse what cannot be a number of workers.

    Raises:
        TypeError: not an integer.
        OptionsError: less than one.

    Example:
        >>> check_workers("max_workers", 2)
    """
    _count("; leave it out to use every core")(name, value)


def _count(advice: str = "", *, least: int = 1, none: bool = True) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value is None and none:
            return
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(
                f"{name} must be a whole number, not {value!r} (a {type(value).__name__}){advice}"
            )
        if value < least:
            from manyhands.exceptions import OptionsError

            raise OptionsError(f"{name} must be at least {least}, not {value}{advice}")

    return check


def _seconds(*, zero: bool = False, none: bool = True) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value is None and none:
            return
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
            raise TypeError(
                f"{name} must be a number of seconds, not {value!r:.60} (a {type(value).__name__})"
            )
        if not (value >= 0 if zero else value > 0):  # NaN is neither
            from manyhands.exceptions import OptionsError

            raise OptionsError(f"{name} must be {'at least' if zero else 'more than'} 0 seconds, not {value}")

    return check


_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def memory_size(value: Any, name: str = "memory_limit", least: int = 1) -> int:
    """Return an amount of memory in bytes.

    Args:
        value: bytes, or words such as "500 MB" (powers of 1,000) or "2 GiB" (powers of 1,024).
        name: what messages call it.
        least: the smallest amount, bytes.

    Raises:
        TypeError: neither a whole number nor a string.
        OptionsError: not an amount, or not more than nothing.

    Example:
        >>> memory_size("500 MB"), memory_size("2 GiB"), memory_size(4096)
        (500000000, 2147483648, 4096)
    """
    from manyhands.exceptions import OptionsError

    if isinstance(value, str):
        import re

        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?\s*", value.upper())
        if found is None:
            raise OptionsError(f'{name} must be an amount such as "500 MB" or "2 GiB", not {value!r:.60}')
        size = int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2]])
    elif isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{name} must be a number of bytes or words such as '2 GiB', not {value!r:.60} (a {type(value).__name__})"
        )
    else:
        size = int(value)
    if size < least:
        words = "more than nothing" if least else "at least 0"
        raise OptionsError(f"{name} must be {words}, not {value!r}")
    return size


def arena_size(value: Any) -> int:
    """Return an amount of shared memory in bytes; 0 stands for none.

    Args:
        value: as for ``memory_size``.

    Raises:
        TypeError: neither a whole number nor a string.
        OptionsError: not an amount.

    Example:
        >>> arena_size("1 GiB"), arena_size(0)
        (1073741824, 0)
    """
    return memory_size(value, "arena_limit", least=0)


def _memory(name: str, value: Any) -> None:
    if value is not None:
        _FORMS[name](value)


def _policy(name: str, value: Any) -> None:
    if not callable(value):
        _one_of(*ON_ERROR)(name, value)


def _affinity(name: str, value: Any) -> None:
    if value is None or callable(value):
        return
    if value != "args":
        from manyhands.exceptions import OptionsError

        raise OptionsError(
            f'{name} must be "args", or a function that returns the key of an item, not {value!r:.60}'
            f"{_nearest(value, ('args',)) if isinstance(value, str) else ''}"
        )


def _exceptions(name: str, value: Any) -> None:
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"{name} must be an exception class or a tuple of them, not {value!r:.80}")


def _path(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str) and not hasattr(value, "__fspath__"):
        raise TypeError(f"{name} must be the path of a file, not {value!r:.60} (a {type(value).__name__})")


def _fspath(value: Any) -> str:
    import os

    return os.fsdecode(value)


def _integer(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__")):
        raise TypeError(f"{name} must be a whole number, not {value!r:.60} (a {type(value).__name__})")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r:.60} (a {type(value).__name__})")


def _one_of(*allowed: str | None) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value in allowed:
            return
        from manyhands.exceptions import OptionsError

        words = ", ".join(repr(word) for word in allowed if word is not None)
        raise OptionsError(f"{name} must be one of {words}, not {value!r}{_nearest(str(value), allowed)}")

    return check


def _callable(name: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r} (a {type(value).__name__})")


def _arguments(name: str, value: Any) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple of arguments, not {value!r} (a {type(value).__name__})")


def _unknown(name: str) -> Exception:
    from manyhands.exceptions import OptionsError

    return OptionsError(
        f"there is no option {name!r}{_nearest(name, _CHECKS)}; the options are {', '.join(_CHECKS)}"
    )


def _nearest(name: str, names: Any) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [word for word in names if word], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "max_workers": check_workers,
    "chunksize": _count("; leave it out to have it measured"),
    "buffersize": _count(),
    "backend": _one_of(*BACKENDS),
    "start_method": _one_of(None, *START_METHODS),
    "initializer": _callable,
    "initargs": _arguments,
    "max_tasks_per_child": _count(),
    "timeout": _seconds(),
    "deadline": _seconds(),
    "memory_limit": _memory,
    "arena_limit": _memory,
    "retries": _count(least=0, none=False),
    "retry_on": _exceptions,
    "backoff": _seconds(zero=True, none=False),
    "on_error": _policy,
    "on_result": _callable,
    "on_error_callback": _callable,
    "checkpoint": _path,
    "seed": _integer,
    "context": _flag,
    "cache": _flag,
    "affinity": _affinity,
    "warm_cache": _count("; leave it out to begin with none"),
}
#: What values are turned into when they have been checked.
_FORMS: dict[str, Callable[[Any], Any]] = {
    "memory_limit": memory_size, "arena_limit": arena_size, "checkpoint": _fspath, "seed": int,
}  # fmt: skip
