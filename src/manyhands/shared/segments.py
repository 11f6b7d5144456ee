"""The platform's side of shared memory: how a block is made, found by another process, and given back.

On Linux a block has no name (``memfd_create``). It is found through a process that has it open,
``/proc/<pid>/fd/<fd>``, and known by its inode; when nobody has it open any more the kernel takes it back, whatever became
of the processes. Elsewhere it is a file that only this user can read, in a folder of its own that goes with the process
that made it; on Windows, a mapping by name, which goes with its last handle.

Sources: memfd_create(2), proc(5) on ``/proc/pid/fd``.
"""

from __future__ import annotations

import mmap
import os
import sys

from manyhands.exceptions import SharedStateError
from manyhands.transport.descriptors import away, kept_off

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

#: What finds a block again: see ``address`` of each class.
Address: TypeAlias = "tuple[Any, ...]"

_PAGE = mmap.ALLOCATIONGRANULARITY

_OPEN = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)

_GONE = (
    "this shared memory is gone: process {pid}, which had it, has ended or has let go of it. Keep the object in a variable "
    "there for as long as others use it; what it was made with can be made anew"
)


class Nameless:
    """A block that the kernel knows by its inode alone (Linux).

    Args:
        descriptor: an open file, of which this becomes the owner.
        size: bytes for the caller. They come after a page for two marks: that it was opened, and that its maker has left it.
        origin: the process and the descriptor where it was found.
    """

    __slots__ = ("descriptor", "key", "origin", "size")

    def __init__(self, descriptor: int, size: int, origin: tuple[int, int] | None = None) -> None:
        self.descriptor = away(descriptor)
        status = os.fstat(self.descriptor)
        self.size = size
        self.key = (status.st_dev, status.st_ino)
        self.origin = origin or (os.getpid(), self.descriptor)

    @classmethod
    def create(cls, size: int) -> Nameless:
        segment = cls(os.memfd_create("manyhands-shared", os.MFD_CLOEXEC), size)
        try:
            os.ftruncate(segment.descriptor, _PAGE + size)
        except BaseException:
            segment.close()
            raise
        return segment

    @classmethod
    def open(cls, size: int, key: tuple[int, int], *places: tuple[int, int]) -> Nameless:
        """Open a block that another process has, at the first of the places where it is."""
        for pid, number in places:
            try:  # it might be anything by now: a pipe, a terminal
                descriptor = os.open(f"/proc/{pid}/fd/{number}", _OPEN)
            except PermissionError:
                raise SharedStateError(
                    f"this shared memory is process {pid}'s, and this process may not open it: they run as different users"
                ) from None
            except OSError:
                continue
            segment = cls(descriptor, size, (pid, number))
            if segment.key == key:
                return segment
            os.close(segment.descriptor)
        raise SharedStateError(_GONE.format(pid=" and ".join(str(pid) for pid, _ in places)))

    def address(self) -> Address:
        """Size, inode, and where it is: here, and where we have it from."""
        here = (os.getpid(), self.descriptor)
        return (
            (self.size, self.key, here) if here == self.origin else (self.size, self.key, here, self.origin)
        )

    def map(self) -> mmap.mmap:
        if sys.version_info >= (3, 13):
            return mmap.mmap(self.descriptor, self.size, offset=_PAGE, trackfd=False)
        with kept_off():
            return mmap.mmap(self.descriptor, self.size, offset=_PAGE)

    def grow(self, size: int) -> None:
        """Have at least so many bytes from the next ``map`` on; others may have made it as large already."""
        if os.fstat(self.descriptor).st_size < _PAGE + size:
            os.ftruncate(self.descriptor, _PAGE + size)
        self.size = size

    def mark(self, opened: bool) -> None:
        """Note that it was sent off (False), or has been opened where it was sent to (True)."""
        os.pwrite(self.descriptor, b"\1" if opened else b"\0", 0)

    def opened(self) -> bool:
        return os.pread(self.descriptor, 1, 0) != b"\0"

    def leave(self) -> None:
        """Note that who made it has no use for it any more."""
        os.pwrite(self.descriptor, b"\1", 1)

    def left(self) -> bool:
        return os.pread(self.descriptor, 1, 1) != b"\0"

    def close(self) -> None:
        os.close(self.descriptor)


class File(Nameless):
    """A block that is a file, readable by this user alone (where there is no ``memfd_create``)."""

    __slots__ = ("owner", "path")

    path: str
    owner: int

    @classmethod
    def create(cls, size: int) -> File:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(path := f"{_folder()}/{os.urandom(8).hex()}", flags, 0o600)
        except FileNotFoundError:  # another thread has removed the folder, which was empty
            _folders.clear()
            descriptor = os.open(path := f"{_folder()}/{os.urandom(8).hex()}", flags, 0o600)
        self = cls(descriptor, size)
        self.path, self.owner = path, os.getpid()
        os.ftruncate(self.descriptor, _PAGE + size)
        return self

    @classmethod
    def open(cls, size: int, key: tuple[int, int], *places: Any) -> File:
        path, owner = places
        try:
            self = cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), size)
        except OSError:
            raise SharedStateError(_GONE.format(pid=owner)) from None
        self.path, self.owner = path, owner
        if self.key != key:
            self.close()
            raise SharedStateError(_GONE.format(pid=owner))
        return self

    def address(self) -> Address:
        return self.size, self.key, self.path, self.owner

    def close(self) -> None:
        os.close(self.descriptor)
        if self.owner == os.getpid():
            try:
                os.unlink(self.path)
                os.rmdir(os.path.dirname(self.path))  # if this was the last one
                _folders.pop(self.owner, None)
            except OSError:  # there are others; or the folder has gone before
                pass


class Tagged:
    """A block that has a name for as long as somebody has it open (Windows)."""

    __slots__ = ("_map", "key", "owner", "size")

    def __init__(self, size: int, key: str, owner: int) -> None:
        self.size, self.key, self.owner = size, key, owner
        # A name that nobody has would make a new block: what is written at the end of ours tells it from such a one.
        self._map = mmap.mmap(-1, size + 2 + len(key), tagname=f"manyhands-{key}")  # type: ignore[call-arg,unused-ignore]

    @classmethod
    def create(cls, size: int) -> Tagged:
        self = cls(size, os.urandom(16).hex(), os.getpid())
        self._map[size + 2 :] = self.key.encode()
        return self

    @classmethod
    def open(cls, size: int, key: str, owner: int) -> Tagged:
        self = cls(size, key, owner)
        if self._map[size + 2 :] != key.encode():
            raise SharedStateError(_GONE.format(pid=owner))
        return self

    def address(self) -> Address:
        return self.size, self.key, self.owner

    def map(self) -> mmap.mmap:
        return self._map

    def grow(self, size: int) -> None:
        raise OSError("shared memory cannot grow on Windows")

    def mark(self, opened: bool) -> None:
        self._map[self.size] = opened

    def opened(self) -> bool:
        return self._map[self.size] != 0

    def leave(self) -> None:
        self._map[self.size + 1] = 1

    def left(self) -> bool:
        return self._map[self.size + 1] != 0

    def close(self) -> None:
        pass  # the handle goes with the last view of the map


Segment: TypeAlias = "Nameless | File | Tagged"

#: What this platform has.
kind: type[Nameless | File | Tagged]
if sys.platform == "win32":
    kind = Tagged
elif hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
    kind = Nameless
else:
    kind = File


_folders: dict[int, str] = {}


def _folder() -> str:
    """Return this process's own folder for blocks that are files; it goes when the process ends."""
    import atexit
    import shutil
    import tempfile

    pid = os.getpid()
    if pid not in _folders:
        _folders[pid] = folder = tempfile.mkdtemp(prefix="manyhands-")

        def remove() -> None:
            if os.getpid() == pid:  # not in a child that was forked, and inherits this
                shutil.rmtree(folder, ignore_errors=True)

        atexit.register(remove)
    return _folders[pid]
