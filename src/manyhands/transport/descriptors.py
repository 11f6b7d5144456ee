"""Descriptors that keep off 0, 1 and 2.

These belong to the standard streams even in a program that has closed them: whatever is written there in the belief that it
is standard output would end up in a channel. Used by everything in ``engine`` and ``shared`` that makes
sockets, pipes and files in memory.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets (of the light C class where there is one that will do)."""
    if sys.platform == "win32":
        import socket

        return socket.socketpair()
    import _socket

    first, second = _socket.socketpair()
    return _away(first), _away(second)  # type: ignore[return-value]


def pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a pipe."""
    reading, writing = os.pipe()
    return away(reading), away(writing)


def away(descriptor: int) -> int:
    """Return the descriptor, or one above 2 in its place.

    Raises:
        OSError: there is no descriptor left; the given one is closed.
    """
    if descriptor > 2:
        return descriptor
    import fcntl

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


@contextmanager
def kept_off() -> Iterator[None]:
    """While this lasts, no new descriptor is one of the three: for what duplicates one by itself, as ``mmap`` does."""
    taken = []
    try:
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
            taken.append(descriptor)
        os.close(descriptor)
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


def _away(end: object) -> object:
    if end.fileno() > 2:  # type: ignore[attr-defined]
        return end
    import _socket

    return _socket.socket(fileno=away(end.detach()))  # type: ignore[attr-defined]
