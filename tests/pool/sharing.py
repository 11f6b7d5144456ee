"""What the tests of shared objects run in other threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from tests.pool.tasks import PATIENCE

#: How a test of both kinds runs something beside itself.
BESIDE = ("thread", "process")


def in_child(function: Callable[..., Any], *args: Any) -> int:
    """Run something in a forked child and wait for its end; return its exit code (0 if the function returned)."""
    return ended(forked(function, *args))


def forked(function: Callable[..., Any], *args: Any) -> int:
    """Run something in a forked child, and return its number."""
    with warnings.catch_warnings():  # pytest's own thread, which waits for the time to be over, does no harm
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        function(*args)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for the end of a child, and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(pid: int) -> None:
    """Kill a child, and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL


def die() -> None:
    """End this process as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)


def spawned(function: Callable[..., Any], *args: Any) -> int | None:
    """Run something in a plain child of ``multiprocessing``, spawned, and return its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None
    code = process.exitcode
    process.close()
    resource_tracker._resource_tracker._stop()  # multiprocessing would leave it running
    return code


@contextmanager
def beside(kind: str, function: Callable[..., Any], *args: Any) -> Iterator[None]:
    """Run something in a thread or in a forked process while the block runs; it has to end well."""
    if kind == "process":
        pid = forked(function, *args)
        yield
        assert ended(pid) == 0
        return
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function(*args)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert errors == []


# what workers run


def add(value: Any, times: int) -> None:
    for _ in range(times):
        value.add(1)


def add_slowly(value: Any, times: int) -> None:
    for _ in range(times):
        with value.lock:
            value.value += 1


def same(first: Any, second: Any) -> bool:
    return first is second


def write(memory: Any, content: bytes) -> None:
    memory.map[: len(content)] = content


def where(memory: Any) -> int:
    """Tell one opening of a block from another: by the object that stands for it."""
    return id(memory)


def kept() -> list[int]:
    """Return the sizes of the blocks that this worker has kept, after it was given one."""
    from manyhands.shared.memory import kept

    return [memory.size for memory in kept]


def rest_and_open() -> int:
    """Do as a worker that has had nothing to do, and return how many blocks are open."""
    from manyhands.shared.memory import _memories, kept

    kept.clear()
    return len(_memories)


_held: list[Any] = []


def hold(memory: Any) -> None:
    _held.append(memory)


def held() -> bytes:
    return bytes(_held[-1].map[:])


def total(array: Any) -> float:
    return float(array.sum())


def fill(array: Any, number: float) -> None:
    array[...] = number


def send_back(thing: Any) -> Any:
    return thing


def fill_numbers(numbers: Any, number: float) -> None:
    for index in range(len(numbers)):
        numbers[index] = number


def take_turns(lock: Any, path: str, times: int) -> None:
    for _ in range(times):
        with lock, open(path, "a", encoding="ascii") as file:
            file.write("(")
            file.flush()
            file.write(")")


class Gate:
    """What threads and forked children wait at without any of the things that are tested."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def open(self, count: int = 1) -> None:
        os.write(self._ends[1], b"." * count)

    def wait(self) -> None:
        import select

        ready, _, _ = select.select([self._ends[0]], [], [], PATIENCE)
        assert ready, "nobody has opened the gate"
        os.read(self._ends[0], 1)

    def __del__(self) -> None:
        for end in self._ends:
            os.close(end)


gate = Gate


def put_all(queue: Any, items: Any) -> None:
    for item in items:
        queue.put(item)
    queue.close()
