"""What decorated functions become: still the function when called, with ``map`` and its kin beside it.

``decorators`` makes them; what they share with other decorated functions is in ``decorated``; every call they start is a
``scheduling.call.Call``. Lean on purpose: it is loaded by ``import manyhands``, the machinery with the first call.
"""

from __future__ import annotations

from manyhands.backends import make
from manyhands.decorated import Decorated
from manyhands.options import Options, validated
from manyhands.scheduling.call import CHEAP, Call, Carried
from manyhands.scheduling.job import Job
from manyhands.scheduling.source import PLAIN, Source
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

    from manyhands.collecting import CollectingFunction
    from manyhands.scheduling.check import Report
    from manyhands.scheduling.failures import Failure

    P = ParamSpec("P")
    Q = ParamSpec("Q")
    R = TypeVar("R", covariant=True)
    R_ = TypeVar("R_")
    T = TypeVar("T")
    A = TypeVar("A")
    B = TypeVar("B")
    C = TypeVar("C")

    # What is called with one, two or three items of each task. By its call, and not as ParallelFunction[...]: mypy does
    # not infer A from the latter.
    One = Callable[Concatenate[A, Q], R_]
    Two = Callable[Concatenate[A, B, Q], R_]
    Three = Callable[Concatenate[A, B, C, Q], R_]
    Four = tuple[Iterable[Any], Iterable[Any], Iterable[Any], Iterable[Any], *tuple[Iterable[Any], ...]]

else:  # loading typing costs more than the rest of the package
    from manyhands.decorated import Generic

    P = R = None


ONE, MANY = 0, 1


class ParallelFunction(Decorated, Generic[P, R]):
    """A function whose calls spread over the cores; made by ``parallel_map``.

    Calling it is calling the function, here, as ever. ``map``, ``starmap``, ``imap``, ``imap_unordered``, ``submit`` and
    ``amap`` use workers where that is quicker, and give the answer of the loop.

    Args:
        function: the function.
        changes: the options that were given, over the defaults.

    Example:
        >>> from manyhands import parallel_map
        >>> @parallel_map
        ... def double(x: int) -> int:
        ...     return 2 * x
        >>> double(4)
        8
        >>> double.map([1, 2, 3])
        [2, 4, 6]
    """

    if TYPE_CHECKING:
        __wrapped__: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, in this process."""
        return self._function(*args, **kwargs)  # type: ignore[no-any-return]

    if TYPE_CHECKING:

        @overload
        def options(self, *, on_error: Literal["collect"], **changes: Any) -> CollectingFunction[P, R]: ...
        @overload
        def options(
            self, *, on_error: Callable[[Failure], T], **changes: Any
        ) -> ParallelFunction[P, R | T]: ...
        @overload
        def options(self, **changes: Any) -> ParallelFunction[P, R]: ...

    def options(self, **changes: Any) -> Any:
        """Return a copy with other options.

        Args:
            **changes: options as in ``Options``.

        Returns:
            A new object; this one stays as it is.

        Raises:
            OptionsError: an option is unknown or its value is out of range.
            TypeError: a value is of the wrong type.

        Example:
            >>> ParallelFunction(abs).options(max_workers=2).map([-1, 2])
            [1, 2]
        """
        return self._with(validated(changes))

    if TYPE_CHECKING:

        @overload
        def map(
            self: One[A, Q, R_], xs: Iterable[A], /, *args: Q.args, **constants: Q.kwargs
        ) -> list[R_]: ...
        @overload
        def map(
            self: Two[A, B, Q, R_], xs: Iterable[A], ys: Iterable[B], /, *args: Q.args, **constants: Q.kwargs
        ) -> list[R_]: ...
        @overload
        def map(
            self: Three[A, B, C, Q, R_],
            xs: Iterable[A],
            ys: Iterable[B],
            zs: Iterable[C],
            /,
            *args: Q.args,
            **constants: Q.kwargs,
        ) -> list[R_]: ...
        @overload
        def map(self: Callable[..., R_], *iterables: *Four, **constants: Any) -> list[R_]: ...

    def map(self, *iterables: Any, **constants: Any) -> list[Any]:  # type: ignore[misc]
        """Apply the function to every item, and return the results in input order.

        Equal to ``[f(x, **constants) for x in items]``, or with several iterables to
        ``[f(x, y, **constants) for x, y in zip(xs, ys)]``, exceptions included.

        Args:
            *iterables: one iterable for each positional argument of the function; the shortest ends the call.
            **constants: keywords that are the same for every item; sent once to each worker.

        Returns:
            The results, a list.

        Raises:
            BaseException: what the first failing item (in input order) raised, with a note that says which it was.
            UnpicklableError: an argument, or the function, cannot be sent to a worker.
            WorkerCrashedError: the item ended its worker.
            TypeError: there is no iterable, or something that is not one.

        Example:
            >>> ParallelFunction(pow).map([2, 3], [5, 2])
            [32, 9]
        """
        if not iterables:
            raise TypeError(f"{self._name()}.map() needs at least one iterable: {self._name()}.map(items)")
        return self._all(iterables, constants, MANY if len(iterables) > 1 else ONE)

    def starmap(self, items: Iterable[Iterable[Any]], /, **constants: Any) -> list[R]:
        """Apply the function to every tuple of arguments: ``[f(*item, **constants) for item in items]``.

        Args:
            items: tuples (or other iterables) of positional arguments.
            **constants: keywords that are the same for every item.

        Returns:
            The results, a list in input order.

        Raises:
            BaseException: as ``map``.

        Example:
            >>> ParallelFunction(pow).starmap([(2, 5), (3, 2)])
            [32, 9]
        """
        return self._all((items,), constants, MANY, star=True)

    if TYPE_CHECKING:

        @overload
        def imap(
            self: One[A, Q, R_], xs: Iterable[A], /, *args: Q.args, **constants: Q.kwargs
        ) -> Iterator[R_]: ...
        @overload
        def imap(
            self: Two[A, B, Q, R_], xs: Iterable[A], ys: Iterable[B], /, *args: Q.args, **constants: Q.kwargs
        ) -> Iterator[R_]: ...
        @overload
        def imap(
            self: Three[A, B, C, Q, R_],
            xs: Iterable[A],
            ys: Iterable[B],
            zs: Iterable[C],
            /,
            *args: Q.args,
            **constants: Q.kwargs,
        ) -> Iterator[R_]: ...
        @overload
        def imap(self: Callable[..., R_], *iterables: *Four, **constants: Any) -> Iterator[R_]: ...

    def imap(self, *iterables: Any, **constants: Any) -> Iterator[Any]:  # type: ignore[misc]
        """As ``map``, but lazily: results are yielded in input order while the input is still being read.

        What is read ahead is bounded (``buffersize`` items, or by time and bytes), so that endless inputs work in flat
        memory. Closing or dropping the iterator stops the work.

        Args:
            *iterables: as ``map``; may be endless.
            **constants: as ``map``.

        Returns:
            An iterator over the results.

        Raises:
            BaseException: as ``map``, after the results before the failing item.

        Example:
            >>> from itertools import count, islice
            >>> list(islice(ParallelFunction(abs).imap(count(-2)), 3))
            [2, 1, 0]
        """
        if not iterables:
            raise TypeError(f"{self._name()}.imap() needs at least one iterable: {self._name()}.imap(items)")
        return self._lazily(iterables, constants, MANY if len(iterables) > 1 else ONE, ordered=True)

    if TYPE_CHECKING:

        @overload
        def imap_unordered(
            self: One[A, Q, R_], xs: Iterable[A], /, *args: Q.args, **constants: Q.kwargs
        ) -> Iterator[R_]: ...
        @overload
        def imap_unordered(
            self: Two[A, B, Q, R_], xs: Iterable[A], ys: Iterable[B], /, *args: Q.args, **constants: Q.kwargs
        ) -> Iterator[R_]: ...
        @overload
        def imap_unordered(
            self: Three[A, B, C, Q, R_],
            xs: Iterable[A],
            ys: Iterable[B],
            zs: Iterable[C],
            /,
            *args: Q.args,
            **constants: Q.kwargs,
        ) -> Iterator[R_]: ...
        @overload
        def imap_unordered(self: Callable[..., R_], *iterables: *Four, **constants: Any) -> Iterator[R_]: ...

    def imap_unordered(self, *iterables: Any, **constants: Any) -> Iterator[Any]:  # type: ignore[misc]
        """As ``imap``, but each result is yielded as soon as it is there.

        Args:
            *iterables: as ``map``; may be endless.
            **constants: as ``map``.

        Returns:
            An iterator over the results, in order of completion.

        Raises:
            BaseException: what the first item to fail raised, at once.

        Example:
            >>> sorted(ParallelFunction(abs).imap_unordered([-1, -2]))
            [1, 2]
        """
        if not iterables:
            raise TypeError(
                f"{self._name()}.imap_unordered() needs at least one iterable: {self._name()}.imap_unordered(items)"
            )
        return self._lazily(iterables, constants, MANY if len(iterables) > 1 else ONE, ordered=False)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Start one call in a worker and return its future at once.

        Args:
            *args: positional arguments.
            **kwargs: keyword arguments.

        Returns:
            A ``concurrent.futures.Future``: ``result``, ``wait``, ``as_completed`` and ``asyncio.wrap_future`` work. What
            cannot be pickled is the future's exception.

        Example:
            >>> ParallelFunction(pow).submit(2, 5).result()
            32
        """
        from manyhands.scheduling import single

        settings = self.settings
        if self._here():
            return single.done_here(self, args, kwargs)
        if settings.backend == "threads":
            from manyhands.backends.threads import executor

            plain, threads = self._plain(), executor(settings)
            return single.joined(self, args, kwargs, lambda: threads.submit(plain, *args, **kwargs))
        return single.send(self, args, kwargs)

    if TYPE_CHECKING:

        @overload
        def amap(
            self: One[A, Q, R_], xs: Iterable[A], /, *args: Q.args, **constants: Q.kwargs
        ) -> Coroutine[Any, Any, list[R_]]: ...
        @overload
        def amap(
            self: Two[A, B, Q, R_], xs: Iterable[A], ys: Iterable[B], /, *args: Q.args, **constants: Q.kwargs
        ) -> Coroutine[Any, Any, list[R_]]: ...
        @overload
        def amap(
            self: Three[A, B, C, Q, R_],
            xs: Iterable[A],
            ys: Iterable[B],
            zs: Iterable[C],
            /,
            *args: Q.args,
            **constants: Q.kwargs,
        ) -> Coroutine[Any, Any, list[R_]]: ...
        @overload
        def amap(
            self: Callable[..., R_], *iterables: *Four, **constants: Any
        ) -> Coroutine[Any, Any, list[R_]]: ...

    async def amap(self, *iterables: Any, **constants: Any) -> list[Any]:  # type: ignore[misc]
        """As ``map``, for ``await``: the event loop goes on meanwhile.

        Args:
            *iterables: as ``map``; they are read in another thread.
            **constants: as ``map``.

        Returns:
            The results, a list in input order.

        Raises:
            BaseException: as ``map``; when the awaiting task is cancelled, the work is stopped.

        Example:
            >>> import asyncio
            >>> asyncio.run(ParallelFunction(abs).amap([-1, 2]))
            [1, 2]
        """
        if not iterables:
            raise TypeError(
                f"{self._name()}.amap() needs at least one iterable: await {self._name()}.amap(items)"
            )
        from manyhands.scheduling.awaiting import collect

        # Never here: a task in this process would hold up the event loop's thread, and could not be stopped.
        call = self._call(iterables, constants, MANY if len(iterables) > 1 else ONE, away=True)
        results = await collect(call)
        return self._collected(results)

    def check(self, *iterables: Any, sample: int = 20, **constants: Any) -> Report:
        """Run a sample of the items both ways, as a loop here and in a worker, and report every difference.

        Args:
            *iterables: as ``map``; only the first ``sample`` items are used.
            sample: how many items.
            **constants: as ``map``.

        Returns:
            A report: true when nothing differs, readable when printed.

        Example:
            >>> bool(ParallelFunction(abs).check([-1, 2]))
            True
        """
        if not iterables:
            raise TypeError(
                f"{self._name()}.check() needs at least one iterable: {self._name()}.check(items)"
            )
        from manyhands.scheduling.check import check

        return check(self, iterables, constants, sample)

    def cache_report(self) -> Any:
        """Return what the ``lru_cache`` of each helper has done, in this process and all workers: functions that this one calls.

        A worker that has ended counts with what it told last: all that it did, unless it was killed.

        Returns:
            A tuple of helpers with ``name``, ``hits``, ``misses``, ``repeated`` (so many computations were made more than once,
            because caches are apart) and ``processes``; printed, it says what to do about it.

        Example:
            >>> from manyhands import parallel_map
            >>> print(parallel_map(abs).cache_report())
            the function calls no function of a module that has an lru_cache
        """
        from manyhands.scheduling.reporting import report

        return report(self)

    # binding, pickling, printing

    if TYPE_CHECKING:
        # A method, a class method, and what is not bound: a static method, or a method taken from its class.
        @overload
        def __get__(self: One[A, Q, R_], instance: A, owner: Any = None) -> ParallelFunction[Q, R_]: ...
        @overload
        def __get__(self: One[A, Q, R_], instance: object, owner: A) -> ParallelFunction[Q, R_]: ...
        @overload
        def __get__(self, instance: object, owner: Any = None) -> ParallelFunction[P, R]: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...

    def __repr__(self) -> str:
        return f"<parallel_map {self._name()}>"

    # calls

    def _all(
        self, iterables: tuple[Any, ...], constants: dict[str, Any], shape: int, *, star: bool = False
    ) -> list[Any]:
        items = iterables[0]
        settings = self.settings
        away = self._guarded(settings)
        if (
            shape == ONE and type(items) in PLAIN and len(items[:2]) < 2 and settings.simple and not away
            and not tally.made
        ):  # fmt: skip
            return self._at_most_one(items, constants)
        call = self._call(iterables, constants, shape, star=star)
        runs: list[list[Any]] = []
        try:
            for run in call.runs():
                runs.append(run)  # noqa: PERF402 - so far, whatever happens
        except Carried as carried:
            raise carried.error from carried.error.__cause__
        except KeyboardInterrupt as interrupt:
            call.ledger.hand_back(interrupt, runs)
            raise
        return self._collected(_joined(runs))

    def _collected(self, results: list[Any]) -> list[Any]:
        """The results of a whole call, as its policy has it."""
        if self.settings.on_error != "collect":
            return results
        from manyhands.scheduling.failures import Collected

        return Collected(results)

    def _guarded(self, settings: Options) -> bool:
        """Whether this process is to be spared the tasks: they may end it, hold it up, or fail in every possible way."""
        memory = self._memory
        if memory.deadly or settings.retries:
            return True
        if settings.checkpoint is not None:  # results are written here, and must not wait for a task to end
            return True
        failures = settings.on_error != "raise" or settings.on_error_callback is not None
        return failures and (memory.cost is None or memory.cost > CHEAP)

    def _at_most_one(self, items: Any, constants: dict[str, Any]) -> list[Any]:
        """A call so small that planning it would cost more than doing it."""
        try:
            return [self._function(item, **constants) for item in items]
        except Exception as error:
            from manyhands.scheduling.failures import note

            note(error, 0, self._name(), items[0], ONE, "in the caller's process")
            raise

    def _lazily(
        self, iterables: tuple[Any, ...], constants: dict[str, Any], shape: int, *, ordered: bool
    ) -> Iterator[Any]:
        call = self._call(iterables, constants, shape, lazy=True, ordered=ordered)

        def results() -> Iterator[Any]:
            runs = call.runs()
            try:
                for run in runs:
                    yield from run
            except Carried as carried:
                raise RuntimeError("a task raised StopIteration") from carried.error
            finally:
                runs.close()

        return results()

    def _call(
        self,
        iterables: tuple[Any, ...],
        constants: dict[str, Any],
        shape: int,
        *,
        star: bool = False,
        away: bool = False,
        **how: Any,
    ) -> Any:
        settings = self.settings
        away = away or self._guarded(settings)
        stored = None
        if settings.checkpoint is not None:
            from manyhands.scheduling.checkpoint import Checkpoint
            from manyhands.scheduling.restored import Restored

            checkpoint = Checkpoint(
                settings.checkpoint, self.__wrapped__, self._name(), constants, shape, settings
            )
            source: Source = Restored(iterables, star=star, checkpoint=checkpoint)
            stored = checkpoint.results
        else:
            source = Source(iterables, star=star)
        if self._here() or (
            source.total is not None and source.total < 2 and not (away or settings.isolated)
        ):
            backend = None
        else:
            backend = make(settings)
        cache = self._cache()
        if cache is not None:
            from manyhands.scheduling.caching import Filtered

            source = Filtered(
                source, cache, self.__wrapped__, constants, shape,
                lazy=bool(how.get("lazy")), dense=settings.seed is None, processes=settings.backend == "processes",
            )  # fmt: skip
        way = None
        if settings.seed is not None or settings.context:
            from manyhands.engine.ways import of as way_of

            way = way_of(settings)
        job = Job(self._plain(), self._shipped, constants, shape, self._memory, way)
        if backend is None and settings.initializer is not None and not self._memory.initialized:
            settings.initializer(*settings.initargs)
            self._memory.initialized = True
        policy = None
        if not settings.simple:
            from manyhands.scheduling.policy import of

            policy = of(settings, stored)
        return Call(
            job, source, backend, chunksize=settings.chunksize, window=settings.buffersize, away=away, policy=policy,
            timeout=settings.timeout, deadline=settings.deadline, **how,
        )  # fmt: skip


def _joined(runs: list[list[Any]]) -> list[Any]:
    """All results as one list; those of the largest run are not copied."""
    if len(runs) < 2:
        return runs[0] if runs else []
    results = max(runs, key=len)
    before: list[Any] = []
    runs.reverse()
    while (run := runs.pop()) is not results:
        before += run
    results[:0] = before
    while runs:
        results += runs.pop()
    return results
