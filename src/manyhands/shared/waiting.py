"""Sleeping until another process has changed a word of shared memory, and telling whether a process lives.

On Linux this is the kernel's ``futex``: it sleeps only while the word is what it was, is woken by whoever has changed it, and
a signal ends it, so that Ctrl-C does. Nobody has to be there for anybody else: the kernel forgets a sleeper that is killed.
Elsewhere sleepers look at the word again and again, at growing intervals.

Two things a sleeper must not rely on. One who was about to wake it may be killed between changing the word and waking; and a
signal may come in the moment between the interpreter's last look for one and going to sleep. So every sleep ends by
itself after a while: soon the first time, ``LOOK_UP``, then each ``GLANCE``; who sleeps looks, and sleeps again.

Source: futex(2); Drepper, "Futexes Are Tricky", 2011.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds of the first sleep at most, and of each that follows.
LOOK_UP = 0.25
GLANCE = 1.0

#: The number of the system call on each machine; it has no function in the C library.
_NUMBERS = {
    "x86_64": 202,
    "aarch64": 98,
    "riscv64": 98,
    "loongarch64": 98,
    "i386": 240,
    "i686": 240,
    "armv7l": 240,
    "ppc64le": 221,
    "s390x": 238,
}
_WAIT, _WAKE = 0, 1


class Word:
    """A word of shared memory, 32 bits, that threads of any process sleep by.

    Args:
        memory: an ``mmap`` of it.
        offset: the byte where it begins, a multiple of 4.
    """

    __slots__ = ("_bytes", "_kernel", "_pointer", "_view")

    def __init__(self, memory: Any, offset: int) -> None:
        self._view = memoryview(memory)[offset : offset + 4].cast("I")
        self._kernel = _kernel()
        if self._kernel is not None:
            import ctypes

            self._bytes = ctypes.c_char.from_buffer(memory, offset)
            self._pointer = ctypes.addressof(self._bytes)

    def get(self) -> int:
        return self._view[0]

    def set(self, value: int) -> None:
        self._view[0] = value

    def sleep(self, expected: int, seconds: float) -> None:
        """Sleep while the word is ``expected``: until it is woken, for so many seconds at most, or without a reason."""
        if seconds <= 0:
            return
        if self._kernel is not None:
            self._kernel.sleep(self._pointer, expected, seconds)
            return
        from time import sleep

        until, pause = monotonic() + seconds, 0.0005
        while self._view[0] == expected and (left := until - monotonic()) > 0:
            sleep(min(pause, left))
            pause = min(2 * pause, 0.02)

    def wake(self, count: int = 1) -> int:
        """Wake up so many at most; return how many there were, as far as that is known."""
        return 0 if self._kernel is None else self._kernel.wake(self._pointer, count)


class _Futex:
    def __init__(self, number: int) -> None:
        import ctypes

        class Timespec(ctypes.Structure):
            _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

        call = ctypes.CDLL(None).syscall
        call.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_ulong, ctypes.c_void_p]
        call.restype = ctypes.c_long

        def sleep(pointer: int, expected: int, seconds: float) -> None:
            time = Timespec(int(seconds), int(seconds % 1 * 1e9))
            call(number, pointer, _WAIT, expected, ctypes.addressof(time))

        def wake(pointer: int, count: int) -> int:
            return max(0, int(call(number, pointer, _WAKE, count, None)))

        self.sleep, self.wake = sleep, wake


_futex: list[_Futex | None] = []


def _kernel() -> _Futex | None:
    if not _futex:
        number = _NUMBERS.get(os.uname().machine) if sys.platform == "linux" else None
        try:
            _futex.append(None if number is None or sys.maxsize < 2**32 else _Futex(number))
        except (AttributeError, ImportError, OSError):
            _futex.append(None)
    return _futex[0]


class Patience:
    """How long each sleep of one who waits may last.

    Args:
        timeout: seconds for all of them together, or None.
        glance: seconds of each sleep but the first, at most.
    """

    __slots__ = ("_glance", "_next", "_until")

    def __init__(self, timeout: float | None, glance: float = GLANCE) -> None:
        self._until = None if timeout is None else monotonic() + timeout
        self._glance = glance
        self._next = min(LOOK_UP, glance)

    def left(self) -> float:
        """Return the seconds that the next sleep may last; 0 or less when the time is over."""
        seconds, self._next = self._next, self._glance
        return seconds if self._until is None else min(seconds, self._until - monotonic())


_starts: dict[int, int] = {}


def myself() -> tuple[int, int]:
    """Return what this process is known by: its number, and when it started, as ``alive`` takes them."""
    pid = os.getpid()
    start = _starts.get(pid)
    if start is None:
        _starts.clear()  # of a parent, if this was forked
        start = _starts[pid] = _started(pid) or 0
    return pid, start


def alive(pid: int, start: int) -> bool:
    """Tell whether that process runs: the one that started then, not another that has its number now (0: any)."""
    found = _started(pid)
    return found is not None and (not start or not found or found == start)


def _started(pid: int) -> int | None:
    """Return when a process was started, 0 where that cannot be told; None if it has ended."""
    platform: str = sys.platform
    if platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in {b"Z", b"X"} else int(fields[19])
    if platform == "win32":
        _winapi: Any = __import__("_winapi")

        try:
            handle = _winapi.OpenProcess(0x100000, False, pid)  # SYNCHRONIZE
        except OSError:
            return None
        try:
            return 0 if _winapi.WaitForSingleObject(handle, 0) == _winapi.WAIT_TIMEOUT else None
        finally:
            _winapi.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0
