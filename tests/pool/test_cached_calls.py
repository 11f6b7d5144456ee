"""Calls over a cached function while something else happens to the cache, or to the call."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manyhands import accumulator, parallel_map, shared_state
from manyhands.scheduling.sorting import Sorting
from manyhands.transport import tally
from tests.pool.conftest import Meeting


def meets(meeting: Meeting, maxsize: int | None) -> Any:
    """Return a cached function that waits at one key, mapped by one worker."""
    reports, gate = meeting.reports, meeting.gate

    @functools.lru_cache(maxsize)
    def work(x: int) -> int:
        if x == 1:
            with open(reports, "w") as file:
                file.write("there\n")
            with open(gate, "rb", buffering=0) as file:
                file.read(1)
        return 3 * x

    return parallel_map(work, max_workers=1, max_tasks_per_child=1_000)


def when_it_waits(meeting: Meeting, action: Callable[[], object]) -> threading.Thread:
    def act() -> None:
        assert meeting.next() == "there"
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.parametrize("maxsize", [None, 100, 2])
def test_an_interrupt_brings_the_answers_that_are_there(
    meeting: Meeting, maxsize: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tally, "made", False
    )  # else an answer of a cache that evicts may have to be computed again
    function = meets(meeting, maxsize)
    assert function.map([5]) == [15]
    thread = when_it_waits(meeting, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        function.map([5, 1, 5, 1, 5])
    thread.join()
    assert caught.value.partial == {0: 15, 2: 15, 4: 15}  # type: ignore[attr-defined]


class Changing:
    """May be filled again, and so is pickled before the next item is read."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Changing)


@pytest.mark.parametrize("maxsize", [None, 100])
def test_so_they_are_beside_items_that_may_change(
    meeting: Meeting, maxsize: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "made", False)
    reports, gate = meeting.reports, meeting.gate

    @functools.lru_cache(maxsize)
    def work(x: Any) -> Any:
        if not isinstance(x, int):
            with open(reports, "w") as file:
                file.write("there\n")
            with open(gate, "rb", buffering=0) as file:
                file.read(1)
            return "changing"
        return 3 * x

    function = parallel_map(work, max_workers=1, max_tasks_per_child=1_000)
    assert function.map([0, 5, 6]) == [0, 15, 18]

    def clear() -> None:
        function.cache_clear()
        meeting.let_go()

    def items() -> Iterator[Any]:
        yield Changing()
        yield from (6, 7, 8, 0, 9, 0, 5)

    thread = when_it_waits(meeting, clear)
    assert function.map(items()) == ["changing", 18, 21, 24, 0, 27, 0, 15]
    thread.join()


@pytest.mark.parametrize("maxsize", [None, 100])
def test_answers_that_are_cleared_before_their_turn_are_computed_anew(
    meeting: Meeting, maxsize: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "made", False)
    function = meets(meeting, maxsize)
    assert function.map([0, 5]) == [0, 15]

    def clear() -> None:
        function.cache_clear()
        meeting.let_go()

    thread = when_it_waits(meeting, clear)
    assert function.map([5, 1, 0, 0, 2, 5, 1, 0]) == [15, 3, 0, 0, 6, 15, 3, 0]
    thread.join()
    # In a cache that does not evict 5 and 0 are computed again; one that does may have their answers at hand, as misses.
    assert function.cache_info() == (3, 4, maxsize, 4)


class Interrupting:
    """Ctrl-C comes when its hash is asked for, if it is to."""

    armed = False

    def __init__(self, x: int) -> None:
        self.x = x

    def __hash__(self) -> int:
        if Interrupting.armed and threading.current_thread() is threading.main_thread():
            Interrupting.armed = False
            raise KeyboardInterrupt
        return self.x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interrupting) and other.x == self.x


def test_an_interrupt_while_answers_are_handed_out_loses_none_of_them(meeting: Meeting) -> None:
    reports, gate = meeting.reports, meeting.gate

    @functools.cache
    def work(item: Interrupting) -> int:
        if item.x == 1:
            with open(reports, "w") as file:
                file.write("there\n")
            with open(gate, "rb", buffering=0) as file:
                file.read(1)
        return 3 * item.x

    def interrupt() -> None:
        Interrupting.armed = True
        meeting.let_go()

    function = parallel_map(work, max_workers=1, max_tasks_per_child=1_000)
    assert function.map([Interrupting(5)]) == [15]
    thread = when_it_waits(meeting, interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        function.map([Interrupting(x) for x in (5, 1, 7, 5, 8, 5)])
    thread.join()
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert [partial[place] for place in (0, 3, 5)] == [15, 15, 15]


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items were looked at anew each time that the cache had no answer for one whose turn had come."""
    found: list[int] = []
    look_again = Sorting.look_again

    def counted(self: Sorting, index: int, items: Any) -> None:
        found.append(len(items))
        look_again(self, index, items)

    monkeypatch.setattr(Sorting, "look_again", counted)
    return found


def test_all_answers_that_are_cleared_before_their_turn_are_computed_anew_together(
    meeting: Meeting, again: list[int]
) -> None:
    function = meets(meeting, None)
    others = list(range(2, 50))
    function.map(others)

    def clear() -> None:
        function.cache_clear()
        meeting.let_go()

    thread = when_it_waits(meeting, clear)
    assert function.map([1, *others, 1]) == [3, *(3 * x for x in others), 3]
    thread.join()
    assert again == [49]
    assert function.cache_info()[:2] == (1, 49)


@shared_state
class Log:
    computed: list[int] = accumulator(list)


def test_what_is_computed_anew_adds_to_accumulators_when_its_turn_comes(meeting: Meeting) -> None:
    reports, gate = meeting.reports, meeting.gate

    @shared_state(log=Log)
    def work(x: int, *, log: Log) -> int:
        if x == 1:
            with open(reports, "w") as file:
                file.write("there\n")
            with open(gate, "rb", buffering=0) as file:
                file.read(1)
        log.computed.append(x)
        return x

    function: Any = parallel_map(functools.cache(work), max_workers=1, max_tasks_per_child=1_000)
    function.map([5, 6])

    def clear() -> None:
        function.cache_clear()
        meeting.let_go()

    thread = when_it_waits(meeting, clear)
    assert function.map([5, 1, 7, 6, 5, 8, 9]) == [5, 1, 7, 6, 5, 8, 9]
    thread.join()
    assert work.state.log.computed == [5, 6, 1, 7, 6, 5, 8, 9]


def test_answers_that_were_let_go_are_there_for_items_that_were_looked_at_before(
    again: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "made", False)
    monkeypatch.setattr("manyhands.scheduling.sorting.PIECE", 16)  # after so many they are
    plain = functools.lru_cache(4)(abs)
    function = parallel_map(
        functools.lru_cache(4)(abs), max_workers=2, max_tasks_per_child=10_000, chunksize=5
    )
    items = [-(x * x % 1_601) for x in range(6_000)]
    assert function.map(items) == list(map(plain, items))
    assert function.cache_info() == plain.cache_info()
    assert again == []


class Fickle:
    """Has another hash each time."""

    count = 0

    def __init__(self, x: int) -> None:
        self.x = x

    def __hash__(self) -> int:
        Fickle.count += 1
        return Fickle.count


def number(fickle: Fickle) -> int:
    return fickle.x


@pytest.mark.parametrize("maxsize", [None, 4, 1_000])
def test_keys_that_are_never_found_again_are_misses_as_in_the_loop(maxsize: int | None) -> None:
    plain = functools.lru_cache(maxsize)(number)
    function = parallel_map(functools.lru_cache(maxsize)(number), max_workers=2, max_tasks_per_child=1_000)
    items = [Fickle(x % 10) for x in range(100)]
    assert function.map(items) == list(map(plain, items))
    assert function.cache_info() == plain.cache_info()
