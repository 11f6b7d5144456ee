"""Inputs that change what they have given: whatever is remembered of an item is what it was when it was yielded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest

from manyhands import parallel_map, shared_state
from manyhands.scheduling.batch import Drawn
from manyhands.scheduling.source import Source
from manyhands.transport.frozen import Frozen
from tests.contract.conftest import Way
from tests.contract.totals import Totals


def refilled(stop: int) -> Iterator[list[int]]:
    row = [0]
    for n in range(stop):
        row[0] = n
        yield row


def first(row: list[int]) -> int:
    return row[0]


def no_threes(row: list[int]) -> int:
    if row[0] % 3 == 0:
        raise ValueError(row[0])
    return row[0]


def test_the_items_of_failures(way: Way) -> None:
    found = way(no_threes, on_error="collect").map(refilled(20))
    assert [failure.item for failure in found.errors] == [[n] for n in range(0, 20, 3)]
    assert [str(failure.exception) for failure in found.errors] == [str(n) for n in range(0, 20, 3)]
    assert found.values == [n for n in range(20) if n % 3]


def test_the_first_failure_and_its_note(way: Way) -> None:
    with pytest.raises(ValueError, match="5") as raised:
        way(fails_at_five).map(refilled(20))
    assert "item 5: fails_at_five([5])" in raised.value.__notes__[0]


def fails_at_five(row: list[int]) -> int:
    if row[0] == 5:
        raise ValueError(5)
    return row[0]


def test_a_task_that_is_tried_again_has_its_item(way: Way) -> None:
    """The input has been read on by then."""
    found = way(no_threes, on_error="collect", retries=1).map(refilled(20))
    assert [(failure.item, failure.attempts) for failure in found.errors] == [
        ([n], 2) for n in range(0, 20, 3)
    ]


def test_what_a_checkpoint_compares(way: Way, tmp_path: Path) -> None:
    ours = way(first, checkpoint=tmp_path / "done")
    assert ours.map(refilled(20)) == list(range(20))
    assert ours.map(refilled(25)) == list(range(25))


class Itself:
    """Equal to itself alone."""

    def __init__(self) -> None:
        self.n = 0


def keys(stop: int) -> Iterator[Itself]:
    key = Itself()
    for n in range(stop):
        key.n = n % 7
        yield key


def test_the_answers_of_a_cache(way: Way) -> None:
    """To a cache, an object that is equal to itself alone is the same whatever it holds."""

    def function(key: Any) -> int:
        return int(key.n)

    plain = lru_cache(maxsize=None)(function)
    ours = way(lru_cache(maxsize=None)(function))
    assert ours.map(keys(30)) == [plain(key) for key in keys(30)]
    assert ours.cache_info()[:2] == plain.cache_info()[:2]


def test_what_is_added_to_accumulators(way: Way) -> None:
    @shared_state(totals=Totals)
    def add(row: list[int], *, totals: Any) -> None:
        totals.whole += row[0]

    ours = way(add)
    ours.map(refilled(50))
    assert ours.state.totals.whole == sum(range(50))


def test_an_input_that_fails_ends_the_call_after_the_tasks_before(way: Way) -> None:
    def failing() -> Iterator[list[int]]:
        yield from refilled(300)
        raise LookupError("dry")

    with pytest.raises(LookupError, match="dry"):
        way(first).map(failing())
    found = way(first).imap(failing())
    assert [next(found) for _ in range(300)] == list(range(300))
    with pytest.raises(LookupError, match="dry"):
        next(found)


def test_here_nothing_is_read_before_the_task_before_has_ended() -> None:
    events: list[str] = []

    def numbers() -> Iterator[int]:
        for n in range(500):
            events.append(f"read {n}")
            yield n

    def note(n: int) -> None:
        events.append(f"ran {n}")

    parallel_map(note, backend="serial").map(numbers())
    assert events == [f"{what} {n}" for n in range(500) for what in ("read", "ran")]


def test_groups_that_end_when_the_next_begins() -> None:
    def total(group: Any) -> int:
        return sum(1 for _ in group)

    groups = [group for _, group in groupby("aabbbc")]
    assert [total(group) for group in groups] == [0, 0, 0]
    found = parallel_map(total, backend="serial").map(group for _, group in groupby("aabbbc"))
    assert found == [2, 3, 1]


def test_an_object_that_the_input_leaves_alone_is_the_one_that_a_task_here_changes() -> None:
    seen: dict[int, int] = {}
    found = parallel_map(lambda n, seen: seen.setdefault(n, len(seen))).map(
        (n for n in range(40)), (seen for _ in range(40))
    )
    assert found == list(range(40))
    assert len(seen) == 40


def test_threads_change_the_objects_that_the_input_leaves_alone() -> None:
    lists: list[list[int]] = [[] for _ in range(40)]
    ours = parallel_map(lambda each: each.append(1), backend="threads", initializer=int)
    ours.map(each for each in lists)
    assert lists == [[1]] * 40


def test_an_input_that_begins_to_change_objects_while_threads_have_them_is_refused() -> None:
    def late() -> Iterator[list[int]]:
        yield from ([n] for n in range(10))
        yield from refilled(10)

    ours = parallel_map(first, backend="threads", initializer=int, chunksize=5)
    with pytest.raises(RuntimeError, match="Let it yield a new object"):
        ours.map(late())


class TestDrawn:
    """Which of the two has raised, and what has been read."""

    def test_a_task_has_raised(self) -> None:
        for quickest in (True, False):
            batch = Drawn(iter([3, 2, 0, 1]), 10, 0.0, timed=not quickest)
            with pytest.raises(ZeroDivisionError):
                batch.run_quickest(lambda n: 1 / n) if quickest else batch.run(lambda n: 1 / n, 1.0)
            assert (batch.begun(), batch.done(), batch.item(), batch.input_raised()) == (3, 2, 0, False)

    def test_the_input_has_raised(self) -> None:
        for quickest in (True, False):
            batch = Drawn((1 / n for n in (3, 2, 0, 1)), 10, 0.0, timed=not quickest)
            with pytest.raises(ZeroDivisionError):
                batch.run_quickest(abs) if quickest else batch.run(abs, None)
            assert (batch.begun(), batch.done(), batch.input_raised()) == (2, 2, True)

    def test_it_ends_after_the_task_in_which_it_is_stopped(self) -> None:
        numbers = count()
        batch = Drawn(numbers, 10, 0.0, timed=False)
        batch.run(lambda n: batch.stop() if n == 3 else None, None)
        assert (batch.begun(), next(numbers), batch.input_ended()) == (4, 4, False)


class TestReadingAhead:
    """What waits while the input is asked for more."""

    def test_what_cannot_change_is_not_pickled(self) -> None:
        items = [1, "two", (3, 4.0), None, Path("five"), b"six"]
        assert Source([(item for item in items)]).take(10) == (0, items)

    def test_what_can_is_what_it_was(self) -> None:
        source = Source([refilled(3)])
        _, items = source.take(3)
        assert [type(item) for item in items] == [Frozen] * 3
        assert [item.opened() for item in items] == [[0], [1], [2]]

    def test_containers_are_left_alone(self) -> None:
        rows = {"a": [1], "b": [2]}
        _, items = Source([rows.values()]).take(2)
        assert items == [[1], [2]]

    def test_nothing_is_read_beyond_what_cannot_be_pickled(self) -> None:
        def functions() -> Iterator[Any]:
            for n in range(3):
                yield lambda: n  # noqa: B023 - that is the point

        source = Source([functions()])
        assert [function() for function in source.take(3)[1]] == [0]
        source.look_ahead(3, 10.0)
        assert source.at_hand() == 1
