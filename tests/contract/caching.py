"""Cached functions for ``test_caching``, which note what they compute; a worker that looks one up does not load pytest."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manyhands import accumulator, parallel_map, shared_state, value
from manyhands.shared import Value


def note(path: str, *what: Any) -> None:
    with open(path, "a") as file:
        file.write(f"{what!r}\n")


def noted(path: str) -> Counter[str]:
    return Counter(Path(path).read_text().split("\n")[:-1]) if os.path.exists(path) else Counter()


#: Where the functions of this module note what they compute; workers get it as data of the module.
PATH = ""


@functools.lru_cache
def by_name(x: int) -> int:
    note(PATH, x)
    return 3 * x


@parallel_map(max_workers=2, max_tasks_per_child=1000)
@functools.cache
def decorated(x: int) -> int:
    note(PATH, x)
    return 3 * x


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


@passed_on
@functools.lru_cache(maxsize=7, typed=True)
def under_another(x: int) -> int:
    return 3 * x


@functools.lru_cache(maxsize=7, typed=True)
@passed_on
def over_another(x: int) -> int:
    return 3 * x


@parallel_map(max_workers=2, max_tasks_per_child=1000)
@functools.cache
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@parallel_map(max_workers=1, max_tasks_per_child=1000)
@functools.cache
def countdown(path: str, n: int) -> int:
    note(path, n)
    return countdown(path, n - 1) + 1 if n else 0


@parallel_map(max_workers=1, max_tasks_per_child=1000)
@passed_on
@functools.cache
def countdown_under_another(path: str, n: int) -> int:
    note(path, n)
    return countdown_under_another(path, n - 1) + 1 if n else 0


class Methods:
    def __init__(self, by: int) -> None:
        self.by = by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Methods) and other.by == self.by

    def __hash__(self) -> int:
        return hash(self.by)

    @parallel_map(max_workers=2, max_tasks_per_child=1000)
    @functools.lru_cache  # noqa: B019 - what it keeps alive is not the question here
    def method(self, path: str, x: int) -> int:
        note(path, self.by, x)
        return self.by * x

    @parallel_map(max_workers=2, max_tasks_per_child=1000)
    @staticmethod
    @functools.lru_cache
    def static(path: str, x: int) -> int:
        note(path, x)
        return 2 * x

    @parallel_map(max_workers=2, max_tasks_per_child=1000)
    @classmethod
    @functools.lru_cache
    def of_class(cls, path: str, x: int) -> str:
        note(path, x)
        return cls.__name__ * x

    @functools.lru_cache  # noqa: B019
    def undecorated(self, path: str, x: int) -> int:
        note(path, self.by, x)
        return self.by * x


@functools.cache
def helper(x: int) -> int:
    return 3 * x


def calls_helper(x: int) -> int:
    return 1 + helper(x % 7)


@shared_state
class Totals:
    whole: int = accumulator(int)
    items: list[int] = accumulator(list)


@shared_state
class Board:
    whole: Value[int] = value(int, 0)


@parallel_map(max_workers=2, max_tasks_per_child=1000)
@shared_state(board=Board)
@functools.lru_cache
def adds(x: int, *, board: Board) -> int:
    with board.whole.lock:
        board.whole.value += x
    return 3 * x


def add(x: int, totals: Totals) -> int:
    totals.whole += x
    totals.items.append(x)
    if x < 0:
        raise LookupError(x)
    return x


class ByValue:
    """Has a key that changes with what it holds."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByValue) and self.value == other.value


class ByIdentity:
    """Has the same key whatever it holds."""

    def __init__(self, value: int) -> None:
        self.value = value


def refilled(kind: Any, count: int) -> Iterator[Any]:
    """Yield one object again and again, each time with something else in it."""
    item = kind(0)
    for n in range(count):
        item.value = n % 10
        yield item


def value_of(item: Any) -> int:
    found: int = item.value
    return found
