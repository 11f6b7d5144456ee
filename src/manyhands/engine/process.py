"""Starting worker processes and learning of their end: one small contract, three ways.

``TemplateStarter`` asks a template process (``template``) to fork or spawn; it is the default wherever there is a fork.
``ForkStarter`` forks this very process, for those who want its memory copy-on-write. ``PopenStarter`` is for systems
without a fork. The pool calls ``start`` and is told ``started``, ``failed`` and ``ended``, always in the loop thread.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal costs an import of enum
import os
import sys

from manyhands import _startup
from manyhands.engine.fair import environment, prepare
from manyhands.transport.descriptors import pair, pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from manyhands.engine.forked import Inherited
    from manyhands.engine.loop import Loop

    class Listener(Protocol):
        """Who is told what becomes of the processes, and how many there are to be."""

        size: int

        def started(self, serial: int, pid: int) -> None: ...
        def failed(self, serial: int, error: OSError) -> None: ...
        def ended(self, pid: int, exitcode: int | None, peak: int = 0) -> None: ...
        def starter_lost(self) -> None: ...

    class Starter(Protocol):
        """Starts worker processes."""

        def start(self, serial: int, connection: Any, journal: int, key: int, arena: int) -> None: ...
        def close(self) -> None: ...
        def disown(self) -> None: ...


def module_path() -> list[str]:
    """``sys.path`` as a worker needs it: relative entries mean the folder in which the program started."""
    here = _startup.directory
    return [os.path.join(here, entry) if entry or here else entry for entry in sys.path]


def interpreter_arguments() -> list[str]:
    """The command that starts an interpreter like this one: its flags, ``-X`` and ``-W`` options."""
    flags = sys.flags
    letters = {
        "d": flags.debug, "B": flags.dont_write_bytecode, "O": flags.optimize, "v": flags.verbose, "b": flags.bytes_warning,
        "q": flags.quiet,
    }  # fmt: skip
    arguments = ["-" + letter * count for letter, count in letters.items() if count]
    if flags.isolated:
        arguments.append("-I")
    else:
        arguments += [
            word for word, wanted in (
                ("-E", flags.ignore_environment), ("-s", flags.no_user_site), ("-P", getattr(flags, "safe_path", False)),
            ) if wanted
        ]  # fmt: skip
    if flags.no_site:
        arguments.append("-S")
    arguments += [f"-W{option}" for option in sys.warnoptions]
    # Not those that say what the program does, only those that say what the interpreter is like.
    passed = {
        "dev",
        "utf8",
        "int_max_str_digits",
        "gil",
        "no_debug_ranges",
        "frozen_modules",
        "pycache_prefix",
        "warn_default_encoding",
    }
    for name, value in sys._xoptions.items():
        if name in passed:
            arguments += ["-X", name if value is True else f"{name}={value}"]
    return [sys.executable, *arguments]


class TemplateStarter:
    """Workers from a template process.

    Args:
        loop: whose selector watches the control socket.
        listener: who is told.
        spawn: have the template start fresh interpreters instead of forking itself.
        preload: a module that the template imports for all its workers; "": none.
    """

    def __init__(self, loop: Loop, listener: Listener, *, spawn: bool = False, preload: str = "") -> None:
        from manyhands.engine import template

        self._wire = template
        self._loop = loop
        self._listener = listener
        self._method = template.SPAWN if spawn else template.FORK
        self._rest = b""
        self._answered = False
        self.connection, theirs = pair()
        self.connection.setblocking(False)
        target = 3
        code = (
            f"import sys; sys.path[:] = {module_path()!r}; "
            f"from manyhands.engine.template import main; main({target}, {os.getpid()}, {'' if spawn else preload!r})"
        )
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        descriptor = theirs.fileno()
        if descriptor == target:  # dup2 onto itself would leave it to be closed
            spare = os.dup(descriptor)
            actions.append((os.POSIX_SPAWN_DUP2, descriptor, spare))
            actions.append((os.POSIX_SPAWN_DUP2, spare, target))
        else:
            spare = -1
            actions.append((os.POSIX_SPAWN_DUP2, descriptor, target))
        try:
            self.pid = os.posix_spawn(
                sys.executable, [*interpreter_arguments(), "-c", code], environment(listener.size), file_actions=actions,
                setsigmask=[_signal.SIGINT], setsigdef=[_signal.SIGPIPE, _signal.SIGCHLD],
            )  # fmt: skip
        finally:
            theirs.close()
            if spare >= 0:
                os.close(spare)
        loop.watch(self.connection.fileno(), self._readable)

    def start(self, serial: int, connection: Any, journal: int, key: int, arena: int) -> None:
        import _socket

        given = [connection.fileno(), journal, *([arena] if arena >= 0 else [])]
        rights = memoryview(bytearray(4 * len(given))).cast("i")
        for place, descriptor in enumerate(given):
            rights[place] = descriptor
        request = self._wire.REQUEST.pack(self._method, serial, key)
        self.connection.setblocking(True)  # a few bytes, which the template reads at once
        try:
            self.connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the template has gone; its socket is about to say so
        except OSError as error:
            self._listener.failed(serial, error)
        finally:
            self.connection.setblocking(False)

    def close(self) -> None:
        """Let the template go; it kills what is left of its workers."""
        if self.connection.fileno() < 0:
            return
        self._loop.unwatch(self.connection.fileno())
        if not self._answered:  # it is still starting, and would hear of it only then
            end_process(self.pid)
        try:
            self.connection.shutdown(2)  # not only closed: a process forked at a bad moment may hold a copy
        except OSError:  # the template has gone before
            pass
        self.connection.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:  # somebody has reaped every child of this process
            pass

    def disown(self) -> None:
        """In a forked child: the template is not ours."""
        self.connection.close()

    def _readable(self) -> None:
        try:
            data = self.connection.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._listener.starter_lost()
            return
        self._answered = True
        data = self._rest + data
        size = self._wire.REPLY.size
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        for kind, first, second, peak in self._wire.REPLY.iter_unpack(data[:whole]):
            if kind == self._wire.STARTED:
                self._listener.started(first, second)
            elif kind == self._wire.FAILED:
                self._listener.failed(first, OSError(second, os.strerror(second)))
            else:
                self._listener.ended(first, second, peak)


class ForkStarter:
    """Workers forked from this process: its memory is theirs, copied when written to.

    Args:
        loop: whose selector watches for the end of the workers.
        listener: who is told.
    """

    def __init__(self, loop: Loop, listener: Listener) -> None:
        self._loop = loop
        self._listener = listener
        self._owner = os.getpid()
        # Only this process has the writing end: its closing is our end.
        self._lifeline, self._hold = pipe()
        self._watched: dict[int, int] = {}
        self._inherited: dict[int, Inherited] = {}
        prepare()

    def start(self, serial: int, connection: Any, journal: int, key: int, arena: int) -> None:
        import warnings

        # What a worker loads for itself, and the program as well, and perhaps just now, in another thread: the import that
        # is under way then would be under way in the worker for ever.
        import manyhands.engine.helpers  # noqa: F401
        from manyhands.engine import forked

        for stream in (sys.stdout, sys.stderr):  # what is in their buffers would be written by both
            try:
                stream.flush()
            except Exception:  # closed, None, or not a stream
                pass
        inherited = forked.Inherited()
        lifeline = copy = -1
        blocked = _signal.pthread_sigmask(
            _signal.SIG_BLOCK, {_signal.SIGINT}
        )  # the worker is not ready for it yet
        try:
            lifeline = os.dup(self._lifeline)  # in the child, disown() closes ours
            copy = os.dup(arena) if arena >= 0 else -1
            with warnings.catch_warnings():
                # It is about threads: what "fork" was chosen in spite of.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = inherited.fork()
        except (OSError, RuntimeError) as error:  # the latter when the interpreter is about to end
            self._listener.failed(serial, error if isinstance(error, OSError) else OSError(str(error)))
            return
        finally:
            if os.getpid() == self._owner:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
                for descriptor in (lifeline, copy):
                    if descriptor >= 0:
                        os.close(descriptor)
        if not pid:
            inherited.watch()
            forked.main(connection, journal, key, lifeline, self._listener.size, copy)
        self._inherited[pid] = inherited
        if hasattr(os, "pidfd_open"):
            try:
                self._watched[pid] = os.pidfd_open(pid)
                self._loop.watch(self._watched[pid], lambda: self._ended(pid))
            except OSError:  # no descriptor to be had: the closing of its channel will tell
                pass
        self._listener.started(serial, pid)

    def poll(self, pid: int) -> None:
        """Look whether a worker whose channel has closed is gone (where there are no process descriptors)."""
        if pid not in self._watched:
            self._reap(pid, 0)

    def _ended(self, pid: int) -> None:
        descriptor = self._watched.pop(pid)
        self._loop.unwatch(descriptor)
        os.close(descriptor)
        self._reap(pid, 0)

    def _reap(self, pid: int, options: int) -> None:
        from manyhands.engine.template import peak_memory

        inherited = self._inherited.pop(pid, None)
        try:
            _, status, usage = os.wait4(pid, options)
        except ChildProcessError:
            self._listener.ended(pid, None)
        else:
            self._listener.ended(pid, os.waitstatus_to_exitcode(status), peak_memory(usage))
        if inherited is not None:
            inherited.let_go()

    def close(self) -> None:
        """Kill what is left, and let go of the lifeline."""
        for pid in list(self._watched):
            end_process(pid)
            self._ended(pid)
        self.disown()

    def disown(self) -> None:
        """In a forked child: the workers are not ours; each keeps its reading end, see ``forked``."""
        for descriptor in (self._lifeline, self._hold, *self._watched.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self._lifeline = self._hold = -1
        self._watched.clear()
        self._inherited.clear()


class PopenStarter:
    """Workers started with ``subprocess``, for systems without a fork.

    Args:
        loop: called back when a worker has ended.
        listener: who is told.
    """

    def __init__(self, loop: Loop, listener: Listener) -> None:
        self._loop = loop
        self._listener = listener
        self._children: dict[int, Any] = {}

    def start(self, serial: int, connection: Any, journal: Any, key: int, arena: int) -> None:
        import base64
        import subprocess

        code = f"import sys; sys.path[:] = {module_path()!r}; from manyhands.engine.forked import shared; shared()"
        child = subprocess.Popen(
            [*interpreter_arguments(), "-c", code],
            stdin=subprocess.PIPE,
            env=environment(self._listener.size),
        )
        assert child.stdin is not None
        share = base64.b64encode(connection.share(child.pid)).decode()
        child.stdin.write(f"{share} {journal} {key}\n".encode())
        child.stdin.close()
        self._children[child.pid] = child
        self._listener.started(serial, child.pid)

    def poll(self, pid: int) -> None:
        """Wait for a worker whose channel has closed."""
        child = self._children.pop(pid, None)
        if child is not None:
            self._listener.ended(pid, child.wait())

    def close(self) -> None:
        for pid in list(self._children):
            self._children[pid].kill()
            self.poll(pid)

    def disown(self) -> None:
        """There is no fork where this class is used."""


def end_process(pid: int, signal: int = 9) -> None:
    """End a process, if it is there: at once, or with a signal that leaves that to it."""
    try:
        os.kill(pid, signal)
    except (ProcessLookupError, PermissionError):
        pass
