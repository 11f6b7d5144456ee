"""``Lock`` and ``RLock``: as those of ``threading``, between all threads of all processes, and released by death.

A lock belongs to the thread that has acquired it, and only that thread can release it. When the thread or its process ends
without doing so, however that comes, the next ``acquire`` returns, and ``holder_died`` tells it so: what the lock guards
may be half done.

While a lock is held, this process keeps its memory (``_taken``), whoever drops the lock: the kernel has a list of the
mutexes that a thread holds, and follows it when the thread ends.

Ctrl-C: the wait for a mutex cannot be interrupted, so the main thread, the only one that Ctrl-C is for, waits in slices. For the
same reason a method that takes a mutex undoes it on any exception: the interpreter looks for signals after each call,
also between the call that took the mutex and the next step.
"""

from __future__ import annotations

from _thread import _local, get_ident
from errno import EBUSY, EDEADLK, ETIMEDOUT
from time import monotonic, sleep

from manyhands.shared.handles import Handle
from manyhands.shared.mutex import EOWNERDEAD, SIZE, mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: Seconds after which the main thread looks for signals, and any other thread for nothing in particular.
SLICE, LONG_SLICE = 0.1, 60.0

#: What threads of this process hold.
_taken: set[_Mutual] = set()


class _Held(_local):
    """What a thread knows of a lock: how often it has acquired it, and whether the holder before it died."""

    depth = 0
    died = False


class _Mutual(Handle):
    """What ``Lock`` and ``RLock`` have in common."""

    __slots__ = ("_give", "_held", "_mutex", "_take")

    def __init__(self) -> None:
        self._begin(SIZE)

    def _attach(self, *, fresh: bool) -> None:
        self._mutex = mutex(self._memory, self._offset, fresh=fresh)
        self._take, self._give = self._mutex.take, self._mutex.give
        self._held = _Held()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait until nobody else holds it, and hold it.

        Args:
            blocking: wait; otherwise, return at once.
            timeout: seconds to wait at most; -1: as long as it takes.

        Returns:
            Whether this thread holds it now.

        Raises:
            RuntimeError: this thread holds it already, and would wait for itself for ever (a ``Lock``).
        """
        if not blocking or timeout != -1:
            _check(blocking, timeout)
        held = self._held
        if held.depth:
            return self._again(blocking, timeout)
        try:
            code = self._take()
            if code:
                code = self._overcome(code, timeout if blocking else 0.0)
            if not code:
                held.depth = 1
                _taken.add(self)
                return True
        except BaseException:
            self._undo()
            raise
        if code not in {EBUSY, ETIMEDOUT}:
            raise OSError(code, "the memory of this lock was written over")
        return False

    def release(self) -> None:
        """Let the next one have it.

        Raises:
            RuntimeError: this thread does not hold it.
        """
        held = self._held
        if held.depth == 1:
            try:
                _taken.discard(self)
            finally:  # between these steps there is no look for signals
                held.depth = 0
                if held.died:
                    held.died = False
                self._give()
        elif held.depth:
            held.depth -= 1
        else:
            raise RuntimeError(
                f"cannot release a {type(self).__name__} that this thread does not hold. "
                "Only the thread that has acquired it can release it"
            )

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def holder_died(self) -> bool:
        """Whether this thread holds it because the thread or process that held it before ended without releasing it.

        True until it is released. What the lock guards may be half done: check it, or make it anew.

        Example:
            >>> from manyhands.shared import Lock
            >>> with (lock := Lock()):
            ...     lock.holder_died
            False
        """
        return self._held.died

    def locked(self) -> bool:
        """Tell whether any thread of any process holds it at this moment."""
        return bool(self._mutex.held())

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} shared {type(self).__name__}>"

    def _again(self, blocking: bool, timeout: float) -> bool:
        raise NotImplementedError

    def _overcome(self, code: int, timeout: float) -> int:
        """Deal with what ``take`` has answered instead of 0; return 0 when it is taken."""
        if code == EBUSY and timeout:
            code = self._wait(timeout)
        if code == EOWNERDEAD:
            self._mutex.repair()
            self._held.died = True
            code = 0
        # EDEADLK: a release was interrupted between noting it and doing it. It is held.
        return 0 if code == EDEADLK else code

    def _wait(self, timeout: float) -> int:
        slice_ = SLICE if _in_main_thread() else LONG_SLICE
        until = None if timeout < 0 else monotonic() + timeout
        while True:
            left = slice_ if until is None else min(slice_, max(0.0, until - monotonic()))
            code: int = self._mutex.take_within(left)
            if code != ETIMEDOUT or (until is not None and monotonic() >= until):
                return code

    def _undo(self) -> None:
        """After an exception in ``acquire``, which this thread had begun without holding it."""
        self._held.depth = 0
        self._held.died = False
        self._mutex.undo()
        _taken.discard(self)

    # For Condition, which has to let go of it however often it is held.

    def _is_owned(self) -> bool:
        return self._held.depth > 0

    def _release_save(self) -> int:
        depth, self._held.depth = self._held.depth, 1
        self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        self.acquire()
        self._held.depth = depth


class Lock(_Mutual):
    """A lock that any process can hold: ``threading.Lock`` for processes.

    It can be sent anywhere, pickled: in arguments, in closures, to children of ``multiprocessing``; it is the same lock there.
    It belongs to the thread that acquires it. When that one dies, the next gets it, and can see so in ``holder_died``.

    Example:
        >>> from manyhands.shared import Lock
        >>> lock = Lock()
        >>> with lock:
        ...     lock.locked()
        True
        >>> lock.acquire(timeout=1), lock.acquire(blocking=False)
        (True, False)
        >>> lock.release()
    """

    __slots__ = ()

    def _again(self, blocking: bool, timeout: float) -> bool:
        if not blocking:
            return False
        if timeout < 0:
            raise RuntimeError(
                "this thread holds this Lock already, and would wait for itself for ever. Use an RLock where a function "
                "that holds the lock calls another that acquires it"
            )
        sleep(timeout)
        return False


class RLock(_Mutual):
    """A lock that the thread which holds it can acquire again: ``threading.RLock`` for processes.

    It has to be released as often as it was acquired. It travels, and outlives its holder, as a ``Lock`` does.

    Example:
        >>> from manyhands.shared import RLock
        >>> lock = RLock()
        >>> with lock, lock:
        ...     lock.locked()
        True
        >>> lock.locked()
        False
    """

    __slots__ = ()

    def _again(self, blocking: bool, timeout: float) -> bool:
        self._held.depth += 1
        return True


def _check(blocking: bool, timeout: float) -> None:
    if not blocking and timeout != -1:
        raise ValueError("a timeout is for waiting: leave it out, or leave out blocking=False")
    if timeout < 0 and timeout != -1:
        raise ValueError(
            f"the timeout must be 0 seconds or more, not {timeout!r}; leave it out to wait for ever"
        )


def _in_main_thread() -> bool:
    import sys

    threading: Any = sys.modules.get("threading")
    if threading is None:
        return True
    return bool(threading.main_thread().ident == get_ident())


def _after_fork() -> None:
    """In a child that was forked: nothing is held here, whatever the thread that forked had."""
    for lock in list(_taken):
        lock._held = _Held()
        lock._mutex.after_fork()
    _taken.clear()


def _register() -> None:
    import os

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


_register()
