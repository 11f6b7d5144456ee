"""Single calls: in a worker of the shared pool, in a worker of their own, as a stream, or right here.

``functions`` and ``tasks`` use it. What was asked for in the options (time limits, retries, callbacks) is given to the engine's
``Submissions``, or kept here.
"""

from __future__ import annotations

from manyhands.backends.processes import Processes
from manyhands.engine.attending import TaskFuture
from manyhands.engine.executor import pack_task
from manyhands.engine.lanes import ANY
from manyhands.engine.submissions import Task
from manyhands.naming import parameters
from manyhands.retries import of as retries_of
from manyhands.shared.committing import done
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from manyhands.decorated import Decorated
    from manyhands.engine.streams import Definition
    from manyhands.scheduling.running import RunningTask
    from manyhands.scheduling.streaming import TaskStream


def send(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """Have a worker make one call, and return its future at once; what cannot be sent is the future's exception.

    Args:
        function: the decorated function.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    future = joined(function, args, kwargs, lambda: _send(function, args, kwargs))
    return _answered(future, function, args, kwargs)


def joined(
    function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any], begin: Callable[[], Future[Any]]
) -> Future[Any]:
    """Begin one call; one of a function with a cache goes through that, together with equal ones.

    Args:
        function: the decorated function.
        args: positional arguments.
        kwargs: keyword arguments.
        begin: begins it, and returns its future.
    """
    cache = function._cache()
    if cache is None:
        return begin()
    from manyhands.scheduling.joining import join

    return join(function, cache, args, kwargs, begin)


def _send(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    settings = function.settings
    shipped = function._shipped()
    if getattr(function, "_generates", False):
        from manyhands.engine.ports import Listing

        shipped = Listing(shipped)
    backend = Processes(settings)
    submissions = backend.submissions()
    future = TaskFuture()
    with _connecting() as streams:
        named = _numbered(function, kwargs)
        packed = pack_task(
            shipped, args, named, settings.initializer, future, function._plain(), backend.way,
            submissions.pool,
        )  # fmt: skip
        lane = ANY if packed is None else _lane(function, args, kwargs, future, backend)
    if packed is not None and lane is not None:
        task = Task(
            future,
            *packed,
            settings.timeout,
            retries_of(settings),
            _explain(function, args, kwargs),
            lane=lane,
        )
        if streams:
            from manyhands.engine.talks import Talks
            from manyhands.scheduling.streaming import connect

            talks = Talks(backend.pool())
            task.heard = talks.heard
            task.retries = None  # what it has read of a stream, it cannot read again
            connect(streams, talks, future)
        submissions.submit(task)
        if settings.deadline is not None:
            submissions.expire(task, settings.deadline)
    return future


def _lane(
    function: Decorated,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    future: Future[Any],
    backend: Processes,
) -> int | None:
    """The lane of a call's key; None: it has none, and the future has the exception."""
    affinity = function.settings.affinity
    if affinity is None:
        return ANY
    from manyhands.backends.affinity import key_hash

    try:
        return backend.pool().lanes.of([key_hash(affinity, args, kwargs)], backend.workers)[0]
    except Exception as error:
        _explain(function, args, kwargs)(error, None)
        future.set_running_or_notify_cancel()
        future.set_exception(error)
        return None


def _numbered(function: Decorated, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a task, with its number among those of the function if it needs one."""
    if function.settings.seed is None:
        return kwargs
    from manyhands.engine.ways import INDEX

    return {**kwargs, INDEX: next(function._submitted)}


def _run_here(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any], index: int) -> Any:
    """Call a function once, with the random stream and the context that its options ask for."""
    if tally.made:
        return done(tally.counted(_run_alone)(function, args, kwargs, index))
    return _run_alone(function, args, kwargs, index)


def _run_alone(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any], index: int) -> Any:
    options = function.settings
    if options.seed is None and not options.context:
        return function._function(*args, **kwargs)
    from manyhands.engine.ways import of

    way = of(options)
    assert way is not None
    call, close = way.here(lambda _: function._function(*args, **kwargs), index)
    try:
        return call(None)
    finally:
        close()


class Answer(TaskFuture):
    """What the options of a function make of the outcome of its task.

    Args:
        source: the future of the task.
    """

    def __init__(self, source: Future[Any]) -> None:
        super().__init__()
        self.source = source
        self.pool = getattr(source, "pool", None)

    def cancel(self) -> bool:
        return bool(self.source.cancel())  # whose callback cancels this one

    def running(self) -> bool:
        return bool(self.source.running())

    def follow(self) -> None:
        """The task has been cancelled."""
        super().cancel()
        self.set_running_or_notify_cancel()


def _answered(
    future: Future[Any], function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[Any]:
    """The future that the caller gets: that of the task, or one with what the options make of its failure."""
    settings = function.settings
    # A single call has nothing to skip, and a default of "collect" is about calls over many items.
    plain = settings.on_error in {"raise", "skip"} or (
        settings.on_error == "collect" and "on_error" not in function._changes
    )
    if settings.on_result is None and settings.on_error_callback is None and plain:
        return future
    from manyhands.scheduling.policy import of

    policy = of(settings)
    assert policy is not None
    answer = Answer(future)

    def done(future: Future[Any]) -> None:
        from manyhands.engine.submissions import resolve

        if future.cancelled():
            answer.follow()
            return
        error, value = future.exception(), None
        try:
            if error is None:
                value = future.result()
                policy.results(0, [value])
            else:
                failure = policy.failure(
                    0, args[0] if len(args) == 1 and not kwargs else (args, kwargs), error
                )
                if not plain:
                    try:
                        (value,), error = policy.replace(failure), None
                    except Exception as refusal:
                        error = refusal
        except BaseException:  # sys.exit() in a callback would end the thread that all results come through
            import logging

            logging.getLogger("manyhands").exception("exception calling a callback of %r", answer)
        resolve(answer, value, error)

    future.add_done_callback(done)
    return answer


def wait_for(future: Future[Any]) -> Any:
    """Wait for a call, and end it if the wait is ended (by Ctrl-C, say).

    Args:
        future: of ``send``.
    """
    try:
        return future.result()
    except BaseException:
        if not future.done():
            # Loaded here, not in the loop thread when the worker has ended: what it loads evaluates strings, at which the
            # interpreter forgets that Ctrl-C ends the program, and ends it with another exit code.
            from manyhands.exceptions import WorkerCrashedError  # noqa: F401

            end(future)
        raise


def end(future: Future[Any]) -> None:
    """End a call that nobody waits for any more, with its worker if it has begun.

    Args:
        future: of ``send``.
    """
    while getattr(future, "source", None) is not None:
        future = future.source  # type: ignore[attr-defined]
    submissions = getattr(future, "submissions", None)
    if not future.cancel() and submissions is not None:
        submissions.end(future)


def here(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make a call right here, as often as the options say.

    Args:
        function: the decorated function.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    retries, attempts = retries_of(function.settings), 0
    index = 0 if function.settings.seed is None else next(function._submitted)
    while True:
        try:
            return _run_here(function, args, kwargs, index)
        except BaseException as error:
            attempts += 1
            if retries is None or not retries.worth(error, attempts):
                raise
            from time import sleep

            sleep(retries.wait(attempts))


def done_here(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """Make a call right here, and return a future that is done.

    Args:
        function: the decorated function.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    from concurrent.futures import Future

    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    try:
        value = here(function, args, kwargs)
        future.set_result(list(value) if getattr(function, "_generates", False) else value)
    except BaseException as error:
        future.set_exception(error)
    return _answered(future, function, args, kwargs)


def stream(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskStream[Any]:
    """Have a worker of its own run a generator function, and return the stream of its items.

    Args:
        function: the decorated function.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    from manyhands.engine.ports import Producing
    from manyhands.scheduling.streaming import AHEAD, Producer, TaskStream

    task = _dedicated(function, Producing(function._shipped()), args, kwargs)
    return TaskStream(Producer(task, function.settings.buffersize or AHEAD), function._name())


def start(function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunningTask[Any]:
    """Run a function in a worker of its own.

    Args:
        function: the decorated function.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        TypeError: it is a generator function.
    """
    from manyhands.engine.ports import Started
    from manyhands.scheduling.running import RunningTask

    if getattr(function, "_generates", False):
        raise TypeError(
            f"{function._name()} is a generator function: call it, and iterate over the stream that it gives"
        )
    wanted = tuple(
        name for name in ("stop", "channel") if name not in kwargs and _takes(function, name, args)
    )
    task = _dedicated(function, Started(function._shipped(), wanted), args, kwargs)
    return RunningTask(task, function._name())


def _takes(function: Decorated, name: str, args: tuple[Any, ...]) -> bool:
    """Whether a function has a parameter of that name that its positional arguments leave free."""
    from inspect import Parameter

    free = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    for place, parameter in enumerate((parameters(function.__wrapped__) or {}).values()):
        if parameter.name == name and parameter.kind in free:
            return parameter.kind == Parameter.KEYWORD_ONLY or place >= len(args)
    return False


def _dedicated(function: Decorated, shipped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A task with a worker of its own, not started yet."""
    from manyhands.engine.talks import Dedicated

    settings = function.settings
    changes = function._changes  # of this function: defaults for all functions are not about this
    if changes.get("retries") or changes.get("on_error", "raise") != "raise":
        from manyhands.exceptions import OptionsError

        name = "retries" if changes.get("retries") else "on_error"
        raise OptionsError(
            f"{function._name()} has {name}={getattr(settings, name)!r}, which means nothing for a task that runs by itself or "
            f"streams: what it has done cannot be done over; use .options({name}={0 if settings.retries else 'raise'!r})"
        )
    backend = Processes(settings)
    pool = backend.pool()
    pool.start()
    failed = TaskFuture()
    with _connecting() as streams:
        packed: tuple[Definition, bytes] | None = pack_task(
            shipped,
            args,
            _numbered(function, kwargs),
            settings.initializer,
            failed,
            function._plain(),
            backend.way,
            pool,
        )
    if packed is None:
        failed.result()
    assert packed is not None
    task = Dedicated(pool, *packed, settings.timeout, _explain(function, args, kwargs))
    if settings.deadline is not None:
        task.expire(settings.deadline)
    if settings.on_result is not None or settings.on_error_callback is not None:
        _answered(task.future, function, args, kwargs)
    if streams:
        from manyhands.scheduling.streaming import connect

        connect(streams, task.talks, task.future)
    return task


class _connecting:  # noqa: N801 - a context manager
    """While arguments are packed: the streams among them, where there are streams at all."""

    def __enter__(self) -> list[Any]:
        import sys

        streaming = sys.modules.get("manyhands.scheduling.streaming")
        self._inner = streaming.connecting() if streaming is not None else None
        return self._inner.__enter__() if self._inner is not None else []

    def __exit__(self, *_: object) -> None:
        if self._inner is not None:
            self._inner.__exit__()


def _explain(
    function: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[BaseException, int | None], object]:
    """What adds to an exception which call it was."""

    def explain(error: BaseException, worker: int | None) -> None:
        from manyhands.scheduling.failures import note

        where = "not done" if worker is None else f"in worker {worker}"
        note(error, None, function._name(), (args, kwargs), 2, where)

    return explain
