"""Tasks that stream, and such as run by themselves; a worker that looks one up does not load pytest."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

from manyhands import process_task
from tests.pool import tasks


@process_task
def up_to(number: int) -> Iterator[int]:
    yield from range(number)


@process_task
def doubled(items: Iterable[int]) -> Iterator[int]:
    for item in items:
        yield 2 * item


@process_task
def total(items: Iterable[int]) -> int:
    return sum(items)


@process_task
def endless(path: str) -> Iterator[int]:
    """Writes how many items it has made; says goodbye when it is closed."""
    try:
        for number in itertools.count():
            with open(path, "a") as file:
                file.write("x")
            yield number
    finally:
        with open(path + ".closed", "w") as file:
            file.write("closed")


@process_task
def large(count: int, size: int) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number]) * size


def lengths(items: Iterable[bytes]) -> list[int]:
    return [len(item) for item in items]


@process_task
def failing() -> Iterator[int]:
    yield 1
    raise LookupError("enough")


@process_task
def obedient(*, stop: Any) -> str:
    """Waits to be stopped."""
    stop.wait()
    return "in good order"


def stubborn(path: str, *, terminate: bool) -> None:
    """Does not want to end."""
    if not terminate:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tasks.report(path, "ready")
    time.sleep(3600)
