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


@shared_cache(maxsize=None)
def slow(path: str, gate: str, x: int) -> int:
    """Compute when somebody opens the gate, unless this is the first to try: that one dies."""
    note(path, x)
    if x < 0 and noted(path).total() == 1:
        os._exit(1)
    Path(gate).read_text()
    return x


#: Changed by a test.
SCALE = 1


@shared_cache(maxsize=None)
def scaled(x: int) -> int:
    return SCALE * x


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


def use_slow(path: str, gate: str, x: int) -> int:
    return slow(path, gate, x)


def use_scaled(x: int) -> int:
    return scaled(x)


def use_factorial(n: int) -> int:
    return factorial(n)


def use_stays(path: str, x: int) -> bool:
    return stays(path, x) is stays(path, x)


def use_times(scaled: Scaled, path: str, x: int) -> int:
    return scaled.times(path, x)


def clear_doubled() -> None:
    doubled.cache_clear()


class Text(str):
    """A text like any other, of another type."""

    __slots__ = ()


class Whole(int):
    """A number like any other, of another type."""


class Word:
    """Words that differ in case are equal. Their hash is another one in each process, as that of texts is."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Word) and other.word.lower() == self.word.lower()

    def __hash__(self) -> int:
        return hash(self.word.lower())

    def __repr__(self) -> str:
        return f"Word({self.word!r})"


class Failing:
    """An argument that cannot be computed with."""

    def __repr__(self) -> str:
        raise LookupError


class Killer:
    """An argument that kills the process that computes with it, as long as there is a file.

    Args:
        path: the file.
        number: those with different numbers are different.
    """

    def __init__(self, path: str, number: int) -> None:
        self.path = path
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Killer) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)

    def __repr__(self) -> str:
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return f"Killer({self.number})"
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def types_of(value: Any) -> Any:
    """A value with all its types, in a form in which different ones are different."""
    if isinstance(value, (tuple, frozenset)):
        parts = map(types_of, value)
        return tuple(parts) if type(value) is tuple else sorted(parts, key=repr)
    return f"{type(value).__name__} {value!r}"


def tell(*args: Any, **kwargs: Any) -> Any:
    return types_of(args), [(name, types_of(value)) for name, value in kwargs.items()]


#: By maxsize and typed.
TELLING = {
    (maxsize, typed): shared_cache(tell, maxsize=maxsize, typed=typed)
    for maxsize in (None, 0, 1, 2, 4)
    for typed in (False, True)
}


def use_telling(maxsize: int | None, typed: bool, args: Any, kwargs: Any) -> Any:
    """Call one of these; what cannot be hashed is told in words."""
    try:
        return TELLING[maxsize, typed](*args, **kwargs)
    except TypeError as error:
        return str(error)


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
