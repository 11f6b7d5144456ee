"""The threads behind the "threads" backend: a crew that takes chunks of tasks, the calls in turn.

A chunk is run by one thread, which gives the second half of what is left to the others when they have nothing to do.
``backends.threads`` keeps the crews and opens calls in them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from manyhands.engine.streams import Broken, Changed, Results
from manyhands.shared.committing import done
from manyhands.transport import tally
from manyhands.transport.frozen import Frozen, opened
from manyhands.transport.tally import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from manyhands.engine.streams import Deliver

    Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]

#: Results wait for so many seconds at most while the tasks of their chunk go on.
FLUSH = 0.005
#: A chunk that has lasted longer than this many seconds is shared with threads that have nothing to do.
SHARE = 0.002

_here = threading.local()


def inside() -> bool:
    """Tell whether the calling thread is one of a crew."""
    return getattr(_here, "crew", None) is not None


class Chunk:
    """Tasks that travel together.

    Args:
        line: the call they belong to.
        items: the items, one for each task.
        base: the index of the first in the input.
    """

    __slots__ = ("base", "items", "line")

    def __init__(self, line: ThreadLine, items: Sequence[Any], base: int) -> None:
        self.line = line
        self.items = items
        self.base = base


class ThreadLine:
    """One call's way to the threads.

    Args:
        crew: the threads.
        function: what to call with each item.
        deliver: takes the events, in the thread that they come from.
        limit: how many threads it may occupy.
        private: the crew is this call's alone and ends with it.
    """

    spread = 1

    def __init__(
        self,
        crew: Crew,
        function: Callable[[Any], Any],
        deliver: Deliver,
        limit: int,
        *,
        private: bool = False,
    ) -> None:
        self.deliver = deliver
        self.function = function
        self.waiting: deque[Chunk] = deque()
        self.in_flight = 0
        self.closed = False
        self._crew = crew
        self._limit = limit
        self._private = private
        self._owner = os.getpid()
        crew.join(self)

    @property
    def ready(self) -> int:
        return self._crew.ready

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, workers: int) -> None:
        more, self._limit = workers > self._limit, workers
        if more:
            self._crew.wake()

    def outstanding(self) -> int:
        return len(self.waiting) + self.in_flight

    def pack(self, items: Sequence[Any], base: int) -> tuple[Sequence[Any], int]:
        if any(type(item) is Frozen for item in items):
            return [*map(opened, items)], 0
        return items, 0

    def freeze(self, item: Any) -> bytes:
        raise TypeError("threads get the very objects")

    def send(self, packed: Sequence[Any], count: int, base: int, timeout: float | None) -> None:
        self._crew.post(Chunk(self, packed, base))

    def value(self, outcome: Any) -> Any:
        return outcome

    def error(self, outcome: Any) -> BaseException:
        error: BaseException = outcome
        return error

    def check_wait(self) -> None:
        if self._owner != os.getpid():
            raise RuntimeError(
                f"this call runs in threads of process {self._owner}, and this is process {os.getpid()}, forked from it without "
                "them; begin it again here"
            )

    def close(self, *, kill: bool) -> None:
        self._crew.forget(self)
        if self._private:
            self._crew.close()


class Crew:
    """Threads that take chunks, the calls in turn.

    Args:
        initializer: called in each thread before its first task, or None.
        initargs: the arguments of ``initializer``.
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        self.initializer = initializer
        self.initargs = initargs
        self.broken: Exception | None = None
        self.ready = 0  # threads that are set up
        self.idle = 0  # threads that wait for a chunk
        self.size = 0  # threads, without those whose task nobody waits for
        self._busy = 0  # threads in somebody else's code: an initializer, a task
        self._closing = False
        self._threads: set[threading.Thread] = set()
        self._lines: deque[ThreadLine] = deque()
        self._news = threading.Condition()
        self._tasks: ThreadLine | None = None
        self.futures: set[Future[Any]] = set()  # of single tasks that are not done
        self._unbegun: set[Future[Any]] = set()  # who takes one out of it, and no other, gives it its outcome

    # any thread

    def grow(self, size: int) -> None:
        """Have at least so many threads from now on; fewer if the system gives no more."""
        with self._news:
            while self.size < size and self.broken is None:
                thread = threading.Thread(target=self._run, name="manyhands-worker", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads to be had
                    if not self.size:
                        self.broken = error
                    return
                self._threads.add(thread)
                self.size += 1
                if self.initializer is None:
                    self.ready += 1
                else:
                    self._busy += 1

    def join(self, line: ThreadLine) -> None:
        """Begin a call."""
        with self._news:
            if self.broken is None:
                self._lines.append(line)
                return
        line.deliver(Broken(self.broken))

    def post(self, chunk: Chunk) -> None:
        """Hand over a chunk."""
        with self._news:
            if not chunk.line.closed and self.broken is None:
                chunk.line.waiting.append(chunk)
                self._news.notify()

    def wake(self) -> None:
        """Have idle threads look for chunks that they may take now."""
        with self._news:
            self._news.notify_all()

    def forget(self, line: ThreadLine) -> None:
        """Nothing of that call begins any more; threads that are in its tasks end after these, and have successors."""
        with self._news:
            if not line.closed:
                line.closed = True
                line.waiting.clear()
                self.size -= line.in_flight
                self.ready -= line.in_flight
                if line in self._lines:
                    self._lines.remove(line)

    def submit(self, task: Task, limit: int) -> None:
        """Queue a single task."""
        with self._news:
            line = self._tasks
            self.futures.add(task[0])
            self._unbegun.add(task[0])
        if line is None:
            line = self._tasks = ThreadLine(self, self._run_single, self._told, limit)
        line.limit = max(line.limit, limit)
        task[0].add_done_callback(self.futures.discard)
        self.post(Chunk(line, [task], 0))
        if self.broken is not None:
            self._told(Broken(self.broken))

    def close(self) -> None:
        """End the threads: idle ones at once, the others after their task."""
        with self._news:
            self._closing = True
            for line in self._lines:
                line.closed = True
                line.waiting.clear()
            self._news.notify_all()
            busy, threads = self._busy, list(self._threads)
        if not busy:  # who runs a task may run it for ever
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()

    def _told(self, event: object) -> None:
        """What becomes of single tasks is in their futures, unless no thread can run them."""
        if isinstance(event, Broken):
            while self._unbegun:
                try:
                    future = self._unbegun.pop()
                except KeyError:  # another thread has taken the last
                    break
                if future.set_running_or_notify_cancel():
                    future.set_exception(event.error)

    def _run_single(self, task: Task) -> None:
        try:
            self._unbegun.remove(task[0])
        except KeyError:
            return
        run_task(task)

    # in the threads

    def _run(self) -> None:
        _here.crew = self
        if self._set_up():
            number = threading.get_native_id()
            while (chunk := self._take()) is not None:
                if not self._work(chunk, number):
                    break
                del chunk  # an idle thread holds on to nobody's items
        with self._news:
            self._threads.discard(threading.current_thread())

    def _set_up(self) -> bool:
        if self.initializer is None:
            return True
        error: Exception | None = None
        try:
            getattr(self.initializer, "__manyhands__", self.initializer)(*self.initargs)
        except BaseException as cause:
            from manyhands.exceptions import InitializerError

            error = InitializerError(
                f"the initializer failed in a thread: {type(cause).__name__}: {cause}; no task can start without it"
            )
            error.__cause__ = cause
        with self._news:
            self._busy -= 1
            lines = list(self._lines)
            if error is None:
                self.ready += 1
            else:
                self.broken = self.broken or error
                self._closing = True
                for line in lines:
                    line.waiting.clear()
                self._lines.clear()
                self._news.notify_all()
        for line in lines:
            line.deliver(Changed() if self.broken is None else Broken(self.broken))
        return error is None

    def _take(self) -> Chunk | None:
        """Wait for the next chunk; None when there will be none."""
        with self._news:
            while (chunk := self._next()) is None:
                if self._closing:
                    return None
                self.idle += 1
                self._news.wait()
                self.idle -= 1
            chunk.line.in_flight += 1
            self._busy += 1
            return chunk

    def _next(self) -> Chunk | None:
        for _ in range(len(self._lines)):
            line = self._lines[0]
            self._lines.rotate(-1)
            if line.waiting and line.in_flight < line.limit:
                return line.waiting.popleft()
        return None

    def _work(self, chunk: Chunk, number: int) -> bool:
        """Run a chunk; False when nobody waits for it any more."""
        line, items, first = chunk.line, chunk.items, chunk.base
        function, clock = line.function, perf_counter
        outcomes: list[tuple[bool, Any]] = []
        begin = flushed = clock()
        place, stop = 0, len(items)
        while place < stop and not line.closed:
            try:
                outcomes.append((False, function(items[place])))
            except BaseException as error:
                outcomes.append((True, error.with_traceback(_theirs(error))))
            place += 1
            now = clock()
            if self.idle and stop - place > 1 and now - begin > SHARE and line.in_flight < line.limit:
                middle = (place + stop + 1) // 2
                self.post(Chunk(line, items[middle:stop], chunk.base + middle))
                stop = middle
            if now - flushed > FLUSH and place < stop:
                if not line.closed:
                    line.deliver(Results(first, outcomes, now - flushed, 0.0, False, number))
                first, outcomes, flushed = chunk.base + place, [], now
        with self._news:
            self._busy -= 1
            line.in_flight -= 1
            if line.waiting:
                self._news.notify()
        if line.closed:
            return False
        line.deliver(Results(first, outcomes, clock() - flushed, 0.0, False, number))
        return True


def run_task(task: Task) -> None:
    """Run a single task; its outcome is its future's."""
    future, function, args, kwargs = task
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = done(counted(function)(*args, **kwargs)) if tally.made else function(*args, **kwargs)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _theirs(error: BaseException) -> Any:
    """The traceback of a task, from the task's own frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def after_fork_in_child() -> None:
    """The thread that forked is now the only one of its process, whatever it was before."""
    _here.__dict__.clear()
