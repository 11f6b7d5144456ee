"""What decorated functions become: still the function when called, with ``map`` and its kin beside it.

``decorators`` makes them; every call they start is a ``scheduling.call.Call``. Lean on purpose: it is loaded by
``import manyhands``, the machinery with the first call that needs it.
"""

from __future__ import annotations

import sys
from itertools import count

from manyhands import options as options_module
from manyhands.backends import make
from manyhands.options import Options, validated
from manyhands.scheduling.call import CHEAP, Call, Carried, Job
from manyhands.scheduling.source import PLAIN, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

    from manyhands.scheduling.check import Report

    P = ParamSpec("P")
    Q = ParamSpec("Q")
    R = TypeVar("R", covariant=True)
    R_ = TypeVar("R_")
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
    P = R = None

    class Generic:
        """Subscripts, and nothing else."""

        __class_getitem__ = classmethod(type(list[int]))


ONE, MANY = 0, 1

#: What functions call to end a process, by their names in ``os``, ``signal``, ``ctypes`` and ``faulthandler``.
DEADLY = frozenset(
    {"_exit", "abort", "kill", "killpg", "raise_signal", "pthread_kill", "string_at", "_sigsegv"}
)


class _Memory:
    """What is remembered of a function from call to call, shared by its copies with other options."""

    __slots__ = ("cost", "deadly", "initialized", "warned")

    def __init__(self, function: Any) -> None:
        self.cost: float | None = None
        self.warned = False
        self.initialized = False
        self.deadly = _may_end_process(getattr(function, "__code__", None))


class ParallelFunction(Generic[P, R]):
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

    def __init__(
        self, function: Callable[P, R], changes: dict[str, Any] | None = None, _memory: _Memory | None = None
    ) -> None:
        self.__wrapped__ = function
        self._changes = changes or {}
        self._memory = _memory or _Memory(function)
        self._resolved: tuple[Options, Options] | None = None
        self._submitted = count()  # where there is a seed, for the random streams of single tasks
        for name in (
            "__module__",
            "__name__",
            "__qualname__",
            "__doc__",
            "__annotations__",
            "__type_params__",
        ):
            try:
                setattr(self, name, getattr(function, name))
            except AttributeError:
                pass
        if hasattr(function, "__code__"):  # what was put onto the function, as functools.wraps takes it over
            for name, value in getattr(function, "__dict__", {}).items():
                if not hasattr(self, name):
                    self.__dict__[name] = value

    @property
    def __manyhands__(self) -> Callable[P, R]:
        """The plain function, for workers, which find this object under the function's name."""
        return self.__wrapped__

    @property
    def settings(self) -> Options:
        """The options in force; the defaults, as ``configure`` left them, with this function's own over them.

        Example:
            >>> ParallelFunction(abs, {"chunksize": 5}).settings.chunksize
            5
        """
        defaults = options_module.defaults()
        if self._resolved is None or self._resolved[0] is not defaults:
            self._resolved = (defaults, defaults.changed(self._changes))
        return self._resolved[1]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, in this process."""
        return self.__wrapped__(*args, **kwargs)

    def options(self, **changes: Any) -> ParallelFunction[P, R]:
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
        return type(self)(self.__wrapped__, {**self._changes, **validated(changes)}, self._memory)

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
        from manyhands.scheduling.single import submit

        settings = self.settings
        here = settings.backend == "serial" or _inside_worker()
        index = 0 if settings.seed is None else next(self._submitted)
        return submit(settings, self._shipped, self.__wrapped__, args, kwargs, here=here, index=index)

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
        return await collect(call)

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

    # binding, pickling, printing

    if TYPE_CHECKING:
        # A method, a class method, and what is not bound: a static method, or a method taken from its class.
        @overload
        def __get__(self: One[A, Q, R_], instance: A, owner: Any = None) -> ParallelFunction[Q, R_]: ...
        @overload
        def __get__(self: One[A, Q, R_], instance: object, owner: A) -> ParallelFunction[Q, R_]: ...
        @overload
        def __get__(self, instance: object, owner: Any = None) -> ParallelFunction[P, R]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind to an instance, or pass through, exactly as the wrapped function would."""
        bind = getattr(type(self.__wrapped__), "__get__", None)
        if bind is None:
            return self
        bound = bind(self.__wrapped__, instance, owner)
        if bound is self.__wrapped__:
            return self
        return ParallelFunction(bound, self._changes, self._memory)

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
        return _restore, (self.__wrapped__, self._changes)

    def __repr__(self) -> str:
        return f"<parallel_map {self._name()}>"

    def _name(self) -> str:
        return getattr(self, "__qualname__", None) or type(self.__wrapped__).__name__

    # calls

    def _original(self) -> ParallelFunction[P, R] | None:
        """What a worker finds under this function's name: this object, or the one it is a copy of; else None."""
        from manyhands.transport.serialize import named

        found: object = named(self)
        if found is self:
            return self
        if (
            isinstance(found, ParallelFunction)
            and found.__wrapped__ is self.__wrapped__
            and named(found) is found
        ):
            return found
        return None

    def _shipped(self) -> Any:
        """What goes to the workers: what they find by name, or else the function itself."""
        return self._original() or self.__wrapped__

    def _all(
        self, iterables: tuple[Any, ...], constants: dict[str, Any], shape: int, *, star: bool = False
    ) -> list[Any]:
        items = iterables[0]
        settings = self.settings
        away = self._guarded(settings)
        if shape == ONE and type(items) in PLAIN and len(items[:2]) < 2 and settings.simple and not away:
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
        results = _joined(runs)
        if settings.on_error != "collect":
            return results
        from manyhands.scheduling.failures import Collected

        return Collected(results)

    def _guarded(self, settings: Options) -> bool:
        """Whether this process is to be spared the tasks: they may end it, or failures of every kind are asked for."""
        memory = self._memory
        if memory.deadly or settings.retries:
            return True
        failures = settings.on_error != "raise" or settings.on_error_callback is not None
        return failures and (memory.cost is None or memory.cost > CHEAP)

    def _at_most_one(self, items: Any, constants: dict[str, Any]) -> list[Any]:
        """A call so small that planning it would cost more than doing it."""
        try:
            return [self.__wrapped__(item, **constants) for item in items]
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
        source = Source(iterables, star=star)
        if (
            settings.backend == "serial"
            or _inside_worker()
            or (source.total is not None and source.total < 2 and not (away or settings.isolated))
        ):
            backend = None
        else:
            backend = make(settings)
        way = None
        if settings.seed is not None or settings.context:
            from manyhands.engine.ways import of as way_of

            way = way_of(settings)
        job = Job(self.__wrapped__, self._shipped, constants, shape, self._memory, way)
        if backend is None and settings.initializer is not None and not self._memory.initialized:
            settings.initializer(*settings.initargs)
            self._memory.initialized = True
        policy = None
        if not settings.simple:
            from manyhands.scheduling.policy import of

            policy = of(settings)
        return Call(
            job, source, backend, chunksize=settings.chunksize, window=settings.buffersize, away=away, policy=policy,
            timeout=settings.timeout, deadline=settings.deadline, **how,
        )  # fmt: skip


def _may_end_process(code: Any) -> bool:
    """Whether a function is written to end its process: that must not be the caller's."""
    if code is None:
        return False
    inner = (constant for constant in code.co_consts if hasattr(constant, "co_names"))
    return not DEADLY.isdisjoint(code.co_names) or any(map(_may_end_process, inner))


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


def _inside_worker() -> bool:
    worker = sys.modules.get("manyhands.engine.worker")
    return worker is not None and worker.inside


def _copy(original: ParallelFunction[Any, Any], changes: dict[str, Any]) -> ParallelFunction[Any, Any]:
    return ParallelFunction(original.__wrapped__, changes)


def _restore(function: Any, changes: dict[str, Any]) -> ParallelFunction[Any, Any]:
    return ParallelFunction(function, changes)
