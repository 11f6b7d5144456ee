"""The functions that ``test_guests`` sends to workers: they print, log, warn and draw random numbers.

Apart from the tests, so that a worker that looks one up does not load pytest.
"""

from __future__ import annotations

import decimal
import logging
import os
import random
import sys
import threading
import warnings
from contextvars import ContextVar
from typing import Any

user: ContextVar[str] = ContextVar("user", default="nobody")
log = logging.getLogger("tests.guests")


def say(number: int) -> int:
    print("item", number)
    print("error", number, file=sys.stderr)
    return number


def chatter(number: int, lines: int = 3000) -> int:
    for line in range(lines):
        print(f"<{number}.{line}>")
    return number


def say_and_die(number: int) -> int:
    for line in range(500):
        print("line", line)
    print("finished before the end", number)
    os._exit(3)


def say_from_threads(number: int) -> int:
    threads = [threading.Thread(target=chatter, args=(each, 200)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number


def say_oddly(_: int) -> None:
    sys.stdout.write("no end of line")
    sys.stdout.flush()
    sys.stdout.write(", \N{EURO SIGN} \ud800 ")
    sys.stdout.buffer.write(b"\xff\n")
    print("two\nlines")


def say_in_a_child(_: int) -> int:
    child = os.fork()
    if not child:
        print("from the child", flush=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def note(number: int) -> int:
    log.debug("debug %d", number)
    log.info("info %d", number, extra={"odd": lambda: None, "item": [number]})
    return number


def note_failure(number: int) -> None:
    try:
        _ = 1 / number
    except ZeroDivisionError:
        log.exception("it failed")


def note_badly(_: int) -> None:
    log.warning("one %d two %d", 1)  # noqa: PLE1206 - that it is wrong is the point


def warn(number: int) -> int:
    warnings.warn("careful", stacklevel=1)
    return number


def deprecated(_: int) -> None:
    warnings.warn("old", DeprecationWarning, stacklevel=1)


class TwoArgumentsWarning(UserWarning):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def warn_oddly(_: int) -> None:
    warnings.warn(TwoArgumentsWarning("this", "that"), stacklevel=1)


def draw(_: Any = None) -> tuple[float, int]:
    return random.random(), random.randrange(10**9)


def draw_from_numpy(_: Any = None) -> float:
    import numpy as np

    return float(np.random.random())  # noqa: NPY002 - the global generator is what a seed is for


def fail_first(path: str) -> tuple[float, int]:
    """Fail where the file is not there yet, and make it."""
    drawn = draw()
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return drawn
    raise ValueError("not yet")


def who(name: str) -> str:
    before = user.get()
    user.set(name)
    return before


def third(_: Any) -> str:
    return str(decimal.Decimal(1) / 3)


def threads(_: Any) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def limited(_: Any) -> str | None:
    return os.environ.get("LIMITED")


def limit(threads: int) -> None:
    """In the place of ``threadpoolctl.threadpool_limits``."""
    os.environ["LIMITED"] = str(threads)
