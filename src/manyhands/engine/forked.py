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
