"""A function whose helpers have caches, for workers to find by name; who computes leaves a mark in a file."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

#: Workers get it as data of the module.
PATH = ""


def mark() -> None:
    with open(PATH, "a") as file:
        file.write("x")


def marks() -> int:
    """Return how many there are, and begin anew."""
    count = os.path.getsize(PATH) if os.path.exists(PATH) else 0
    if count:
        os.remove(PATH)
    return count


@functools.lru_cache(maxsize=100)
def bounded(x: int, *, plus: int = 0) -> int:
    mark()
    return x + plus


@functools.lru_cache(maxsize=None, typed=True)
def unbounded(x: int) -> list[int]:
    mark()
    return [x]


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (5,)


@functools.cache
def deadly(x: int) -> Any:
    mark()
    return Deadly()


class Unpicklable:
    """Stays where it is."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


@functools.cache
def stays(x: int) -> Any:
    mark()
    return Unpicklable()


class Doubles:
    """Has no name of its own."""

    def __call__(self, x: int) -> int:
        return 2 * x


nameless = functools.lru_cache(Doubles())
partly = functools.lru_cache(functools.partial(pow, 2))


def ask_the_nameless(x: int) -> int:
    return nameless(x) + partly(x)


def ask(x: int) -> tuple[int, int]:
    """Use three entries for each key, and return the sum of them and this process."""
    return bounded(x) + bounded(x, plus=1) + unbounded(x)[0], os.getpid()


def asks(xs: list[int]) -> Iterator[int]:
    """Use one entry for each key, and yield what it is."""
    for x in xs:
        yield bounded(x)


def ask_for_what_stays(x: int) -> tuple[int, int]:
    return bounded(x) + (stays(x) is None), os.getpid()


def ask_for_what_is_deadly(x: int) -> tuple[int, int]:
    return bounded(x) + (deadly(x) is None), os.getpid()


def loaded(name: str) -> bool:
    """Tell whether a module is loaded here."""
    return name in sys.modules


def figures(_: Any = None) -> tuple[Any, Any, int]:
    """Use the caches not at all, and return their figures."""
    return bounded.cache_info(), unbounded.cache_info(), os.getpid()


def ask_and_tell(x: int) -> Any:
    """Use the caches if ``x`` is a key, and return their figures."""
    if x >= 0:
        ask(x)
    return figures()
