"""Functions with shared caches, which workers find by name; each notes in a file what it computes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from manyhands import shared_cache


def note(path: str, *what: Any) -> None:
    with open(path, "a") as file:
        file.write(f"{what!r}\n")


def noted(path: str) -> Counter[str]:
    return Counter(Path(path).read_text().split("\n")[:-1]) if os.path.exists(path) else Counter()


@shared_cache(maxsize=None)
def doubled(path: str, x: int) -> list[int]:
    note(path, x)
    return [2 * x]


@shared_cache(maxsize=4)
def few(path: str, x: int) -> list[int]:
    note(path, x)
    return [2 * x]


@shared_cache(maxsize=None)
def slow(path: str, gate: str, x: int) -> int:
    """Compute when somebody opens the gate, unless this is the first to try: that one dies."""
    note(path, x)
    if x < 0 and noted(path).total() == 1:
        os._exit(1)
    Path(gate).read_text()
    return x


@shared_cache(maxsize=None)
def factorial(n: int) -> int:
    return n * factorial(n - 1) if n else 1


@shared_cache
def refuses(path: str, x: int) -> int:
    note(path, x)
    raise LookupError(x)


@shared_cache(maxsize=None)
def stays(path: str, x: int) -> Any:
    note(path, x)
    return (lambda: x) if x < 0 else open(os.devnull)


@shared_cache(maxsize=0)
def never(path: str, x: int) -> int:
    note(path, x)
    return x


@shared_cache(maxsize=8, typed=True)
def named(*args: Any, **kwargs: Any) -> Any:
    return args, list(kwargs.items())


class Scaled:
    def __init__(self, by: int) -> None:
        self.by = by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaled) and other.by == self.by

    def __hash__(self) -> int:
        return hash(self.by)

    @shared_cache(maxsize=None)
    def times(self, path: str, x: int) -> int:
        note(path, self.by, x)
        return self.by * x


def use_doubled(path: str, x: int) -> tuple[int, int]:
    return doubled(path, x)[0], os.getpid()


def use_few(path: str, x: int) -> int:
    return few(path, x)[0]


def use_slow(path: str, gate: str, x: int) -> int:
    return slow(path, gate, x)


def use_factorial(n: int) -> int:
    return factorial(n)


def use_stays(path: str, x: int) -> bool:
    return stays(path, x) is stays(path, x)


def use_times(scaled: Scaled, path: str, x: int) -> int:
    return scaled.times(path, x)


def clear_doubled() -> None:
    doubled.cache_clear()


@shared_cache(maxsize=20)
def bounded(x: int) -> tuple[int, str]:
    return x, "v" * (x % 7) * 1000


@shared_cache(maxsize=None)
def deadly(path: str, x: int) -> int:
    """Die in the middle, the first time for each."""
    if not os.path.exists(f"{path}.{x}"):
        note(f"{path}.{x}")
        if x % 5 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return x


def use_all(path: str, x: int) -> tuple[int, int, int]:
    if x % 97 == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return bounded(x % 37)[0], deadly(path, x % 50), factorial(x % 20)
