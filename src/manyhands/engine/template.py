"""The template process: a small clean interpreter with one thread, from which workers are forked in a millisecond.

The pool's process starts it once, with a fresh interpreter, so that no lock held by a thread of the program is ever copied.
It forks (or, for the "spawn" start method, starts) a worker for each request, and reports every worker's end with its
exit status, which tells a crash from a channel that was merely closed. It never runs a task. When the pool's process is
gone, however it ended, the control socket says so, and the template kills every worker and leaves.

::

    pool's process ── request: serial, start method + descriptors ──────> template ── fork ──> worker
                   <── STARTED serial pid · FAILED serial errno · ENDED pid status memory ──
"""

from __future__ import annotations

import os
import sys
from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REQUEST = Struct("<BxxxIQ")  # start method, serial, key of the channel
REPLY = Struct("<BxxxIqQ")  # kind, serial or pid, pid or errno or status, the most memory it has used (bytes)
FORK, SPAWN = 0, 1
STARTED, FAILED, ENDED = 0, 1, 2


def main(control: int, owner: int, preload: str = "") -> None:
    """Serve until the control socket closes; a worker's process leaves from inside this function too.

    Args:
        control: the descriptor of the control socket.
        owner: the pool's process. Its end is watched by itself as well: where it has forked children that hold copies of
            its end of the socket, that does not close.
        preload: a module that every worker is going to need; "": none.
    """
    import _signal  # type: ignore[import-not-found]  # signal costs an import of enum
    import _socket
    import gc
    import select

    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    _signal.pthread_sigmask(
        _signal.SIG_SETMASK, []
    )  # held back so far, lest Ctrl-C end a template that was starting
    for name in ("SIGTERM", "SIGHUP"):  # the pool's process decides; its end ends us
        _signal.signal(getattr(_signal, name), _signal.SIG_IGN)
    open_streams()
    os.set_inheritable(control, False)
    connection = _socket.socket(fileno=control)
    woken, waker = os.pipe()
    for descriptor in (woken, waker):
        os.set_blocking(descriptor, False)
    _signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    if preload:
        try:
            __import__(preload)
        except Exception:  # whoever needs it says so
            pass
    gc.collect()
    gc.freeze()  # the collector would otherwise write to, and so copy, every page it shares with the workers
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    end = _watch_owner(owner)
    if end is not None:
        poll.register(end, select.POLLIN)
    own = [woken, waker, end] if end is not None else [woken, waker]
    children: set[int] = set()
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(connection, children)
        if end in ready or (control in ready and not _serve(connection, own, children)):
            break
    for pid in children:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    os._exit(0)


def _watch_owner(owner: int) -> int | None:
    """Return a descriptor that becomes readable when the pool's process has ended, where the system has such."""
    try:
        descriptor = os.pidfd_open(owner)
    except (AttributeError, OSError):
        return None
    if os.getppid() != owner:  # it had ended before, and its number may be another's by now
        os._exit(0)
    return descriptor


def open_streams() -> None:
    """Descriptors 0 to 2 must be somebody's, or a pipe of ours would become a task's standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            if descriptor:
                os.set_inheritable(descriptor, True)


def _report_ends(connection: Any, children: set[int]) -> None:
    while children:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        children.discard(pid)
        _reply(connection, ENDED, pid, os.waitstatus_to_exitcode(status), peak_memory(usage))


def peak_memory(usage: Any) -> int:
    """The most memory that a process has used, in bytes; ``getrusage(2)`` counts in kilobytes, but not on macOS."""
    return int(usage.ru_maxrss) << (0 if sys.platform == "darwin" else 10)


def _reply(connection: Any, kind: int, first: int, second: int, third: int = 0) -> None:
    try:
        connection.sendall(REPLY.pack(kind, first, second, third))
    except OSError:
        pass  # the pool's process is gone; the next poll says so


def _serve(connection: Any, own: list[int], children: set[int]) -> bool:
    """Take one request; False when there are none any more."""
    try:
        data, descriptors = receive_descriptors(connection, REQUEST.size, 3)
    except OSError:
        return False
    if len(data) < REQUEST.size:
        return False
    method, serial, key = REQUEST.unpack(data)
    try:
        pid = _fork(connection, own, descriptors, key) if method == FORK else _spawn(descriptors, key)
    except OSError as error:
        _reply(connection, FAILED, serial, error.errno or 0)
    else:
        children.add(pid)
        _reply(connection, STARTED, serial, pid)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def _fork(connection: Any, own: list[int], descriptors: list[int], key: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        import _signal  # signal costs an import of enum
        import _socket

        from manyhands.engine import worker

        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        connection.close()
        for descriptor in own:
            os.close(descriptor)
        worker.main(_socket.socket(fileno=descriptors[0]), descriptors[1], key, *descriptors[2:])
    finally:
        os._exit(1)


def _spawn(descriptors: list[int], key: int) -> int:
    """Start a worker with an interpreter of its own, as the child of this process, so that its end is reported here."""
    import _signal as signal

    code = f"import sys; sys.path[:] = {sys.path!r}; from manyhands.engine.template import spawned; spawned({descriptors}, {key})"
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    arguments = [*sys.orig_argv[: sys.orig_argv.index("-c")], "-c", code]
    return os.posix_spawn(sys.executable, arguments, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGCHLD])


def spawned(descriptors: list[int], key: int) -> None:
    """The beginning of a worker that was spawned, not forked."""
    import _socket

    from manyhands.engine import worker

    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    worker.main(_socket.socket(fileno=descriptors[0]), descriptors[1], key, *descriptors[2:])


def receive_descriptors(connection: Any, size: int, most: int) -> tuple[bytes, list[int]]:
    """Read ``size`` bytes and the descriptors that came with them."""
    import _socket

    data, descriptors = b"", bytearray()
    while len(data) < size:
        piece, ancillary, _, _ = connection.recvmsg(size - len(data), _socket.CMSG_SPACE(4 * most))
        for level, kind, content in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                descriptors += content[: len(content) - len(content) % 4]
        if not piece:
            break
        data += piece
    found = memoryview(bytes(descriptors)).cast("i").tolist()
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return data, found
