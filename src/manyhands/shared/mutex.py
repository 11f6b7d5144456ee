"""Mutual exclusion between processes that survives the death of who holds it: what the platform has for it.

All kinds have ``take``, ``take_within`` and ``give``, which return an error number: 0 (taken, or given back), ``EBUSY``
(another has it), ``ETIMEDOUT``, ``EDEADLK`` (this thread has it), ``EPERM`` (this thread does not have it), or ``EOWNERDEAD``:
taken, and whoever had it before died with it.

* Linux: a mutex of the C library in shared memory, "robust" and "process-shared", through ``ctypes``. The kernel keeps a
  list of those that a thread holds, and passes them on when the thread ends, however it ends. Not contended it costs
  no system call.
* Windows: a mutex object by name; the system reports an abandoned one.
* Elsewhere: a lock on a byte of the block's file. The system drops it with the process, and a word says that it was held.

Taking and giving back a mutex are full memory barriers (POSIX, "4.15.2 Memory Synchronization"): what one holder has written
to shared memory the next one reads.

Source: pthread_mutexattr_setrobust(3); Linux, Documentation/locking/robust-futexes.rst.
"""

from __future__ import annotations

import os
import sys
from errno import EBUSY, EDEADLK, EPERM, ETIMEDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.shared.memory import Memory

#: Bytes that any of them needs.
SIZE = 64

EOWNERDEAD = 130  # errno has it on Linux alone

_SHARED, _ROBUST, _CHECKED = 1, 1, 2
_MONOTONIC = 1


class Robust:
    """A mutex of the C library.

    Args:
        memory: where it is.
        offset: the byte where it begins.
        fresh: it is new, and nobody else knows it.
    """

    __slots__ = ("_bytes", "_holder", "give", "take", "take_within")

    def __init__(self, memory: Memory, offset: int, *, fresh: bool) -> None:
        import ctypes

        functions = _functions()
        self._bytes = ctypes.c_char.from_buffer(memory.map, offset)  # keeps the memory where it is
        pointer = ctypes.byref(self._bytes)
        if fresh:
            functions.initialise(pointer)
        self.take: Callable[[], int] = functions.partial(functions.take, pointer)
        self.take_within: Callable[[float], int] = functions.partial(functions.take_within, pointer)
        self.give: Callable[[], int] = functions.partial(functions.give, pointer)
        start = offset + functions.holder
        self._holder = memoryview(memory.map)[start : start + 4].cast("I")

    def held(self) -> bool:
        """Tell whether a thread that lives has it at this moment."""
        return self._holder[0] & 0x3FFFFFFF != 0  # FUTEX_TID_MASK

    def repair(self) -> None:
        """Go on using it although its holder died (``EOWNERDEAD``)."""
        import ctypes

        _functions().repair(ctypes.byref(self._bytes))

    def undo(self) -> None:
        """Give it back if this thread has it."""
        from _thread import get_native_id

        if self._holder[0] & 0x3FFFFFFF == get_native_id():
            self.repair()  # given back as it is, it could never be taken again
            self.give()

    @staticmethod
    def after_fork() -> None:
        """Nothing is to be done: the child holds none of its parent's."""


class _Functions:
    """The C library's functions, found once in a process."""

    def __init__(self) -> None:
        import ctypes
        from functools import partial
        from time import CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime

        self.partial = partial
        # PyDLL keeps the interpreter's lock: what never waits is done before another thread could be let in.
        quick, slow = ctypes.PyDLL(None), ctypes.CDLL(None)
        self.take = quick.pthread_mutex_trylock
        self.give = quick.pthread_mutex_unlock
        self.repair = quick.pthread_mutex_consistent

        class Timespec(ctypes.Structure):
            _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

        monotonic = getattr(slow, "pthread_mutex_clocklock", None)  # glibc 2.30
        by_date = slow.pthread_mutex_timedlock

        def take_within(pointer: Any, seconds: float) -> int:
            until = clock_gettime(CLOCK_REALTIME if monotonic is None else CLOCK_MONOTONIC) + seconds
            time = ctypes.byref(Timespec(int(until), int(until % 1 * 1e9)))
            if monotonic is None:
                return int(by_date(pointer, time))
            return int(monotonic(pointer, _MONOTONIC, time))

        self.take_within = take_within

        self._attributes = (ctypes.c_char * 64)()
        for function, *arguments in (
            (quick.pthread_mutexattr_init,),
            (quick.pthread_mutexattr_setpshared, _SHARED),
            (quick.pthread_mutexattr_setrobust, _ROBUST),
            (quick.pthread_mutexattr_settype, _CHECKED),
        ):
            code = function(self._attributes, *arguments)
            if code:
                raise OSError(code, f"{os.strerror(code)}: the C library makes no robust mutexes")
        self._initialise = quick.pthread_mutex_init
        self.holder = self._find_holder(ctypes)

    def initialise(self, pointer: Any) -> None:
        code = self._initialise(pointer, self._attributes)
        if code:
            raise OSError(code, os.strerror(code))

    def _find_holder(self, ctypes: Any) -> int:
        """Return where in a mutex the kernel finds its holder: the word that holds our thread's number when we take it."""
        from _thread import get_native_id

        space = (ctypes.c_uint32 * (SIZE // 4))()
        self.initialise(space)
        self.take(space)
        try:
            return 4 * [word & 0x3FFFFFFF for word in space].index(get_native_id())
        finally:
            self.give(space)


_found: _Functions | None = None


def _functions() -> _Functions:
    global _found
    if _found is None:
        _found = _Functions()
    return _found


class Abandonable:
    """A mutex object of Windows, by a name made of the block's and the place in it."""

    __slots__ = ("_handle", "_kernel", "_word")

    def __init__(self, memory: Memory, offset: int, *, fresh: bool) -> None:
        import ctypes

        self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
        self._kernel.CreateMutexW.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(
            self._kernel.CreateMutexW(None, False, f"manyhands-{memory._segment.key}-{offset}")
        )
        self._word = memoryview(memory.map)[offset : offset + 4].cast("I")

    def take(self) -> int:
        return self.take_within(0.0)

    def take_within(self, seconds: float) -> int:
        code = self._kernel.WaitForSingleObject(self._handle, int(seconds * 1e3))
        if code == 0x102:  # WAIT_TIMEOUT
            return ETIMEDOUT if seconds else EBUSY
        self._word[0] = 1
        return EOWNERDEAD if code == 0x80 else 0  # WAIT_ABANDONED

    def give(self) -> int:
        self._word[0] = 0
        return 0 if self._kernel.ReleaseMutex(self._handle) else EPERM

    def held(self) -> bool:
        return self._word[0] != 0

    def repair(self) -> None:
        """Nothing is to be done: it is as good as new."""

    def undo(self) -> None:
        self.give()

    @staticmethod
    def after_fork() -> None:
        """There is no fork."""

    def __del__(self) -> None:
        self._kernel.CloseHandle(self._handle)


class Locked:
    """A lock on one byte of the block's file (``fcntl``), for processes, and one of this process for its threads."""

    __slots__ = ("_descriptor", "_lock", "_offset", "_thread", "_word")

    def __init__(self, memory: Memory, offset: int, *, fresh: bool) -> None:
        from _thread import allocate_lock

        self._descriptor: int = memory._segment.descriptor  # type: ignore[union-attr]
        self._offset = offset
        self._lock = allocate_lock()
        self._thread = 0
        self._word = memoryview(memory.map)[offset : offset + 4].cast("I")

    def take(self) -> int:
        import fcntl
        from _thread import get_ident

        if not self._lock.acquire(blocking=False):
            return EBUSY
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._offset)
        except OSError:
            self._lock.release()
            return EBUSY
        except BaseException:
            self._lock.release()
            raise
        died = self._word[0] != 0
        self._word[0] = os.getpid()
        self._thread = get_ident()
        return EOWNERDEAD if died else 0

    def take_within(self, seconds: float) -> int:
        from _thread import get_ident
        from time import monotonic, sleep

        if self._thread == get_ident():
            return EDEADLK
        until, pause = monotonic() + seconds, 0.0005
        while (code := self.take()) == EBUSY:
            if monotonic() > until:
                return ETIMEDOUT
            sleep(min(pause, max(0.0, until - monotonic())))
            pause = min(2 * pause, 0.02)
        return code

    def give(self) -> int:
        import fcntl
        from _thread import get_ident

        if self._thread != get_ident():
            return EPERM
        self._thread = 0
        self._word[0] = 0
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._offset)
        self._lock.release()
        return 0

    def held(self) -> bool:
        from manyhands.shared.waiting import alive

        return self._word[0] != 0 and alive(self._word[0], 0)

    def repair(self) -> None:
        """Nothing is to be done: it is as good as new."""

    def undo(self) -> None:
        self.give()

    def after_fork(self) -> None:
        from _thread import allocate_lock

        self._lock = allocate_lock()
        self._thread = 0


def _choose() -> Any:
    platform: str = sys.platform
    if platform == "win32":
        return Abandonable
    if platform == "linux":
        try:
            _functions()
        except (AttributeError, ImportError, OSError, ValueError):
            return Locked
        return Robust
    return Locked


_kind: Any = None


def mutex(memory: Memory, offset: int, *, fresh: bool) -> Any:
    """Return this process's object for the mutex at that place, which all processes of this machine agree on."""
    global _kind
    if _kind is None:
        _kind = _choose()
    return _kind(memory, offset, fresh=fresh)
