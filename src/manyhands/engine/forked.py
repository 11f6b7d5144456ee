"""The beginning of workers that do not come from the template: forked from the program itself, or handed a socket.

A worker of the template dies with the template. One that was forked from the program needs its own way to learn that the
program is gone, even while it runs a task in C: the kernel is asked to send it SIGKILL when the lifeline, a pipe whose
other end only the program holds, closes (``F_SETSIG``, Linux; a thread that waits for it elsewhere).

Source: fcntl(2), sections "Managing signals" and ``F_SETSIG``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.transport.mapped import Awaited


class Inherited:
    """What a worker that is forked from the program sees of shared memory, because the program has it at that moment.

    It is not written anew until the worker has ended; and never if the worker has forked: then there may be somebody who has
    it and whose end nobody here learns of.
    """

    def __init__(self) -> None:
        import mmap

        self._awaited: list[Awaited] = []
        self._has_forked = mmap.mmap(-1, 1)  # shared with the worker

    def fork(self) -> int:
        """Fork; return what ``os.fork`` does."""
        from manyhands.transport.mapped import fork_and_await

        pid, self._awaited = fork_and_await(os.fork)
        return pid

    def watch(self) -> None:
        """In the worker: note when it forks."""
        os.register_at_fork(before=lambda: self._has_forked.__setitem__(0, 1))

    def let_go(self) -> None:
        """The worker has ended."""
        if self._has_forked[0]:
            for awaited in self._awaited:
                awaited.keep()
        self._awaited = []
        self._has_forked.close()


def main(connection: Any, journal: int, key: int, lifeline: int, workers: int, arena: int) -> None:
    """Be a worker from here on; does not return.

    Args:
        connection: the worker's end of the channel.
        journal: the journal's descriptor.
        key: the channel's key.
        lifeline: the reading end of the program's lifeline.
        workers: how many share the cores.
        arena: the file of the pool's arena; -1: it has none.
    """
    import _signal  # type: ignore[import-not-found]  # signal costs an import of enum
    import atexit

    from manyhands.engine import worker
    from manyhands.engine.fair import limit
    from manyhands.engine.template import open_streams

    try:
        atexit._clear()  # what the program does at its end is not the worker's to do
        _signal.set_wakeup_fd(-1)  # nor does the program's event loop want to know of the worker's signals
        null = os.open(os.devnull, os.O_RDONLY)
        if null:
            os.dup2(null, 0)
            os.close(null)
        open_streams()
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        tie(lifeline)
        limit(workers)
        worker.main(connection, journal, key, arena)
    finally:
        os._exit(1)


def tie(lifeline: int) -> None:
    """End this process when the other end of the lifeline closes."""
    import _signal as signal
    import fcntl

    if hasattr(fcntl, "F_SETSIG") and os.path.exists(f"/proc/self/fd/{lifeline}"):
        # Signals belong to an open file, not to a descriptor, and this one is shared: open it again, for this process.
        own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        return
    import _thread

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    _thread.start_new_thread(wait, ())


def shared() -> None:
    """The beginning of a worker started by ``PopenStarter``: its socket and journal are named on standard input."""
    import base64
    import socket

    from manyhands.engine import worker

    share, journal, key = sys.stdin.readline().split()
    connection = socket.fromshare(base64.b64decode(share))  # type: ignore[attr-defined]
    worker.main(connection, journal, int(key))
