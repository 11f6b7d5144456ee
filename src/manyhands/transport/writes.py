"""Whether memory of this process has been written to since: asked of the kernel, so that nobody has to compare it.

``constants`` keeps a copy of each large constant. To find out whether one has changed it would read both, which takes more than
half as long as copying. ``Writes`` has the kernel note writes to the pages of such a piece of memory instead: that costs nothing
until there is one, and then a page fault for each page. So what does change is not watched any more.

The answer errs on one side only. "Not written to" needs, of every page: it belongs to a mapping that is watched; it is there; it
is no page of a file, nor shared, so that nobody else can write to it; and no write was noted. What was freed and mapped anew,
resized, discarded or swapped out is "perhaps": of a page that is not there the kernel does not say whose it is. Whole pages are
watched, so the bytes before the first whole page and after the last one are not: they have to be compared.

Each pool has a ``Writes`` of its own. Only one can watch a page at a time, and the kernel does not say which one does: what was
freed may be watched anew by another, from later on. So whoever begins to watch ends the watches of all others there.

Linux 6.7 and newer, where ``userfaultfd`` may be used; elsewhere nothing is ever watched.

Source: userfaultfd(2); the kernel's ``Documentation/admin-guide/mm/userfaultfd.rst`` (write protection, asynchronous) and
``pagemap.rst`` (the PAGEMAP_SCAN ioctl).
"""

from __future__ import annotations

import mmap
import os
import sys
from _struct import pack
from _weakref import ref

from manyhands.transport.pagemap import FILE, THERE, WATCHED, WRITTEN, first_run

#: Number of the system call, by machine.
_SYSCALLS = {"x86_64": 323, "aarch64": 282, "riscv64": 282, "ppc64le": 364, "s390x": 355}
_USER_MODE_ONLY = 1  # writes by the kernel are noted all the same; without it, it would take a privilege

# include/uapi/linux/userfaultfd.h
_API, _REGISTER, _UNREGISTER, _PROTECT = 0xC018AA3F, 0xC020AA00, 0x8010AA01, 0xC018AA06
_VERSION, _UNPOPULATED, _ASYNC = 0xAA, 1 << 13, 1 << 15
_WRITES = 2  # the mode: watch for writes

_all: dict[int, ref[Writes]] = {}  # those that live, by id


class Writes:
    """Watches pieces of this process's memory; one thread at a time, of each of them.

    Example:
        >>> writes = Writes()
        >>> writes.quiet(0)  # no such watch
        False
        >>> writes.close()
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._process = os.getpid()
        self._refused = sys.platform != "linux"
        self._watches: dict[
            int, tuple[int, int]
        ] = {}  # by number: where the first page begins, and how many bytes
        self._last = 0
        key = id(self)
        _all[key] = ref(self, lambda _: _all.pop(key, None))

    def watch(self, address: int, size: int) -> int:
        """Begin to watch, from now on.

        Args:
            address: where it begins.
            size: bytes.

        Returns:
            A number to ask by; 0: it cannot be watched. Watches of the same pages end: what was noted for them is lost.
        """
        start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE  # of the whole pages in it
        length = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE - start
        if length <= 0 or not self._open():
            return 0
        assert self._file is not None
        for known in list(_all.values()):
            writes = known()
            for number, (other, extent) in list(writes._watches.items()) if writes else ():
                if writes and other < start + length and start < other + extent:
                    writes.forget(number)
        from fcntl import ioctl

        self._last += 1
        self._watches[self._last] = start, length
        try:
            ioctl(self._file, _REGISTER, bytearray(pack("4Q", start, length, _WRITES, 0)))
            ioctl(self._file, _PROTECT, bytearray(pack("3Q", start, length, 1)))
        except OSError:  # memory of a kind that cannot be watched, or somebody else watches it
            self.forget(self._last)
            return 0
        return self._last

    def quiet(self, watch: int) -> bool:
        """Tell whether nothing was written since that watch began; False also where nobody knows."""
        pages = self._watches.get(watch)
        if pages is None:  # in a forked child no page is watched
            return False
        start, length = pages
        try:
            run = first_run(start, length, all_of=WATCHED | THERE, none_of=WRITTEN | FILE)
        except OSError:  # an older kernel, or no descriptor to ask with
            return False
        # Else another may have begun to watch there meanwhile.
        return run == (start, start + length) and watch in self._watches

    def forget(self, watch: int) -> None:
        """End a watch: from now on writes cost what they always did."""
        pages, file = self._watches.pop(watch, None), self._file
        if pages is not None and file is not None and self._process == os.getpid():
            from fcntl import ioctl

            try:
                ioctl(file, _UNREGISTER, bytearray(pack("2Q", *pages)))
            except OSError:  # it was freed meanwhile
                pass

    def close(self) -> None:
        """End all watches, and begin none."""
        for number in list(self._watches):
            self.forget(number)
        if self._file is not None:
            os.close(self._file)
        self._file, self._refused = None, True

    def _open(self) -> bool:
        if self._process != os.getpid():  # what a forked child has inherited watches its parent
            return False
        if self._file is None and not self._refused:
            self._refused = True
            file = _ask()
            if file >= 0:
                from fcntl import ioctl

                from manyhands.transport.descriptors import away

                self._file = away(file)
                try:
                    ioctl(self._file, _API, bytearray(pack("3Q", _VERSION, _ASYNC | _UNPOPULATED, 0)))
                    self._refused = False
                except OSError:  # an older kernel
                    os.close(self._file)
                    self._file = None
        return self._file is not None


def _ask() -> int:
    """Return a new userfaultfd, or -1."""
    number = _SYSCALLS.get(os.uname().machine)
    if number is None or sys.maxsize < 1 << 32:
        return -1
    import ctypes

    return int(ctypes.CDLL(None).syscall(number, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY))
