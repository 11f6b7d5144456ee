"""A task in a process of its own, for long work: waited for, talked to, asked to stop, and ended if it does not."""

from __future__ import annotations

import signal
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from manyhands.engine.interrupts import take
from manyhands.engine.talking import CHANNEL, CLOSE, CONTROL, ITEMS, STOP
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Self

    from manyhands.engine.streams import Talk
    from manyhands.engine.talks import Dedicated

T = TypeVar("T")

#: A worker that is asked to end gets so many seconds to do it before the next, harder way.
TERMINATE_WITHIN = 2.0
#: ... and so many when Ctrl-C has ended the block that it is for.
HURRY = 0.3


class RunningChannel:
    """The caller's end of a two-way channel to a running task; the task gets its own end as the keyword ``channel``.

    Args:
        task: the task.

    Example:
        >>> from manyhands import process_task
        >>> @process_task
        ... def echo(channel):
        ...     for request in channel:
        ...         channel.send(request * 2)
        >>> task = echo.start()
        >>> task.channel.request(21)
        42
        >>> task.channel.close()
        >>> task.wait()
        True
    """

    def __init__(self, task: Dedicated) -> None:
        self._task = task
        self._inbox: SimpleQueue[Talk | None] = SimpleQueue()
        task.talks.ports[CHANNEL] = self._inbox.put
        task.future.add_done_callback(lambda _: self._inbox.put(None))

    def send(self, value: Any) -> None:
        """Send an object to the task.

        Args:
            value: anything that can be pickled.

        Raises:
            EOFError: the task has ended.
            UnpicklableError: the object cannot travel.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(lambda channel: channel.receive()).start()
            >>> task.channel.send("hello")
            >>> task.result()
            'hello'
        """
        try:
            data = self._task.talks.encode(value)
        except Exception as error:
            from manyhands.transport.refusal import refuse

            raise refuse(value, "the object", error, dumps) from error
        if self._task.future.done() or not self._task.talks.say(CHANNEL, ITEMS, 1, [data]):
            raise EOFError("the task has ended: there is nobody to send to")

    def receive(self, timeout: float | None = None) -> Any:
        """Wait for an object from the task.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: none came in time.
            EOFError: the task has ended, and all that it sent has been received.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(lambda channel: channel.send("hello")).start()
            >>> task.channel.receive()
            'hello'
        """
        if self._inbox.empty() and timeout != 0:
            self._task.talks.check_wait()
        try:
            event = take(self._inbox, timeout)
        except Empty:
            raise TimeoutError(f"the task has sent nothing for {timeout} s") from None
        if event is None:
            self._inbox.put(None)  # for the next who asks
            raise EOFError("the task has ended and sends nothing more")
        return loads(event.body)

    def request(self, value: Any, timeout: float | None = None) -> Any:
        """Send an object and wait for one: a question and its answer.

        Args:
            value: what to send.
            timeout: seconds; None: for ever.

        Raises:
            TimeoutError: no answer came in time.
            EOFError: the task has ended.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(lambda channel: channel.send(channel.receive() + 1)).start()
            >>> task.channel.request(1)
            2
        """
        self.send(value)
        return self.receive(timeout)

    def close(self) -> None:
        """Tell the task that nothing more comes: its ``for`` over the channel ends, its ``receive`` raises ``EOFError``.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(lambda channel: list(channel)).start()
            >>> task.channel.close()
            >>> task.result()
            []
        """
        self._task.talks.say(CHANNEL, CLOSE)

    def __iter__(self) -> Iterator[Any]:
        """What the task sends, until it ends."""
        while True:
            try:
                yield self.receive()
            except EOFError:
                return


class RunningTask(Generic[T]):
    """A function that runs in a process of its own; made by ``start`` of a function that ``process_task`` has decorated.

    Leaving it as a context manager stops it.

    Args:
        task: the task.
        name: the function's name.

    Example:
        >>> from manyhands import process_task
        >>> @process_task
        ... def serve(stop):
        ...     while not stop.wait(0.01):
        ...         pass
        ...     return "in good order"
        >>> task = serve.start()
        >>> task.stop()
        'stopped'
        >>> task.result(), task.exitcode
        ('in good order', 0)
    """

    def __init__(self, task: Dedicated, name: str) -> None:
        self._task = task
        self.name = name
        self.channel = RunningChannel(task)
        task.start()

    @property
    def pid(self) -> int:
        """The process id of its worker; waits until there is one. 0 if it was ended before it had begun.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(abs).start(-1)
            >>> task.pid > 0
            True
        """
        self._task.talks.check_wait()
        self._task.talks.begun.wait()
        return self._task.pid or 0

    @property
    def exitcode(self) -> int | None:
        """0 when it has returned, 1 when it has raised, negative when a signal ended it, as with ``subprocess``; None: it runs.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(abs).start(-1)
            >>> task.wait(), task.exitcode
            (True, 0)
        """
        return self._task.exitcode

    def done(self) -> bool:
        """Tell whether it has ended.

        Example:
            >>> from manyhands import process_task
            >>> task = process_task(abs).start(-1)
            >>> task.wait(), task.done()
            (True, True)
        """
        return self._task.future.done()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False when ``timeout`` seconds were not enough.

        Args:
            timeout: seconds; None: for ever.

        Example:
            >>> from manyhands import process_task
            >>> process_task(abs).start(-1).wait(60)
            True
        """
        from concurrent.futures import wait

        if timeout != 0 and not self.done():
            self._task.talks.check_wait()
        return bool(wait([self._task.future], timeout).done)

    def result(self, timeout: float | None = None) -> T:
        """Wait for what it returns.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            BaseException: what it has raised; ``WorkerCrashedError`` when its process was ended.
            TimeoutError: it was not done in time; it runs on.

        Example:
            >>> from manyhands import process_task
            >>> process_task(divmod).start(7, 2).result()
            (3, 1)
        """
        return self._task.future.result(timeout)  # type: ignore[no-any-return]

    def stop(self, grace: float = 5.0) -> str:
        """Ask it to stop, wait, then terminate its process, and kill it if that does not help either.

        A function asks whether it is to stop by taking a keyword ``stop``: ``stop.wait(seconds)``, ``stop.is_set()``.

        Args:
            grace: seconds that it gets after being asked.

        Returns:
            What it took: "finished" (it had ended before), "stopped", "terminated" or "killed".

        Example:
            >>> import time
            >>> from manyhands import process_task
            >>> process_task(time.sleep).start(3600).stop(grace=0.1)
            'terminated'
        """
        return self._stop(grace, TERMINATE_WITHIN)

    def _stop(self, grace: float, terminate_within: float) -> str:
        if self.done():
            return "finished"
        self._task.talks.say(CONTROL, STOP)
        if self.wait(grace):
            return "stopped"
        self.terminate()
        if self.wait(terminate_within):
            return "terminated"
        self.kill()
        self.wait()
        return "killed"

    def terminate(self) -> None:
        """Send SIGTERM to its process, which ends it unless the function handles that.

        Example:
            >>> import time
            >>> from manyhands import process_task
            >>> task = process_task(time.sleep).start(3600)
            >>> task.pid > 0
            True
            >>> task.terminate()
            >>> task.wait(), task.exitcode
            (True, -15)
        """
        self._task.end(signal.SIGTERM)

    def kill(self) -> None:
        """End its process at once, whatever it is doing.

        Example:
            >>> import time
            >>> from manyhands import process_task
            >>> task = process_task(time.sleep).start(3600)
            >>> task.kill()
            >>> task.wait()
            True
        """
        self._task.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):  # whoever presses Ctrl-C wants it to end now
            self._stop(HURRY, HURRY)
        else:
            self.stop()

    def __repr__(self) -> str:
        state = "running" if not self.done() else f"ended with exit code {self.exitcode}"
        return f"<{self.name}, {state}>"
