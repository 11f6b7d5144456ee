"""What nothing can change, as far as types show: it is read ahead as it is."""

from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any

import pytest

from manyhands.transport.frozen import immutable


class Colour(enum.Enum):
    RED = 1


Pair = namedtuple("Pair", "x y")  # noqa: PYI024


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Slotted:
    x: Any
    y: Any = field(default=0, init=False)


@dataclass
class Open:
    x: int


class Heir(Point):
    """Not declared to be frozen itself."""


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (1, True),
        (("a", 1), True),
        (["a"], False),
        (("a", [1]), False),
        (Colour.RED, True),
        (Pair(1, "a"), True),
        (Pair(1, []), False),
        (Point(1, "a"), True),
        (Point((1, 2), Point(1)), True),
        (Point(1, []), False),
        (Slotted("a"), True),
        (Slotted([]), False),
        (Open(1), False),
        (Heir(1), False),
        (Point(Open(1)), False),
    ],
)
def test_types_tell_what_nothing_can_change(item: Any, expected: bool) -> None:
    assert immutable(item) is expected


def test_what_a_frozen_instance_has_beside_its_fields_counts() -> None:
    point = Point(1)
    object.__setattr__(point, "kept", [])
    assert not immutable(point)
