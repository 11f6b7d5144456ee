"""Classes that live in no module; apart from their tests, so that a worker does not load pytest."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from enum import Enum
from typing import Any


def classes() -> dict[str, Any]:
    """Classes that live in no module, and an instance of each."""

    class Plain:
        def __init__(self, value: int) -> None:
            self.value = value

        def __eq__(self, other: object) -> bool:
            return type(other) is type(self) and vars(other) == vars(self)

        def __hash__(self) -> int:
            return hash(self.value)

    class Derived(Plain):
        pass

    @dataclass
    class Data:
        x: int
        inner: Plain

    @dataclass(slots=True)
    class Slots:
        x: int
        y: str = "why"

    class Private:
        __slots__ = ("__weakref__", "__x")

        def __init__(self, x: int) -> None:
            self.__x = x

        def __eq__(self, other: object) -> bool:
            return type(other) is type(self) and other.__x == self.__x

        def __hash__(self) -> int:
            return self.__x

    class Color(Enum):
        RED = "red"

    class Table(dict[str, int]):
        pass

    named = namedtuple("named", "a b")  # noqa: PYI024 - the untyped kind
    return {
        "plain": Plain(1),
        "derived": Derived(2),
        "dataclass": Data(3, Plain(4)),
        "slots": Slots(5),
        "private slots": Private(6),
        "member of an enum": Color.RED,
        "subclass of dict": Table(one=1),
        "named tuple": named(1, 2),
        "the class itself": Plain,
        "in containers": {"one": [Plain(1), Derived(1)], "two": (Slots(2),)},
    }
