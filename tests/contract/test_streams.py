"""Lazy calls: what they read ahead, how they end when nobody wants more."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from manyhands import parallel_map
from tests.contract import functions
from tests.contract.conftest import Way


class Asked:
    """An endless input that counts what it was asked for."""

    def __init__(self) -> None:
        self.items = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            while True:
                self.items += 1
                yield self.items - 1
        finally:
            self.closed.set()


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_no_more_is_read_ahead_than_the_buffer_holds(backend_way: Way, method: str) -> None:
    for buffersize in (1, 2, 10):
        asked = Asked()
        results = getattr(backend_way(functions.slowly, buffersize=buffersize), method)(asked)
        ahead = []
        for taken in range(1, 30):
            next(results)
            ahead.append(asked.items - taken)
        results.close()
        assert max(ahead) <= buffersize


def test_nothing_is_read_before_the_first_result_is_wanted(backend_way: Way) -> None:
    asked = Asked()
    results = backend_way(functions.triple).imap(asked)
    assert asked.items == 0
    assert next(results) == 0
    results.close()


def test_read_ahead_is_bounded_without_a_buffer_size_too(backend_way: Way) -> None:
    asked = Asked()
    results = backend_way(functions.slowly).imap(asked)
    list(islice(results, 20))
    assert asked.items < 20 + 2_000
    results.close()


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_endless_input_gives_results_for_as_long_as_they_are_wanted(backend_way: Way, method: str) -> None:
    results = getattr(backend_way(functions.triple), method)(count())
    found = list(islice(results, 500))
    results.close()
    assert len(set(found)) == 500
    assert method != "imap" or found == [3 * x for x in range(500)]


@pytest.mark.parametrize("end", ["close", "drop"])
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_abandoning_it_stops_the_work(any_way: Way, method: str, end: str, tmp_path: Path) -> None:
    """The input has no end: was the work not stopped, the tasks would go on, and the test as well."""
    notes = tmp_path / "notes"
    asked = Asked()
    results = getattr(any_way(functions.note_down), method)(asked, path=str(notes))
    list(islice(results, 30))
    if end == "close":
        results.close()
    else:
        del results
        gc.collect()
    read = asked.items
    done = len(notes.read_text().split())
    assert 30 <= done <= read
    # Another call has the workers to itself, and nothing more of the first was read or begun but what was under way.
    assert any_way(functions.slowly).map(range(30)) == [x * x for x in range(30)]
    assert asked.items == read
    assert len(notes.read_text().split()) <= read


def test_what_was_abandoned_is_closed(backend_way: Way) -> None:
    asked = Asked()
    results = backend_way(functions.triple).imap(iter(asked))
    next(results)
    results.close()
    del results
    deadline = time.monotonic() + 60
    while not asked.closed.wait(0.05) and time.monotonic() < deadline:
        gc.collect()  # the call may be part of a cycle, and the task under way holds on to it until it has ended
    assert asked.closed.is_set()


def test_an_iterator_that_was_never_started_costs_nothing(backend_way: Way) -> None:
    asked = Asked()
    backend_way(functions.triple).imap(asked).close()
    backend_way(functions.triple).imap(asked)
    assert asked.items == 0


def test_a_finished_iterator_stays_finished(backend_way: Way) -> None:
    results = backend_way(functions.triple).imap([1])
    assert list(results) == [3]
    assert list(results) == []


def test_a_slow_input_does_not_hold_back_the_results_that_are_there(backend_way: Way) -> None:
    """Each item is made only when the result of the one before was seen: more read-ahead than that would wait for ever."""
    seen: list[int] = []

    def source() -> Iterator[int]:
        for x in range(5):
            assert len(seen) == x
            yield x

    for result in parallel_map(functions.triple, **{**backend_way.options, "buffersize": 1}).imap(source()):
        seen.append(result)
    assert seen == [0, 3, 6, 9, 12]
