"""``ProcessPool``: a pool as a ``concurrent.futures.Executor``, for everything that takes an executor."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Executor
from time import monotonic

from manyhands.engine.attending import TaskFuture
from manyhands.engine.definitions import define, extend, pack_initializer, refused
from manyhands.engine.interrupts import HeldBack
from manyhands.engine.pool import Pool
from manyhands.engine.submissions import FULL, Submissions, Task
from manyhands.options import Options, validated
from manyhands.transport.serialize import Encoder, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, ParamSpec, TypeVar

    from manyhands.engine.streams import Definition
    from manyhands.engine.ways import Way

    P = ParamSpec("P")
    T = TypeVar("T")

SHUT_DOWN = "cannot schedule new futures after shutdown: the pool has been shut down"

#: At the end of the program, futures that are not done yet are waited for; what then runs on is ended.
_open: weakref.WeakSet[ProcessPool] = weakref.WeakSet()
_finishing: set[tuple[Submissions, Pool]] = set()


class ProcessPool(Executor):
    """A pool of worker processes; the whole of ``concurrent.futures.Executor``.

    Unlike ``ProcessPoolExecutor`` it needs no ``__main__`` guard, takes lambdas and functions of ``__main__``, replaces a
    worker that dies, and fails only the task that was running in it.

    Args:
        max_workers: how many workers; None: one for each core this process may use.
        mp_context: a ``multiprocessing`` context, or None; only its start method counts.
        initializer: called once in every worker before its first task.
        initargs: the arguments of ``initializer``.
        max_tasks_per_child: a worker is replaced after that many tasks; None: never.
        start_method: "template" (also called "forkserver"), "spawn" or "fork"; None: "template" where there is a fork.
        arena_limit: bytes (or "500 MB", "2 GiB") of shared memory for large arguments, and as much for results; 0: none. None: a
            quarter of the machine's memory.

    Raises:
        OptionsError: a number is out of range.
        TypeError: an argument is of the wrong type.
        UnpicklableError: the initializer or its arguments cannot be sent to a worker.

    Example:
        >>> with ProcessPool(max_workers=2) as pool:
        ...     pool.submit(pow, 2, 5).result()
        32

    Source:
        The interface is that of PEP 3148 and the documentation of ``concurrent.futures``.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        start_method: str | None = None,
        arena_limit: int | str | None = None,
    ) -> None:
        from manyhands.engine.cores import cpu_count

        options = Options().changed(
            validated(
                {
                    "max_workers": max_workers,
                    "start_method": start_method,
                    "initializer": initializer,
                    "initargs": initargs,
                    "max_tasks_per_child": max_tasks_per_child,
                    "arena_limit": arena_limit,
                    **({"mp_context": mp_context} if mp_context is not None else {}),
                }
            )
        )
        self._initializer = initializer
        packed = pack_initializer(initializer, initargs)
        self._pool = Pool(
            options.max_workers or cpu_count(), options.start_method, packed, max_tasks_per_child,
            arena_limit=options.arena_limit,
        )  # fmt: skip
        self._submissions: Submissions | None = None
        self._lock = threading.Lock()
        self._shut_down = False
        self._held: list[Submissions] = []
        self._finalizer = weakref.finalize(self, _let_go, self._pool, self._held)
        self._finalizer.atexit = False
        _remember(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue one call and return its future.

        Args:
            fn: the function.
            *args: positional arguments.
            **kwargs: keyword arguments.

        Returns:
            The future. What cannot be pickled is its exception.

        Raises:
            RuntimeError: the pool has been shut down, or belongs to another process.
            BrokenProcessPool: the initializer has failed.
            TypeError: ``fn`` is not callable.

        Example:
            >>> with ProcessPool(1) as pool:
            ...     pool.submit(divmod, 7, 2).result()
            (3, 1)
        """
        if not callable(fn):
            raise TypeError(f"submit needs a function, not {fn!r:.60} (a {type(fn).__name__})")
        self._pool.check_owner()
        future = TaskFuture()
        first = self._submissions is None
        if first:
            self._pool.by_value = reference(fn) is None
            with HeldBack(), self._lock:
                self._check_open()
                if self._submissions is None:  # workers start while the rest is loaded
                    self._submissions = Submissions(self._pool, self._initializer)
                    self._held.append(self._submissions)
        packed = pack_task(fn, args, kwargs, self._initializer, future, pool=self._pool)
        with HeldBack(), self._lock:  # nothing is queued after shutdown() has begun to wait
            if not first:
                self._check_open()
            elif self._shut_down:
                raise RuntimeError(SHUT_DOWN)
            assert self._submissions is not None
            if packed is not None:
                self._submissions.submit(Task(future, *packed))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """As the builtin ``map``, over the workers; tasks start at once, results come in input order.

        Args:
            fn: the function.
            *iterables: one for each positional argument; the shortest ends the call.
            timeout: seconds from now until a result is waited for no longer.
            chunksize: so many items are one task; 1: small tasks are grouped by themselves.
            buffersize: how many tasks may be ahead of the consumer; None: the whole input is read at once.

        Returns:
            An iterator over the results; dropping it cancels what has not begun.

        Raises:
            TimeoutError: (from the iterator) a result was not there in time.
            ValueError: ``chunksize`` or ``buffersize`` is less than 1.

        Example:
            >>> with ProcessPool(2) as pool:
            ...     list(pool.map(abs, [-1, 2]))
            [1, 2]
        """
        if not callable(fn):
            raise TypeError(f"map needs a function, not {fn!r:.60} (a {type(fn).__name__})")
        for name, value in (("chunksize", chunksize), ("buffersize", buffersize)):
            validated({name: value})
        deadline = None if timeout is None else timeout + monotonic()
        tasks: Iterator[Any] = zip(*iterables, strict=False)
        if chunksize > 1:
            chunks = iter(lambda: list(itertools.islice(tasks, chunksize)), [])
            futures = (self.submit(run_chunk, fn, chunk) for chunk in chunks)
            return itertools.chain.from_iterable(_results(_ahead(futures, buffersize), futures, deadline))  # type: ignore[arg-type]
        futures_ = (self.submit(fn, *task) for task in tasks)
        return _results(_ahead(futures_, buffersize), futures_, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and let the workers go when those there are have been done.

        Args:
            wait: return only when all is done and every worker has ended.
            cancel_futures: cancel what has not been sent to a worker.

        Example:
            >>> pool = ProcessPool(1)
            >>> pool.shutdown()
        """
        submissions = self._close()
        if submissions is not None:
            if cancel_futures:
                submissions.cancel_pending()
            if not wait or self._pool.in_loop():
                _finish(submissions, self._pool)
                return
            submissions.wait()
        self._let_go()

    def kill_workers(self) -> None:
        """End every worker at once, whatever it is doing, and the pool with them.

        Tasks that were running have a ``WorkerCrashedError``; those that had not begun are cancelled. For tasks that never
        end; a ``with`` block that is left by an exception does this, too.

        Example:
            >>> import time
            >>> pool = ProcessPool(1)
            >>> future = pool.submit(time.sleep, 3600)
            >>> pool.kill_workers()
            >>> future.done()
            True
        """
        self._kill("kill_workers()")

    def terminate_workers(self) -> None:
        """Ask every worker to end (SIGTERM), and the pool with them; those that do not are ended after a second.

        Tasks that were running have a ``WorkerCrashedError``; those that had not begun are cancelled.

        Example:
            >>> import time
            >>> pool = ProcessPool(1)
            >>> future = pool.submit(time.sleep, 3600)
            >>> pool.terminate_workers()
            >>> future.done()
            True
        """
        self._pool.terminate()
        self._kill("terminate_workers()", within=1.0)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait for what was submitted; after an exception, end it: nobody is left who would take the results."""
        if error is None:
            self.shutdown()
        else:
            self._kill(f"leaving the with block by {type(error).__name__}")

    def _kill(self, reason: str, within: float = 0.0) -> None:
        submissions = self._close()
        if submissions is not None:
            from manyhands.exceptions import WorkerCrashedError

            submissions.cancel_pending()
            submissions.fail(WorkerCrashedError(f"{reason} has ended the pool while this task was under way"))
            if self._pool.in_loop():
                _finish(submissions, self._pool)
                return
        if within:
            self._pool.close(kill=False, timeout=within)
        self._let_go()

    def _check_open(self) -> None:
        """Refuse tasks that no worker would take.

        Raises:
            RuntimeError: the pool has been shut down.
            BrokenProcessPool: the initializer has failed.
        """
        if self._shut_down:
            raise RuntimeError(SHUT_DOWN)
        if self._pool.broken is not None:
            raise self._pool.broken

    def _close(self) -> Submissions | None:
        """Take no more tasks; return those there are, if they are this process's."""
        if (
            self._pool.owner != os.getpid()
        ):  # a forked child's copy: the lock may be held by a thread that is not here
            self._shut_down = True
            return None
        with HeldBack(), self._lock:
            self._shut_down = True
            return self._submissions

    def _let_go(self) -> None:
        _open.discard(self)
        self._finalizer.detach()
        self._pool.close()

    def __reduce__(self) -> Any:
        raise TypeError("a ProcessPool belongs to the process that made it; make one in the task")

    def __repr__(self) -> str:
        return f"<ProcessPool of {self._pool.size}{', shut down' if self._shut_down else ''}>"


def pack_task(
    function: Any,
    args: Any,
    kwargs: Any,
    initializer: Any,
    future: TaskFuture,
    reads: Any = None,
    way: Way | None = None,
    pool: Pool | None = None,
) -> tuple[Definition, bytes] | None:
    """Return one task as it is sent; None: it cannot be packed, which is now the future's exception.

    Args:
        function: the function.
        args: its positional arguments.
        kwargs: its keyword arguments.
        initializer: of the pool.
        future: of the task.
        reads: the function whose globals are sent along, if ``function`` only calls it.
        way: how it is run, if there is anything to that.
        pool: whose shared memory takes what is large.
    """
    try:
        definition = define(function, {}, initializer, reads, way, None if pool is None else pool.keep)
        encoder = Encoder({}, learn=True, store=None if pool is None else pool.store)
        try:
            frame = encoder.encode((args, kwargs))
        except BaseException as error:
            raise refused((args, kwargs), FULL, error) from error
        if encoder.book:
            definition = extend(definition, encoder.book)
            future.classes = encoder.book
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        future.set_running_or_notify_cancel()
        future.set_exception(error)
        return None
    return definition, frame


def run_chunk(function: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    """In a worker: one task that is several items of ``map``."""
    return [function(*item) for item in chunk]


def _ahead(futures: Iterator[Future[T]], buffersize: int | None) -> deque[Future[T]]:
    """Submit what may be ahead of the consumer; nothing stays submitted when the input raises."""
    submitted: deque[Future[T]] = deque()
    try:
        submitted.extend(itertools.islice(futures, buffersize))
    except BaseException:
        for future in submitted:
            future.cancel()
        raise
    return submitted


def _results(waiting: deque[Future[T]], more: Iterator[Future[T]], deadline: float | None) -> Iterator[T]:
    """The results of futures in order, submitting another one for each that is taken."""

    def results() -> Iterator[T]:
        try:
            while waiting:
                first = [waiting.popleft()]
                waiting.extend(itertools.islice(more, 1))
                yield _result(first, deadline)
        finally:
            for future in waiting:
                future.cancel()

    return results()


def _result(future: list[Future[T]], deadline: float | None) -> T:
    """The result of the one future in a list, which nothing here holds any more when it is given out."""
    try:
        timeout = None if deadline is None else deadline - monotonic()
        return future[0].result(timeout)
    finally:
        future.pop().cancel()


def _finish(submissions: Submissions, pool: Pool) -> None:
    """Close a pool when its futures are done, while its owner does something else."""
    entry = (submissions, pool)

    def finish() -> None:
        submissions.wait()
        pool.close()
        _finishing.discard(entry)

    _finishing.add(
        entry
    )  # the end of the program waits for them: not for the thread, which Ctrl-C could not stop
    threading.Thread(target=finish, name="manyhands-shutdown", daemon=True).start()


def _let_go(pool: Pool, held: list[Submissions]) -> None:
    """A pool that nobody has any more: its workers go when they have done what they were given."""
    if held and pool.running:
        _finish(held[0], pool)


def _remember(pool: ProcessPool) -> None:
    if not _open and not _registered:
        import atexit

        _registered.append(True)
        atexit.register(_at_exit)
    _open.add(pool)


_registered: list[bool] = []


def _after_fork_in_child() -> None:
    """The pools are the parent's, and so is waiting for them."""
    _open.clear()
    _finishing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _at_exit() -> None:
    for pool in list(_open):
        pool.shutdown()
    for submissions, engine in list(_finishing):
        submissions.wait()
        engine.close()
