"""Single tasks and what is around them, for ``test_tasks``; a worker that looks one up does not load pytest."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from manyhands import process_task

PID = os.getpid()


class Sized:
    """Something with methods."""

    def __init__(self, size: int) -> None:
        self.size = size

    @process_task
    def larger(self, by: int) -> tuple[int, bool]:
        return self.size + by, os.getpid() != PID

    @process_task
    @staticmethod
    def twice(number: int) -> int:
        return 2 * number

    @process_task
    @classmethod
    def make(cls, size: int) -> int:
        return cls(size).size


@process_task
def where(*args: Any, **kwargs: Any) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
    """Say where it ran."""
    return os.getpid(), args, kwargs


def nested() -> tuple[int, int]:
    return os.getpid(), where()[0]


def nested_limit() -> str:
    try:
        process_task(time.sleep, timeout=0.2)(3600)
    except Exception as error:
        return type(error).__name__
    return "nothing"


def fail_twice(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
        calls = file.tell()
    if calls == 1:
        raise ConnectionError
    if calls == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls


def raise_stop(_: object) -> None:
    raise StopIteration("over")
