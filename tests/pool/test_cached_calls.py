"""Calls over a cached function while something else happens to the cache, or to the call."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import parallel_map
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
