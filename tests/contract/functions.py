"""Functions of every kind, for the contract; workers find those of a module by its name."""

from __future__ import annotations

import functools
import operator
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from manyhands import parallel_map


class Kind(NamedTuple):
    """A callable of one argument, and items for it."""

    function: Callable[..., Any]
    items: list[Any]


def triple(x: int) -> int:
    return 3 * x


def with_default(x: int, factor: int = 5) -> int:
    return x * factor


def keyword_only(x: int, *, factor: int = 5) -> int:
    return x * factor


def many_arguments(*args: int, **keywords: int) -> tuple[tuple[int, ...], list[tuple[str, int]]]:
    return args, sorted(keywords.items())


def three(x: int, y: int, z: int = 0, *, plus: int = 0) -> tuple[int, int, int]:
    return x, y, z + plus


def recursive(n: int) -> int:
    return 1 if n < 2 else n * recursive(n - 1)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **keywords: Any) -> Any:
        return "logged", function(*args, **keywords)

    return inner


@logged
def wrapped(x: int) -> int:
    return -x


@functools.lru_cache
def cached(x: int) -> int:
    return x + 1


def closure(base: int) -> Callable[[int], int]:
    offset = base * 10

    def add(x: int, more: int = base) -> int:
        return x + offset + more

    return add


def two_deep(x: int) -> Callable[[int], Callable[[int], int]]:
    def outer(y: int) -> Callable[[int], int]:
        def inner(z: int) -> int:
            return x * 100 + y * 10 + z

        return inner

    return outer


class Scale:
    """A class with methods of each kind, decorated in both orders, and callable itself."""

    unit = 2

    def __init__(self, by: int) -> None:
        self.by = by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and other.by == self.by

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, x: int) -> int:
        return x * self.by

    def plain(self, x: int) -> int:
        return x * self.by * self.unit

    @parallel_map
    def method(self, x: int, *, plus: int = 0) -> int:
        return x * self.by + plus

    @parallel_map
    @staticmethod
    def static_inside(x: int) -> int:
        return x * 7

    @staticmethod
    @parallel_map
    def static_outside(x: int) -> int:
        return x * 8

    @parallel_map
    @classmethod
    def class_inside(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x * cls.unit

    @classmethod
    def plain_class_method(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x * cls.unit


class Special(Scale):
    unit = 3


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by: int) -> None:
        self.by = by

    @parallel_map
    def method(self, x: int) -> int:
        return x * self.by


class Point(NamedTuple):
    x: int
    y: int = 0


NUMBERS = list(range(12))

KINDS: dict[str, Kind] = {
    "function": Kind(triple, NUMBERS),
    "function with a default": Kind(with_default, NUMBERS),
    "function with any arguments": Kind(many_arguments, NUMBERS),
    "recursive function": Kind(recursive, NUMBERS),
    "wrapped function": Kind(wrapped, NUMBERS),
    "cached function": Kind(cached, NUMBERS),
    "lambda": Kind(lambda x: x + 1, NUMBERS),
    "lambda with a default": Kind(lambda x, y=4: x + y, NUMBERS),
    "closure": Kind(closure(3), NUMBERS),
    "closure of a closure": Kind(two_deep(1)(2), NUMBERS),
    "partial": Kind(functools.partial(with_default, factor=9), NUMBERS),
    "partial of a lambda": Kind(functools.partial(lambda x, y: x - y, 100), NUMBERS),
    "partial of a partial": Kind(functools.partial(functools.partial(three, 1), 2), NUMBERS),
    "bound method": Kind(Scale(3).plain, NUMBERS),
    "bound class method": Kind(Special.plain_class_method, NUMBERS),
    "method of a builtin": Kind("abcdefghijkl".__getitem__, NUMBERS),
    "callable object": Kind(Scale(4), NUMBERS),
    "class": Kind(Scale, NUMBERS),
    "named tuple": Kind(Point, NUMBERS),
    "builtin": Kind(abs, [-x for x in NUMBERS]),
    "builtin type": Kind(str, NUMBERS),
    "operator": Kind(operator.itemgetter(1), [(x, -x) for x in NUMBERS]),
    "decorated method": Kind(Scale(3).method, NUMBERS),
    "decorated method of a class with slots": Kind(Slotted(3).method, NUMBERS),
    "decorated static method, of the class": Kind(Scale.static_inside, NUMBERS),
    "decorated static method, of an object": Kind(Scale(1).static_inside, NUMBERS),
    "static decorated method, of the class": Kind(Scale.static_outside, NUMBERS),
    "static decorated method, of an object": Kind(Scale(1).static_outside, NUMBERS),
    "decorated class method": Kind(Special.class_inside, NUMBERS),
    "decorated class method, of an object": Kind(Special(1).class_inside, NUMBERS),
}

# what tasks do


def slowly(x: int) -> int:
    """Take long enough to be worth a worker."""
    time.sleep(0.002)
    return x * x


def where(_: object) -> tuple[int, int]:
    """Tell process and thread."""
    return os.getpid(), threading.get_ident()


def dear_from(x: int, first: int, bad: int | None = None) -> int:
    """Next to nothing, and from some item on much; fail for one of them. Tells the process."""
    if x >= first:
        time.sleep(0.005)
    if x == bad:
        raise KeyError(x)
    return os.getpid()


def fail_at(x: int, bad: tuple[int, ...] = ()) -> int:
    """Fail for some items, the sooner the later in the input."""
    if x in bad:
        if x == min(bad):
            time.sleep(0.03)
        raise KeyError(x, "bad item")
    return x


def note_down(x: int, path: str) -> int:
    """Append a line to a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{x}\n".encode())
    os.close(descriptor)
    return x


def nothing_of(_: object) -> None:
    """A task that does nothing."""


def nothing() -> None:
    """An initializer; with one, no task runs in the caller."""


state: dict[Any, Any] = {}


def prepare(key: str, value: Any) -> None:
    """An initializer that leaves something, and counts how often it was run here."""
    state[key] = value
    times = os.getpid(), threading.get_ident()
    state[times] = state.get(times, 0) + 1


def prepared(key: str) -> tuple[Any, int]:
    return state[key], state[os.getpid(), threading.get_ident()]


def refuse_to_start() -> None:
    """An initializer that fails."""
    raise LookupError("no model")


# decorated: workers find the decorated function under the function's name


@parallel_map(max_workers=2)
def decorated(x: int, *, plus: int = 0) -> int:
    return x * x + plus


@parallel_map(max_workers=2)
def inner(x: int) -> tuple[int, int, int]:
    return (x, *where(x))


def outer(n: int) -> tuple[tuple[int, int], list[tuple[int, int, int]]]:
    """Call ``map`` inside a task."""
    return where(n), inner.map(range(n))


def outermost(n: int) -> list[Any]:
    return parallel_map(outer, max_workers=2).map([n, n])


def outer_submits(n: int) -> tuple[tuple[int, int], tuple[int, int, int]]:
    return where(n), inner.submit(n).result()


@parallel_map(max_workers=2, backend="threads")
def inner_in_threads(x: int) -> int:
    time.sleep(0.001)
    return x + 1


@parallel_map(max_workers=2, backend="threads")
def outer_in_threads(n: int) -> list[int]:
    return inner_in_threads.map(range(n))
