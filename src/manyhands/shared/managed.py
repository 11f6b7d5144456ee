"""Managed objects: any object, in a process of its own, used from everywhere through a proxy.

The process (``server``) is started when the first object is used or sent, one for each program, and ended with the
last object or with the program. Each thread of each process has a connection of its own, made when it is first used; what a
``with`` block keeps locked belongs to that connection, and is free again when that goes.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from functools import partial

from manyhands.exceptions import SharedStateError
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen
    from typing import Any, Self

#: Bytes that the name of a folder may have, so that that of a socket in it is not too long for the system.
LONGEST = 90


class _Server:
    """The server of this program, as its owner sees it.

    Args:
        process: the server.
        folder: what it listens in, and removes when it ends in good order.
        address: where it listens.
        key: what its clients have to know.
    """

    def __init__(self, process: Popen[bytes], folder: str, address: Any, key: bytes) -> None:
        self.process = process
        self.folder = folder
        self.address = address
        self.key = key
        self.objects = 0
        self.dropped: list[str] = []  # objects that are not used any more, and are still there

    def stop(self) -> None:
        """End it; it ends by itself when its standard input does."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        if os.path.exists(self.folder):  # it was killed
            from shutil import rmtree

            rmtree(self.folder, ignore_errors=True)


_server: _Server | None = None
_lock = threading.RLock()
_proxies: weakref.WeakValueDictionary[tuple[Any, str], Managed] = weakref.WeakValueDictionary()
#: The connections of all threads, and where to: closed when their server has ended, or, their copies, in a forked child.
_open: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


class _Mine(threading.local):
    """Of each thread: its connection to each server."""

    def __init__(self) -> None:
        self.connections: dict[Any, Any] = {}


_mine = _Mine()


class Managed:
    """An object that another process holds; made by ``managed`` fields.

    It has the public methods and the attributes of the object; results are copies. A method call is one step.
    ``with object:`` keeps all others out for several.

    Args:
        place: address and key of the server, and the object's name there; None: it has not been made yet.
        methods: names of the methods.
        recipe: what it is made of, where it is made.
    """

    def __init__(
        self, place: tuple[Any, bytes, str] | None, methods: frozenset[str], recipe: bytes = b""
    ) -> None:
        set_ = partial(object.__setattr__, self)
        set_("_place", place)
        set_("_methods", methods)
        set_("_recipe", recipe)
        set_("_owner", os.getpid())

    def _where(self) -> tuple[Any, bytes, str]:
        place: tuple[Any, bytes, str] | None = self._place
        if place is not None:
            return place
        with _lock:
            if self._place is None:
                if self._owner != os.getpid():
                    raise SharedStateError(
                        "a managed object was not used before this process was forked, and so is not known here: use it "
                        "once before, or pass it to the task"
                    )
                server = _running()
                ident = _created(server, self._recipe)
                server.objects += 1
                weakref.finalize(self, _gone, server, ident)
                object.__setattr__(self, "_place", (server.address, server.key, ident))
                _proxies[server.address, ident] = self
            return self._place  # type: ignore[no-any-return]

    def _do(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Have something done with the object, and return a copy of what that gives."""
        address, key, ident = self._where()
        request = dumps((name, args, kwargs))
        connection = _connected(address, key)
        try:
            connection.send((ident, "do", (request,), {}))
            kind, answer = connection.recv()
        except (
            BaseException
        ) as error:  # Ctrl-C too: an answer that comes later would be taken for the next one
            _mine.connections.pop(address, None)
            connection.close()
            if isinstance(error, (EOFError, OSError)):
                raise _lost() from error
            raise
        if kind != "#RETURN":
            raise SharedStateError(f"the process that holds managed objects says: {answer}")
        well, data = answer
        if not well:
            from manyhands.transport.errors import unpack

            raise unpack(data)
        result = loads(data)
        return self if type(result).__name__ == "Itself" else result

    def locked(self) -> Self:
        """Keep all others out for the length of a ``with`` block; the same as ``with object:``."""
        return self

    def __enter__(self) -> Self:
        self._do("#enter")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._do("#leave")
        except (SharedStateError, ValueError):  # the connection was lost, and the lock with it
            if kind is None:
                raise

    def __getattr__(self, name: str) -> Any:
        if name in self._methods or name == "increment":
            return partial(self._do, name)
        if name.startswith("__"):
            raise AttributeError(name)
        return self._do("#getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._do("#setattr", name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._do("#iter"))

    def __bool__(self) -> bool:
        return bool(self._do("#bool"))

    def __repr__(self) -> str:
        return f"<managed {self._do('#repr')}>"

    def __str__(self) -> str:
        return str(self._do("#str"))

    def __dir__(self) -> list[str]:
        return sorted({*self._methods, "increment", "locked"})

    def __reduce__(self) -> Any:
        return _found, (self._where(), self._methods)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    __hash__ = object.__hash__


def _forward(name: str) -> Any:
    def forward(self: Managed, *args: Any) -> Any:
        return self._do(name, *args)

    forward.__name__ = name
    return forward


def _augment(name: str) -> Any:
    def augment(self: Managed, other: Any) -> Managed:
        self._do("#augment", name, other)
        return self

    augment.__name__ = name
    return augment


for _name in (
    "contains",
    "delitem",
    "eq",
    "ge",
    "getitem",
    "gt",
    "le",
    "len",
    "lt",
    "ne",
    "setitem",
    "reversed",
):
    setattr(Managed, f"__{_name}__", _forward(f"__{_name}__"))
for _name in ("iadd", "iand", "imul", "ior", "isub", "ixor", "itruediv"):
    setattr(Managed, f"__{_name}__", _augment(f"__{_name}__"))


# what fields do


def make(kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Managed:
    """Return the proxy of an object that is made when it is first used.

    Args:
        kind: its class.
        args: what it is made with.
        kwargs: what it is made with, by name.
    """
    methods = frozenset(
        name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name, None))
    )
    return Managed(None, methods, dumps((kind, args, kwargs)))


def assign(found: Managed, value: Any) -> None:
    """Put another object in the place of one that is managed.

    Args:
        found: the proxy.
        value: the other object.
    """
    found._do("#set", value)


def clear(found: Managed) -> None:
    """Put a managed object back as it was made.

    Args:
        found: the proxy.
    """
    found._do("#clear")


# the server, and connections to it


def _found(place: tuple[Any, bytes, str], methods: frozenset[str]) -> Managed:
    with _lock:
        proxy = _proxies.get((place[0], place[2]))
        if proxy is None:
            proxy = _proxies[place[0], place[2]] = Managed(place, methods)
        return proxy


def _running() -> _Server:
    """The server of this program, started if there is none."""
    global _server
    if _server is not None and _server.process.poll() is not None:
        shutdown()
    if _server is None:
        _server = _started()
    return _server


def _started() -> _Server:
    import subprocess
    from tempfile import mkdtemp

    folder, key = mkdtemp(prefix="manyhands-"), os.urandom(32)
    if os.name == "posix" and len(os.fsencode(folder)) > LONGEST:
        os.rmdir(folder)
        folder = mkdtemp(prefix="manyhands-", dir="/tmp")
    options: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
    program = f"import sys; sys.path[:] = {sys.path!r}; from manyhands.shared.server import main; main()"
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    process = subprocess.Popen(
        [sys.executable, *flags, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )
    assert process.stdin is not None
    assert process.stdout is not None
    configuration = dumps((folder, key, os.getpid()))
    process.stdin.write(len(configuration).to_bytes(4, "little") + configuration)
    process.stdin.flush()
    with process.stdout:
        size = process.stdout.read(4)
        where = process.stdout.read(int.from_bytes(size, "little")) if size else b""
    if not where:
        process.wait()
        from shutil import rmtree

        rmtree(folder, ignore_errors=True)
        raise SharedStateError(
            f"the process that holds managed objects did not start (exit code {process.returncode}); what it had to say is on "
            "standard error"
        )
    atexit.register(shutdown)
    return _Server(process, folder, loads(where), key)


def _created(server: _Server, recipe: bytes) -> str:
    try:
        while server.dropped:
            _asked(server, "decref", server.dropped.pop())
        ident, _ = _asked(server, "create", "Held", recipe)
    except Exception as error:
        if not server.objects:
            shutdown()
        said = str(error).strip().strip("-").strip().rpartition("\n")[2]
        raise SharedStateError(f"a managed object could not be made: {said}") from error
    return str(ident)


def _asked(server: _Server, *request: Any) -> Any:
    """Have the server itself do something."""
    from multiprocessing.connection import Client

    with Client(server.address, authkey=server.key) as connection:
        return _dispatch(connection, *request)


def _dispatch(connection: Any, name: str, *arguments: Any) -> Any:
    from multiprocessing import managers

    return managers.dispatch(connection, None, name, arguments)  # type: ignore[attr-defined]


def _connected(address: Any, key: bytes) -> Any:
    """This thread's connection."""
    connection = _mine.connections.get(address)
    if connection is None or connection.closed:
        from multiprocessing.connection import Client

        try:
            connection = Client(address, authkey=key)
            _dispatch(connection, "accept_connection", "manyhands")
        except (EOFError, OSError) as error:
            raise _lost() from error
        _mine.connections[address] = connection
        _open[connection] = address
    return connection


def _lost() -> SharedStateError:
    return SharedStateError(
        "the process that holds managed objects is gone: the program that started it has ended, or somebody has killed it"
    )


def _gone(server: _Server, ident: str) -> None:
    """An object is not used any more where it was made; the server ends with the last."""
    server.objects -= 1
    server.dropped.append(ident)  # this may be the garbage collector, in the middle of anything
    if not server.objects and server is _server:
        shutdown()


def shutdown() -> None:
    """End the server of this process, if there is one, with all it holds."""
    global _server
    server, _server = _server, None
    if server is None:
        return
    for connection, address in list(_open.items()):
        if address == server.address:
            connection.close()
    server.stop()


def _after_fork_in_child() -> None:
    """The server is the parent's, and so are the connections."""
    global _server, _lock
    _lock = threading.RLock()
    if _server is not None and _server.process.stdin is not None:
        try:
            os.close(_server.process.stdin.fileno())
        except (OSError, ValueError):
            pass
        _server.process.returncode = 0  # it is not this process's to wait for
        _server = None
    for connection in list(_open):
        try:
            connection.close()
        except OSError:
            pass
    _open.clear()
    _mine.connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
