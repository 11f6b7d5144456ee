"""The first promise: whatever the function and the items, the answer is the one of the loop.

Once as calls are by themselves, mostly here, and once with every task in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import parallel_map
from tests.properties.functions import Outcome, examples, function_and_items

Items = list[tuple[Any, ...]]


def kinds(*arguments: Any) -> tuple[type, ...]:
    """A key that whatever arguments there are have."""
    return tuple(map(type, arguments))


options = st.fixed_dictionaries(
    {},
    optional={
        "chunksize": st.integers(1, 30),
        "max_workers": st.integers(1, 4),
        "buffersize": st.integers(1, 10),
        "affinity": st.just(kinds),
    },
)

WAYS: dict[str, dict[str, Any]] = {
    "by itself": {},
    "serial": {"backend": "serial"},
    "threads": {"backend": "threads", "initializer": int},
    "workers": {"max_tasks_per_child": 100_000},
}


ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def source(items: list[Any], dry: bool) -> Iterator[Any]:
    """An input without a length, that may end with an exception."""
    yield from items
    if dry:
        raise LookupError("the source is dry")


def loop(function: Callable[..., Any], items: Items) -> Iterator[Any]:
    for item in items:
        yield function(*item)


@ways
@examples(60)
@given(case=function_and_items(), options=options, lazily=st.booleans())
def test_map(
    way: dict[str, Any], case: tuple[Callable[..., Any], Items], options: dict[str, Any], lazily: bool
) -> None:
    function, items = case
    ours = parallel_map(function, **way, **options)
    expected = Outcome.of(lambda: [function(*item) for item in items])
    firsts = [first for (first,) in items]
    assert Outcome.of(lambda: ours.map(source(firsts, False) if lazily else firsts)) == expected


@ways
@examples(60)
@given(case=function_and_items(arguments=2), options=options)
def test_map_of_several_iterables_and_starmap(
    way: dict[str, Any], case: tuple[Callable[..., Any], Items], options: dict[str, Any]
) -> None:
    function, items = case
    ours = parallel_map(function, **way, **options)
    expected = Outcome.of(lambda: [function(*item) for item in items])
    assert Outcome.of(lambda: ours.starmap(items)) == expected
    firsts, seconds = [first for first, _ in items], iter([second for _, second in items])
    assert Outcome.of(lambda: ours.map(firsts, seconds)) == expected


@ways
@examples(60)
@given(case=function_and_items(), options=options, dry=st.booleans())
def test_imap(
    way: dict[str, Any], case: tuple[Callable[..., Any], Items], options: dict[str, Any], dry: bool
) -> None:
    """The results before a failure are there too, and those before the end of an input that fails."""
    function, items = case
    ours = parallel_map(function, **way, **options)
    expected = Outcome.of(lambda: loop(function, source(items, dry)))  # type: ignore[arg-type]
    assert Outcome.of(lambda: ours.imap(source([first for (first,) in items], dry))) == expected


@ways
@examples(60)
@given(case=function_and_items(), options=options)
def test_imap_unordered(
    way: dict[str, Any], case: tuple[Callable[..., Any], Items], options: dict[str, Any]
) -> None:
    function, items = case
    ours = parallel_map(function, **way, **options)
    expected = Outcome.of(lambda: loop(function, items), unordered=True)
    found = Outcome.of(lambda: ours.imap_unordered([first for (first,) in items]), unordered=True)
    if not expected.error:
        assert found == expected
    else:  # that of any failing item
        failures = {Outcome.of(lambda item=item: [function(*item)]).error for item in items} - {""}
        assert found.error in failures


@ways
@examples(15)
@given(case=function_and_items(), options=options)
def test_submit(way: dict[str, Any], case: tuple[Callable[..., Any], Items], options: dict[str, Any]) -> None:
    function, items = case
    ours = parallel_map(function, **way, **options)
    futures = [ours.submit(*item) for item in items]
    found = [Outcome.of(lambda future=future: [future.result(60)]) for future in futures]
    assert found == [Outcome.of(lambda item=item: [function(*item)]) for item in items]


@examples(25)
@given(
    costs=st.lists(st.sampled_from([0, 0, 0, 20, 200, 2_000]), max_size=60),
    options=options,
    lazy=st.booleans(),
)
def test_tasks_of_uneven_cost_between_here_and_there(
    costs: list[int], options: dict[str, Any], lazy: bool
) -> None:
    """Tasks that spin for a while have the planner move between the caller and the workers; order does not suffer."""

    def spin(item: tuple[int, int]) -> int:
        index, rounds = item
        total = 0
        for n in range(rounds * 50):
            total += n
        return index

    ours = parallel_map(spin, **options)
    items = list(enumerate(costs))
    found = list(ours.imap(iter(items))) if lazy else ours.map(items)
    assert found == list(range(len(costs)))
