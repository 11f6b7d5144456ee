"""The process that holds managed objects: started with the first of them, ended with the program, however that ends.

::

    owner ── configuration, then nothing, on standard input ──> server     its end is the owner's end
          <── "ready", on standard output ─────────────────────
    any process of the program ── request, answer: a socket ──> a thread for each connection

It is a server of ``multiprocessing.managers``, in an interpreter of its own that never runs the program's main module; classes
that live there come by value. It listens in a folder that only this user can open, and talks to those only who know the key. A
thread that loses its client releases what that had locked.
"""

from __future__ import annotations

import operator
import os
import signal
import sys
import threading
from multiprocessing.managers import BaseManager, Server

from manyhands.transport.errors import pack
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OWN = os.path.dirname(__file__)


class _Mine(threading.local):
    """Of each connection: what its client has locked."""

    def __init__(self) -> None:
        self.held: list[Held] = []


_mine = _Mine()


class Held:
    """An object, one step after the other.

    Args:
        blob: its class, and what it is made with.
    """

    def __init__(self, blob: bytes) -> None:
        self.lock = threading.RLock()
        self.recipe = blob
        self.object = _made(blob)

    def do(self, blob: bytes) -> tuple[bool, bytes]:
        """Do one thing with the object, and return whether that went well, and what it gave.

        Args:
            blob: what to do, and the arguments.
        """
        try:
            name, args, kwargs = loads(blob)
            with self.lock:
                result = (_STEPS.get(name) or _call(name))(self, *args, **kwargs)
                return True, dumps(_sendable(self, result))
        except BaseException as error:
            return False, pack(error, own=_OWN)


class Itself:
    """Stands for the object among results."""


def _made(blob: bytes) -> Any:
    kind, args, kwargs = loads(blob)
    return kind(*args, **kwargs)


def _call(name: str) -> Callable[..., Any]:
    return lambda held, *args, **kwargs: getattr(held.object, name)(*args, **kwargs)


def _sendable(held: Held, result: Any) -> Any:
    if result is held.object:
        return Itself()
    if hasattr(result, "__next__") or type(result).__name__ in ("dict_keys", "dict_values", "dict_items"):
        return list(result)
    return result


def _enter(held: Held) -> None:
    held.lock.acquire()
    _mine.held.append(held)


def _leave(held: Held) -> None:
    _mine.held.remove(held)
    held.lock.release()


def _increment(held: Held, key: Any, by: Any = 1) -> Any:
    found = held.object
    own = getattr(found, "increment", None)
    if own is not None:
        return own(key, by)
    value = (found.get(key, 0) if hasattr(found, "get") else found[key]) + by
    found[key] = value
    return value


def _clear(held: Held) -> None:
    held.object = _made(held.recipe)


def _augment(held: Held, name: str, other: Any) -> None:
    held.object = getattr(operator, name)(held.object, other)


_STEPS: dict[str, Callable[..., Any]] = {
    "#enter": _enter,
    "#leave": _leave,
    "#clear": _clear,
    "#set": lambda held, value: setattr(held, "object", value),
    "#get": lambda held: held.object,
    "#getattr": lambda held, name: getattr(held.object, name),
    "#setattr": lambda held, name, value: setattr(held.object, name, value),
    "#augment": _augment,
    "#iter": lambda held: list(held.object),
    "#bool": lambda held: bool(held.object),
    "#repr": lambda held: repr(held.object),
    "#str": lambda held: str(held.object),
    "increment": _increment,
}


class _Server(Server):
    def serve_client(self, conn: Any) -> None:
        try:
            super().serve_client(conn)
        finally:
            for held in reversed(_mine.held):
                held.lock.release()
            _mine.held.clear()


class _Manager(BaseManager):
    """What the server can make."""


_Manager.register("Held", Held, exposed=("do",))


def main() -> None:
    """Serve until standard input ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the owner decides; its end ends us
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    size = int.from_bytes(_read(4), "little")
    folder, key, owner = loads(_read(size))
    address = os.path.join(folder, "socket") if os.name == "posix" else None
    try:
        server: Any = _Server(_Manager._registry, address, key, "pickle")  # type: ignore[attr-defined]
        server.stop_event = threading.Event()  # as serve_forever() would, which looks at it once a second
        threading.Thread(target=server.accepter, daemon=True).start()
        where = dumps(server.address)
        os.write(1, len(where).to_bytes(4, "little") + where)
        os.dup2(2, 1)  # what objects print
        _wait_for_end(owner)
    finally:
        from shutil import rmtree

        rmtree(folder, ignore_errors=True)
        os._exit(0)


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def _wait_for_end(owner: int) -> None:
    """Wait until standard input ends, or the owner: where it has forked, others may hold the other end."""
    if sys.platform != "linux":
        os.read(0, 1)
        return
    import select

    poll = select.poll()
    poll.register(0, select.POLLIN)
    try:
        descriptor = os.pidfd_open(owner)
    except OSError:
        pass
    else:
        poll.register(descriptor, select.POLLIN)
    if os.getppid() == owner:
        poll.poll()
