"""Objects that misbehave at a chosen moment, and the tasks of the catalogue of faults.

Apart from the tests, as ``tasks``: a worker that looks one up does not load pytest. A rogue is told *how* it misbehaves (one
of ``CRASHES``, of ``RAISES``, "hang" or "lie") and *when*: while it is pickled, unpickled, hashed, compared or printed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

#: How to end the process, and its exit code then.
CRASHES = {"os._exit": 11, "SIGKILL": -signal.SIGKILL, "SIGSEGV": -signal.SIGSEGV}
RAISES: dict[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "raise": LookupError,
    "KeyboardInterrupt": KeyboardInterrupt,
}


def misbehave(how: str) -> Any:
    """End this process, raise, never return, or return what nobody has asked for."""
    if how in CRASHES:
        import faulthandler
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()  # what it writes is not wanted here
        if how == "os._exit":
            os._exit(11)
        os.kill(os.getpid(), signal.Signals[how])
        signal.pause()
    if how in RAISES:
        raise RAISES[how]("a rogue")
    while how == "hang":
        time.sleep(1000)
    return 42


class WhenPickled:
    """Misbehaves while it is pickled; as a lie, it says that it can be pickled as a number."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return misbehave(self.how)


class WhenUnpickled:
    """Misbehaves while it is unpickled; as a lie, it turns out to be a number."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return misbehave, (self.how,)


class WhenUsed:
    """Misbehaves when it is hashed, compared, printed or asked for anything else that an object may be asked for.

    Args:
        how: how.
        spared: the process in which it behaves; 0: none.
    """

    def __init__(self, how: str, spared: int = 0) -> None:
        self.how = how
        self.spared = spared

    def __reduce__(self) -> Any:
        return type(self), (self.how, self.spared)

    def _misbehave(self, *_: Any) -> Any:
        return NotImplemented if os.getpid() == self.spared else misbehave(self.how)

    __eq__ = __ne__ = __lt__ = __gt__ = __repr__ = __str__ = __bool__ = __len__ = __format__ = _misbehave
    __iter__ = __contains__ = __index__ = __int__ = __getitem__ = __add__ = __radd__ = _misbehave

    def __hash__(self) -> int:
        return 7 if os.getpid() == self.spared else misbehave(self.how)


class CallableWhenUsed(WhenUsed):
    """A function that misbehaves when it is anything but called."""

    def __call__(self, value: Any) -> Any:
        return value


class RaisedWhenUsed(ValueError):
    """An exception that misbehaves when it is hashed, compared or printed."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how

    def _misbehave(self, *_: Any) -> Any:
        return misbehave(self.how)

    __eq__ = __repr__ = __str__ = __bool__ = __len__ = add_note = _misbehave  # type: ignore[assignment]

    def __hash__(self) -> int:
        return int(misbehave(self.how))


def behave(value: Any) -> Any:
    return value


def run(point: str, how: str, value: Any = None) -> Any:
    """In a worker: misbehave at that point of a task's life (or let the argument do it)."""
    if point == "running":
        misbehave(how)
    if point == "result out" and how != "well":
        return WhenPickled(how)
    if point == "result in":
        return WhenUnpickled(how)
    return point


def argument(point: str, how: str) -> Any:
    """What the task is given so that it misbehaves there."""
    return {"argument out": WhenPickled, "argument in": WhenUnpickled}.get(point, str)(how)


def run_item(item: tuple[str, str, Any]) -> Any:
    return run(*item)


def raise_rogue(how: str) -> None:
    raise RaisedWhenUsed(how)


def _raise_rogue(how: str) -> None:
    raise RaisedWhenUsed(how)


class RaisesWithoutNote:
    """Raises, when it is unpickled, an exception that misbehaves when a note is added to it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return _raise_rogue, (self.how,)


def raise_without(name: str) -> None:
    """Raise an exception that leaves by SystemExit when it is asked for that attribute."""

    def leave(_: Any) -> None:
        raise SystemExit(name)

    raise type("Without", (Exception,), {name: property(leave)})("a rogue")


def print_it(value: Any) -> str:
    return repr(value)


def hash_it(value: Any) -> int:
    return hash(value)


def compare_it(value: Any) -> bool:
    return bool(value == value)  # noqa: PLR0124 - whether it is equal is asked, not known


# for the catalogue


def overflow_the_stack() -> None:
    """Recurse in C until the stack is used up: glibc's parser of regular expressions does, and Python cannot count it."""
    import ctypes
    import faulthandler
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), b"(" * 10_000_000, 1)


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1) + 1


def raise_huge(size: int) -> None:
    raise ValueError("x" * size)


def raise_missing_file(path: str) -> None:
    Path(path).read_bytes()


def log_and_lock(lock_is_free: bool) -> str:
    """Log, and take the lock that a thread of the program holds, where it is not inherited."""
    import logging

    logging.getLogger("tests.rogues").warning("from a worker")
    if lock_is_free:
        if not lock.acquire(timeout=30):
            return "locked out"
        lock.release()
    return "done"


lock = threading.Lock()


def change_folder(path: str) -> str:
    os.chdir(path)
    return os.getcwd()


def folder() -> str:
    return os.getcwd()


def change_variable(name: str, value: str) -> str:
    os.environ[name] = value
    return os.environ[name]


def variable(name: str) -> str | None:
    return os.environ.get(name)


# tasks that take too long


def sleep_on(number: int, late: int) -> int:
    while number == late:
        time.sleep(1000)
    return number


def spin_on(number: int, late: int) -> int:
    while number == late:
        pass
    return number


def stay_in_c(number: int, late: int) -> int:
    """Loop in C, with the interpreter's lock held: no handler of a signal ever runs."""
    import itertools

    if number == late:
        sum(itertools.repeat(0))
    return number


def stubborn(number: int, late: int) -> int:
    if number == late:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    return sleep_on(number, late)


def take(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
