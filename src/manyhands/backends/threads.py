"""The "threads" backend: tasks in threads of this process, for free-threaded builds and for tasks that mostly wait.

Nothing is pickled: functions, arguments, results and exceptions are the caller's own objects, and what a task changes
in place is changed. Functions share one crew of threads, started when first needed and ended at exit; an initializer
has a crew of its own, because it sets up each of its threads. Threads cannot be ended from outside: closing a call
stops it after the tasks that are running.

A call made inside one of these threads has a thread of its own: were it to wait for its own crew, all could be waiting.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any

from manyhands.backends.crew import Crew, ThreadLine, after_fork_in_child, inside, run_task
from manyhands.engine.ways import of
from manyhands.transport import tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from manyhands.engine.streams import Deliver
    from manyhands.options import Options

_crews: dict[tuple[Any, ...], Crew] = {}
_lock = threading.Lock()


class Threads:
    """The backend of one set of options.

    Args:
        options: how many threads, and what sets them up.

    Raises:
        OptionsError: ``max_tasks_per_child`` is set; threads cannot be replaced.
    """

    def __init__(self, options: Options) -> None:
        options.refuse(
            ("max_tasks_per_child", "timeout", "memory_limit", "seed"),
            "the threads of backend='threads' cannot be ended, limited or given a random state one by one: leave it out, or use "
            "backend='processes'",
        )
        from manyhands.engine.cores import cpu_count

        self.options = options
        self.nested = inside()
        #: In the context of who makes the call.
        self.way = of(options)
        self.workers = 1 if self.nested else options.max_workers or cpu_count()
        #: Tasks rely on something that the caller's thread has not got.
        self.isolated = options.isolated
        self.shares = True

    def warm(self) -> bool:
        crew = _crews.get(_key(self.options))
        return crew is not None and crew.ready > 0

    def crew(self) -> Crew:
        """The threads for these options, started if there are none yet."""
        options = self.options
        if self.nested:
            crew = Crew(options.initializer, options.initargs)
        else:
            with _lock:
                if not _crews:
                    _register()
                key = _key(options)
                crew = _crews.get(key) or Crew(options.initializer, options.initargs)
                if crew.broken is not None:
                    crew = Crew(options.initializer, options.initargs)
                _crews[key] = crew
        crew.grow(self.workers)
        return crew

    def missed(self) -> float:
        """Return 0: threads start at once."""
        return 0.0

    def miss(self, seconds: float) -> None:
        """Forget it: threads start at once."""

    def open(
        self, function: Any, constants: dict[str, Any], shape: int, deliver: Deliver, *, eager: bool
    ) -> ThreadLine:
        plain = getattr(function, "__manyhands__", function)
        call = partial(plain, **constants) if constants else plain
        if self.way is not None:
            call = self.way.inside(call)
        if shape:
            unpacked = call
            call = lambda item: unpacked(*item)  # noqa: E731
        if tally.made:
            call = tally.counted(call)
        return ThreadLine(self.crew(), call, deliver, self.workers, private=self.nested)


class Tasks:
    """Single tasks in the threads, as an executor takes them.

    Args:
        threads: the backend.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start one call and return its future; inside one of the threads it runs right there."""
        future: Future[Any] = Future()
        if self._threads.way is not None:
            function = self._threads.way.inside(function)
        task = (future, function, args, kwargs)
        if self._threads.nested:
            run_task(task)
        else:
            self._threads.crew().submit(task, self._threads.workers)
        return future


def executor(options: Options) -> Tasks:
    """Return what ``submit`` needs: an object with ``submit``, over the shared threads.

    Args:
        options: of the function.

    Raises:
        OptionsError: as ``Threads``.
    """
    return Tasks(Threads(options))


def _key(options: Options) -> tuple[Any, ...]:
    """What crews are told apart by: the very initializer and arguments. Crews keep them, so that their ids stay theirs."""
    return id(options.initializer), tuple(map(id, options.initargs))


def shutdown() -> None:
    """Wait for what was submitted and end the threads; the next call starts new ones.

    Example:
        >>> shutdown()
    """
    with _lock:
        crews = list(_crews.values())
        _crews.clear()
    for crew in crews:
        while crew.futures:
            wait(list(crew.futures))
        crew.close()


_registered: set[int] = set()


def _register() -> None:
    if os.getpid() not in _registered:
        import atexit

        _registered.add(os.getpid())
        atexit.register(shutdown)


def _after_fork_in_child() -> None:
    global _lock
    _crews.clear()
    after_fork_in_child()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
