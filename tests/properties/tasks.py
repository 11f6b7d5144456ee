"""What random functions compute and how they fail; a worker that looks one up does not load hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple


class BoomError(Exception):
    """An exception with a constructor and attributes of its own."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class AwkwardError(ValueError):
    """Its arguments do not fit its constructor."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} and {two}")
        self.pair = (one, two)


class EndError(BaseException):
    """Not an Exception."""


class Failure(NamedTuple):
    """How to make an exception; not all exceptions can be unpickled, and those that a task raises need not be."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    keywords: dict[str, Any]

    def make(self) -> BaseException:
        return self.kind(*self.args, **self.keywords)


class Function:
    """A function of one item, or of several, that fails for some of them.

    Args:
        compute: what it gives otherwise.
        failures: how it fails for an item, by the item's repr.
    """

    def __init__(self, compute: Callable[..., Any], failures: dict[str, Failure]) -> None:
        self.compute = compute
        self.failures = failures

    def __repr__(self) -> str:
        return f"Function({self.compute!r}, {self.failures!r})"

    def run(self, *items: Any, **constants: Any) -> Any:
        failure = self.failures.get(repr(items))
        if failure is not None:
            raise failure.make()
        return self.compute(*items, **constants)

    __call__ = run


def same(*items: Any) -> Any:
    return items[0]


def pair(*items: Any) -> Any:
    return (*items, len(items))


def shown(*items: Any) -> str:
    return repr(items)


def nested(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "kinds": [type(item).__name__ for item in items]}


def nothing(*items: Any) -> None:
    return None


def closed_over(value: Any) -> Callable[..., Any]:
    def closure(*items: Any, again: int = 2) -> Any:
        return [value] * again, items

    return closure


def with_first(first: Any, *items: Any) -> Any:
    return first, items


def shapes(function: Function) -> dict[str, Callable[..., Any]]:
    """The same function in several forms."""

    class Holder:
        def method(self, *items: Any) -> Any:
            return function(*items)

        @staticmethod
        def static(*items: Any) -> Any:
            return function(*items)

    return {
        "callable object": function,
        "bound method": function.run,
        "lambda": lambda *items: (function, function.run(*items))[1],
        "method of a local class": Holder().method,
        "static method of a local class": Holder.static,
        "partial": partial(Function.run, function),
    }
