"""``submit`` of a decorated function: one task, one future, in the shared pool."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from manyhands.options import Options


def submit(
    options: Options,
    shipped: Any,
    function: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    here: bool,
    index: int,
) -> Future[Any]:
    """Return the future of one task.

    Args:
        options: of the function.
        shipped: gives what is sent to the worker in the function's place.
        function: the plain function.
        args: positional arguments.
        kwargs: keyword arguments.
        here: run it in the calling thread, now: inside a worker, or with the "serial" backend.
        index: how many were submitted before it.
    """
    if here:
        from concurrent.futures import Future

        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(_run_here(options, function, args, kwargs, index))
        except BaseException as error:
            future.set_exception(error)
        return future
    if options.backend == "threads":
        from manyhands.backends.threads import executor

        return executor(options).submit(function, *args, **kwargs)
    from manyhands.backends.processes import Processes
    from manyhands.engine.attending import TaskFuture
    from manyhands.engine.executor import pack_task

    task = TaskFuture()
    processes = Processes(options)
    submissions = processes.submissions()
    if options.seed is not None:
        from manyhands.engine.ways import INDEX

        kwargs = {**kwargs, INDEX: index}
    packed = pack_task(shipped(), args, kwargs, submissions.initializer, task, processes.way)
    if packed is not None:
        submissions.submit(*packed, task)
    return task


def _run_here(
    options: Options, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], index: int
) -> Any:
    if options.seed is None and not options.context:
        return function(*args, **kwargs)
    from manyhands.engine.ways import of

    way = of(options)
    assert way is not None
    call, close = way.here(lambda _: function(*args, **kwargs), index)
    try:
        return call(None)
    finally:
        close()
