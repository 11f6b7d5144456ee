"""The functions and objects that the tests of the pool send to workers: a rogues' gallery.

Apart from the tests, so that a worker that looks one up does not load pytest.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

from manyhands import parallel_map

#: Seconds, long enough for a loaded machine; nothing that works waits for so long.
PATIENCE = 60.0


def double(number: int) -> int:
    return 2 * number


def identity(value: Any) -> Any:
    return value


def nothing(*_: Any) -> None:
    pass


def add(first: int, second: int = 10, *, third: int = 0) -> int:
    return first + second + third


def pid(*_: Any) -> int:
    return os.getpid()


def raising(error: BaseException) -> None:
    raise error


# meeting the test


def report(path: str, text: str) -> None:
    """Tell the test something: a short line is written at once or not at all."""
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def hold(reports: str, gate: str, value: Any = None) -> Any:
    """Report this process, and wait to be let go."""
    report(reports, str(os.getpid()))
    descriptor = os.open(gate, os.O_RDONLY)
    os.read(descriptor, 1)
    os.close(descriptor)
    return value


def endless(reports: str) -> None:
    """Report this process, and never return."""
    report(reports, str(os.getpid()))
    while True:
        signal.pause()


def stubborn(reports: str) -> None:
    """As ``endless``, and against every signal that can be ignored or blocked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    report(reports, str(os.getpid()))
    while True:
        time.sleep(1000)


def ignore_everything() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})


def leave_thread(*, daemon: bool) -> None:
    threading.Thread(target=threading.Event().wait, daemon=daemon).start()


def note(path: str, text: object) -> None:
    """Write a line to a file that many processes write to."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def note_pid(path: str) -> None:
    note(path, os.getpid())


def noted_double(number: int, path: str) -> int:
    note(path, number)
    return 2 * number


# dying


def die(how: str) -> None:
    """End this process: by the signal of that name, or with ``exit N``, or from C."""
    import faulthandler
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()  # inherited from pytest with "fork"; what it writes is not wanted here
    if how.startswith("exit"):
        os._exit(int(how.split()[1]))
    import ctypes

    if how == "segfault in C":
        ctypes.string_at(0)
    elif how.startswith("libc exit"):
        ctypes.CDLL(None).exit(int(how.split()[2]))
    else:
        os.kill(os.getpid(), signal.Signals[how])
        signal.pause()


def double_or_die(number: int, path: str, deadly: tuple[int, ...]) -> int:
    """Note that it runs, and die for some numbers."""
    note(path, number)
    if number in deadly:
        os._exit(9)
    return 2 * number


def first_argument_or_die(number: int, _: Any, path: str, deadly: tuple[int, ...]) -> int:
    return double_or_die(number, path, deadly)


def _die_when_called(code: int) -> None:
    os._exit(code)


class DiesWhenUnpickled:
    """Ends the process in which it is unpickled."""

    def __reduce__(self) -> Any:
        return _die_when_called, (5,)

    def __call__(self, *_: Any) -> None:
        """It is a function, too."""


class DiesWhenPickled:
    """Ends the process in which it is pickled."""

    def __reduce__(self) -> Any:
        os._exit(6)


def make_deadly() -> DiesWhenPickled:
    return DiesWhenPickled()


def die_with_living_child(reports: str) -> None:
    """Fork a child that lives on with every descriptor of this process, report its pid, and die."""
    child = os.fork()
    if not child:
        while True:
            signal.pause()
    report(reports, str(child))
    os._exit(3)


def fork_and_return(value: Any) -> Any:
    """Return twice: here, and in a forked child."""
    os.fork()
    return value


def fork_and_return_much(size: int) -> bytes:
    os.fork()
    return b"x" * size


def write_junk(junk: bytes) -> str:
    """Write to every socket this process has."""
    import stat

    for entry in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(entry)).st_mode):
                os.write(int(entry), junk)
        except OSError:
            pass
    return "written"


def close_everything() -> str:
    os.closerange(3, 1024)
    return "closed"


def exhaust_memory() -> bytearray:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    try:
        return bytearray(1 << 31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


# initializers

current: Any = None
settings: dict[str, Any] = {}


def initialize(value: Any) -> None:
    """Set up a worker as programs do: by a global, and by filling one."""
    global current
    current = value
    settings["value"] = value


def assigned() -> Any:
    return current


def filled() -> Any:
    return settings.get("value")


def fail_to_initialize(path: str) -> None:
    note(path, os.getpid())
    raise LookupError("no such database")


def exit_in_initializer(path: str, code: int) -> None:
    note(path, os.getpid())
    os._exit(code)


def leave_in_initializer(path: str) -> None:
    note(path, os.getpid())
    sys.exit("leaving")


# odd objects


def raise_lookup(*_: Any) -> Any:
    raise LookupError("in __reduce__")


class RaisesWhenPickled:
    """Raises something when it is pickled."""

    def __init__(self, error: type[BaseException] = LookupError) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("in __reduce__")


def _raise_when_called(error: type[BaseException]) -> None:
    raise error("while unpickling")


class RaisesWhenUnpickled:
    """Raises something when it is unpickled."""

    def __init__(self, error: type[BaseException] = LookupError) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _raise_when_called, (self.error,)


def _raise_unless_in(process: int) -> str:
    if os.getpid() != process:
        raise LookupError("while unpickling the result")
    return "opened where it was made"


class OpensOnlyAtHome:
    """Unpickles in the process that made it and nowhere else."""

    def __reduce__(self) -> Any:
        return _raise_unless_in, (os.getpid(),)


def make(name: str) -> Any:
    """Make one of the results that are hard to send."""
    if name == "lock":
        return threading.Lock()
    if name == "generator":
        return (number for number in range(3))
    if name == "lambda":
        return lambda: "from a lambda"
    if name == "not to be opened":
        return OpensOnlyAtHome()
    if name == "deep":
        return nested(200_000)
    if name == "open file":
        return open(os.devnull)
    raise LookupError(name)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def depth(value: list[Any]) -> int:
    count = 0
    while value:
        value, count = value[0], count + 1
    return count


def append_to(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


class TwoArguments(Exception):
    """Is made from two arguments and passes one on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class KeywordsOnly(ValueError):
    """Takes keywords only."""

    def __init__(self, *, code: int) -> None:
        super().__init__("with keywords")
        self.code = code


class Unpicklable(KeyError):
    """Refuses to be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("this exception stays here")


class BreaksWhenSet(OSError):
    """Fails when its state is set."""

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no state, please")


class HoldsALock(RuntimeError):
    """Has an attribute that cannot travel, beside one that can."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.detail = {"row": 7}


class OwnBase(BaseException):
    """Not an ``Exception``."""


def raise_two_arguments() -> None:
    raise TwoArguments(7, "seven")


def raise_keywords_only() -> None:
    raise KeywordsOnly(code=8)


def raise_unpicklable() -> None:
    raise Unpicklable("stays")


def raise_breaking_state() -> None:
    error = BreaksWhenSet(2, "no such thing")
    error.extra = 1  # type: ignore[attr-defined]
    raise error


def raise_with_lock() -> None:
    raise HoldsALock("held")


def raise_local_class() -> None:
    class Local(ZeroDivisionError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(one, two)
            self.two = two

    raise Local(1, 2)


def raise_with_notes() -> None:
    error = ValueError("annotated")
    error.add_note("a note of its own")
    raise error


def raise_with_cause() -> None:
    try:
        deeper()
    except LookupError as error:
        raise ValueError("outer") from error


def deeper() -> None:
    raise LookupError("inner")


def raise_group() -> None:
    raise ExceptionGroup("several", [ValueError(1), TwoArguments(3, "three")])


def raise_odd_text() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    raise Odd


def fail_at(number: int, failing: tuple[int, ...]) -> int:
    if number in failing:
        raise ValueError(number)
    return number


# using processes inside of a task


def use_multiprocessing() -> str:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=queue.put, args=("from a child",))
    child.start()
    text = str(queue.get())
    child.join()
    queue.close()
    return text


def map_here(numbers: list[int]) -> tuple[list[int], list[int]]:
    """Map inside a task; return the results and the processes that made them."""
    return parallel_map(double, max_workers=4).map(numbers), parallel_map(pid, max_workers=4).map(numbers)


def inner(number: int) -> tuple[int, int]:
    return os.getpid(), number


def outer(number: int) -> list[tuple[int, int]]:
    return parallel_map(inner, max_workers=8, initializer=nothing).map(range(number))


def recursive(depth: int) -> int:
    """Map inside of a map inside of a map ..."""
    if depth == 0:
        return 1
    return sum(parallel_map(recursive, max_workers=4).map([depth - 1] * 2))


def nested_submit(number: int) -> tuple[int, int]:
    return number, parallel_map(pid).submit().result()


def nested_failure() -> None:
    parallel_map(fail_at, max_workers=2).map(range(5), failing=(3,))


def pool_here(numbers: list[int]) -> list[int]:
    """Use a pool inside a task."""
    from manyhands import ProcessPool

    with ProcessPool(2) as pool:
        return list(pool.map(double, numbers))


left: list[Any] = []


def leave_pool_open() -> int:
    from manyhands import ProcessPool

    pool = ProcessPool(2)
    left.append(pool)
    return pool.submit(double, 2).result()


def hold_in_inner_pool(reports: str) -> None:
    from manyhands import ProcessPool

    with ProcessPool(1) as pool:
        pool.submit(endless, reports).result()


memory: dict[str, object] = {}


def identity_of_large() -> int:
    return id(memory["large"])


def stay_on() -> int:
    """Leave something to be done at the end of the process that takes very long."""
    import atexit

    atexit.register(time.sleep, 1000)
    return os.getpid()
