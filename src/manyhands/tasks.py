"""What ``process_task`` makes of a function: each call runs in a worker process and waits, and can be ended there.

``functions`` has what ``parallel_map`` makes; what both share is in ``decorated``. A generator function gives a stream
(``scheduling.streaming``), ``start`` a process of its own (``scheduling.running``).
"""

from __future__ import annotations

from manyhands.decorated import Decorated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

    from manyhands.scheduling.running import RunningTask

    P = ParamSpec("P")
    Q = ParamSpec("Q")
    A = TypeVar("A")
    R = TypeVar("R", covariant=True)
    R_ = TypeVar("R_")

else:  # loading typing costs more than the rest of the package
    from manyhands.decorated import Generic

    P = R = None

#: What a function may take to talk to its caller.
MEANS = ("stop", "channel")


class ProcessTask(Decorated, Generic[P, R]):
    """A function whose calls run in worker processes; made by ``process_task``.

    Calling it runs it in a worker and waits: what it returns or raises comes back, and whatever it does to its process
    (memory, crashes, endless loops) stays there. Inside a worker a call runs right there, unless it asks to be limited.

    Args:
        function: the function.
        changes: the options that were given, over the defaults.

    Example:
        >>> from manyhands import process_task
        >>> @process_task(timeout=30)
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double(4)
        8
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in a worker process, and wait for it; a generator function gives a ``TaskStream`` at once.

        Raises:
            BaseException: what the function raised, with a note that says which call it was.
            TaskTimeoutError: it took longer than its ``timeout``, or all attempts together longer than ``deadline``.
            WorkerCrashedError: it ended its process.
            UnpicklableError: an argument or the result cannot travel.
        """
        from manyhands.scheduling import single

        if self._here():
            return single.here(self, args, kwargs)  # type: ignore[no-any-return]
        cache = self._cache()
        if cache is not None and self.settings.on_result is None:
            from manyhands.cache import MISSING

            value = cache.ask(lambda: self._function(*args, **kwargs))
            if value is not MISSING:
                return value  # type: ignore[no-any-return]
        if self._generates:
            return single.stream(self, args, kwargs)  # type: ignore[return-value]
        return single.wait_for(single.send(self, args, kwargs))  # type: ignore[no-any-return]

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Start one call in a worker and return its future at once.

        Args:
            *args: positional arguments.
            **kwargs: keyword arguments.

        Returns:
            A ``concurrent.futures.Future``. A generator function's has the list of all items.

        Example:
            >>> from manyhands import process_task
            >>> process_task(pow).submit(2, 5).result()
            32
        """
        from manyhands.scheduling import single

        if self._here():
            return single.done_here(self, args, kwargs)
        return single.send(self, args, kwargs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """As a call, for ``await``: the event loop goes on meanwhile, and cancelling ends the work.

        Args:
            *args: positional arguments.
            **kwargs: keyword arguments.

        Example:
            >>> import asyncio
            >>> from manyhands import process_task
            >>> asyncio.run(process_task(pow).acall(2, 5))
            32
        """
        import asyncio

        from manyhands.scheduling import single
        from manyhands.scheduling.awaiting import outcome

        future = self.submit(*args, **kwargs)
        try:
            return await outcome(future)  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            single.end(future)
            raise

    def start(self, *args: Any, **kwargs: Any) -> RunningTask[R]:
        """Run the function in a process of its own, beside the pool's workers, and return at once.

        A function that has a parameter ``stop`` is given a token that tells whether it is to stop; one that has a parameter
        ``channel`` is given its end of a two-way channel.

        Args:
            *args: positional arguments.
            **kwargs: keyword arguments.

        Returns:
            The running task: waited for, talked to, stopped, ended.

        Example:
            >>> from manyhands import process_task
            >>> process_task(divmod).start(7, 2).result()
            (3, 1)
        """
        from manyhands.scheduling import single

        return single.start(self, args, kwargs)

    def cache_report(self) -> Any:
        """Return what the ``lru_cache`` of each helper has done, in this process and all workers: functions that this one calls.

        Returns:
            A tuple of helpers with ``name``, ``hits``, ``misses``, ``repeated`` (so many computations were made more than once,
            because caches are apart) and ``processes``; printed, it says what to do about it.

        Example:
            >>> from manyhands import process_task
            >>> print(process_task(abs).cache_report())
            the function calls no function of a module that has an lru_cache
        """
        from manyhands.scheduling.reporting import report

        return report(self)

    def options(self, **changes: Any) -> ProcessTask[P, R]:
        """Return a copy with other options.

        Args:
            **changes: options as in ``Options``.

        Raises:
            OptionsError: an option is unknown, out of range, or means nothing for a single call.
            TypeError: a value is of the wrong type.

        Example:
            >>> from manyhands import process_task
            >>> process_task(abs).options(timeout=5)(-1)
            1
        """
        return self._with(checked(changes))

    if TYPE_CHECKING:

        @overload
        def __get__(
            self: Callable[Concatenate[A, Q], R_], instance: A, owner: Any = None
        ) -> ProcessTask[Q, R_]: ...
        @overload
        def __get__(
            self: Callable[Concatenate[A, Q], R_], instance: object, owner: A
        ) -> ProcessTask[Q, R_]: ...
        @overload
        def __get__(self, instance: object, owner: Any = None) -> ProcessTask[P, R]: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...

    @property
    def _generates(self) -> bool:
        function = self.__wrapped__
        while hasattr(function, "func") or hasattr(function, "__func__"):
            function = getattr(function, "func", None) or function.__func__
        return bool(
            getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x20
        )  # inspect.CO_GENERATOR

    def __repr__(self) -> str:
        return f"<process_task {self._name()}>"


def checked(changes: dict[str, Any]) -> dict[str, Any]:
    """Check options for single calls.

    Args:
        changes: option names and values.

    Raises:
        OptionsError: as ``options.validated``; or an option that means nothing for single calls.
        TypeError: as ``options.validated``.
    """
    from manyhands.options import validated

    changes = validated(changes)
    for name in ("chunksize", "checkpoint", "seed"):
        if changes.get(name) is not None:
            from manyhands.exceptions import OptionsError

            raise OptionsError(f"{name} is for calls over many items: use parallel_map, or leave it out")
    if changes.get("on_error") in {"collect", "skip"}:
        from manyhands.exceptions import OptionsError

        raise OptionsError(
            f"on_error={changes['on_error']!r} is for calls over many items; a single call raises, or takes what a function "
            "on_error=... returns"
        )
    if changes.get("backend") == "threads":
        from manyhands.exceptions import OptionsError

        raise OptionsError(
            "process_task runs calls in processes; for threads, use parallel_map(backend='threads')"
        )
    return changes
