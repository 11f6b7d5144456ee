"""What the tasks of ``test_machine`` do; a worker that looks one up does not load pytest."""

from __future__ import annotations

import os
import signal
import time


def begin(path: str) -> None:
    with open(path, "a") as file:
        file.write("x")


def give(path: str, value: int) -> int:
    begin(path)
    return value


def refuse(path: str, value: int) -> int:
    begin(path)
    raise LookupError(value)


def leave(path: str, value: int) -> int:
    begin(path)
    if value % 2:
        os._exit(value % 5)
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def stay(path: str, value: int) -> int:
    begin(path)
    time.sleep(3600)
    return value
