"""Inputs that fill one object again and again: each task has what the loop would have given it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import parallel_map
from tests.properties.functions import examples

options = st.fixed_dictionaries(
    {},
    optional={
        "chunksize": st.integers(1, 30),
        "max_workers": st.integers(1, 4),
        "buffersize": st.integers(1, 10),
    },
)

WAYS: dict[str, dict[str, Any]] = {
    "by itself": {},
    "serial": {"backend": "serial"},
    "threads": {"backend": "threads"},
    "threads only": {"backend": "threads", "initializer": int},
    "workers": {"max_tasks_per_child": 100_000},
    "seeded": {"seed": 1},
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class Row:
    """A row as some database drivers give it: what it says is in a buffer of its cursor."""

    def __init__(self, buffer: list[int]) -> None:
        self.buffer = buffer

    def __getitem__(self, place: int) -> int:
        return self.buffer[place]


def one_list(count: int) -> Iterator[list[int]]:
    row: list[int] = []
    for n in range(count):
        row[:] = [n] * (n % 3 + 1)
        yield row


def one_dict(count: int) -> Iterator[dict[str, int]]:
    row: dict[str, int] = {}
    for n in range(count):
        row["n"] = n
        yield row


def one_buffer(count: int) -> Iterator[bytearray]:
    buffer = bytearray(4)
    for n in range(count):
        buffer[:] = n.to_bytes(4, "big")
        yield buffer


def views(count: int) -> Iterator[memoryview]:
    buffer = bytearray(8)
    for n in range(count):
        buffer[n % 3 : n % 3 + 4] = n.to_bytes(4, "big")
        yield memoryview(buffer)[n % 3 : n % 3 + 4]


def one_array(count: int) -> Iterator[Any]:
    array = np.zeros(3)
    for n in range(count):
        array[:] = n
        yield array


def views_of_an_array(count: int) -> Iterator[Any]:
    array = np.zeros(8)
    for n in range(count):
        array[n % 3 : n % 3 + 4] = n
        yield array[n % 3 : n % 3 + 4]


def two_lists(count: int) -> Iterator[list[int]]:
    lists: list[list[int]] = [[], []]
    for n in range(count):
        lists[n % 2][:] = [n]
        yield lists[n % 2]


def rows(count: int) -> Iterator[Row]:
    return map(Row, one_list(count))


def numbered(count: int) -> Iterator[tuple[int, list[int]]]:
    return enumerate(one_list(count))


def late_closures(count: int) -> Iterator[Callable[[], int]]:
    return (lambda: n for n in range(count))  # noqa: B023 - that is the point


def mapped(count: int) -> Iterator[list[int]]:
    row = [0]

    def fill(n: int) -> list[int]:
        row[0] = n
        return row

    return map(fill, range(count))


def fresh(count: int) -> Iterator[list[int]]:
    return ([n] for n in range(count))


def numbers(count: int) -> Iterator[Any]:
    return iter(range(count))


ALIKE = (
    one_list, one_dict, one_buffer, views, one_array, views_of_an_array, two_lists, rows, numbered, mapped, fresh, numbers,
)  # fmt: skip


def shown(item: Any, *more: Any) -> str:
    """What is in an item now."""
    if more:
        return f"{shown(item)} {shown(*more)}"
    if isinstance(item, Row):
        return f"row {item.buffer}"
    if isinstance(item, memoryview):
        return repr(bytes(item))
    if callable(item):
        return f"makes {item()}"
    return repr(item)


@ways
@examples(60)
@given(
    make=st.sampled_from([*ALIKE, late_closures]),
    count=st.integers(0, 60),
    options=options,
    method=st.sampled_from(["map", "imap", "imap_unordered"]),
)
def test_each_task_has_what_the_input_gave(
    way: dict[str, Any], make: Any, count: int, options: dict[str, Any], method: str
) -> None:
    expected = [shown(item) for item in make(count)]
    found = list(getattr(parallel_map(shown, **way, **options), method)(make(count)))
    assert sorted(found) == sorted(expected) if method == "imap_unordered" else found == expected


@ways
@examples(40)
@given(
    makes=st.lists(st.sampled_from(ALIKE), min_size=2, max_size=3), count=st.integers(0, 40), options=options
)
def test_several_such_inputs(
    way: dict[str, Any], makes: list[Any], count: int, options: dict[str, Any]
) -> None:
    """One beside the other, and as the arguments of ``starmap``."""
    ours = parallel_map(shown, **way, **options)
    expected = [shown(*items) for items in zip(*(make(count) for make in makes), strict=True)]
    assert ours.map(*(make(count) for make in makes)) == expected
    assert ours.starmap(zip(*(make(count) for make in makes), strict=True)) == expected


@ways
@examples(40)
@given(
    makes=st.lists(st.tuples(st.sampled_from(ALIKE), st.integers(0, 30)), min_size=2, max_size=3),
    options=options,
)
def test_one_such_input_after_the_other(
    way: dict[str, Any], makes: list[Any], options: dict[str, Any]
) -> None:
    """With threads it may be too late when it shows; then the call is refused."""
    expected = [shown(item) for item in chain.from_iterable(make(count) for make, count in makes)]
    ours = parallel_map(shown, **way, **options)
    refused = False
    try:
        found = ours.map(chain.from_iterable(make(count) for make, count in makes))
    except RuntimeError as error:
        refused = "one object again and again" in str(error)
    assert (refused and way.get("backend") == "threads") or found == expected
