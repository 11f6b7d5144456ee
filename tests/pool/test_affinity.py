"""Equal keys go to the same worker, in this call and the next, for as long as it lives."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from manyhands import ParallelFunction, parallel_map, process_task
from tests.conftest import wait_for_end
from tests.pool import tasks
from tests.pool.conftest import Meeting


def both(meeting: Meeting, options: dict[str, Any]) -> None:
    """Return when two workers are there, and idle."""
    held = parallel_map(tasks.hold, **options)
    futures = [held.submit(meeting.reports, meeting.gate) for _ in range(2)]
    assert len({meeting.next(), meeting.next()}) == 2
    meeting.let_go(2)
    for future in futures:
        future.result()


def pids(function: ParallelFunction[Any, Any], keys: range) -> dict[int, int]:
    """Return which worker has each key; asked one by one, so that all of them are idle each time."""
    return {key: function.submit(key).result() for key in keys}


@pytest.fixture
def options(method: str) -> dict[str, Any]:
    return {"max_workers": 2, "max_tasks_per_child": 1_000, "start_method": method}


def test_a_key_is_always_the_same_workers_and_keys_are_spread(
    meeting: Meeting, options: dict[str, Any]
) -> None:
    both(meeting, options)
    first = pids(parallel_map(tasks.pid, **options, affinity="args"), range(10))
    assert sorted([list(first.values()).count(pid) for pid in set(first.values())]) == [5, 5]
    assert pids(parallel_map(tasks.pid, **options, affinity=lambda key: key), range(10)) == first
    assert pids(process_task(tasks.pid, **options, affinity="args"), range(10)) == first  # type: ignore[arg-type]


def test_a_call_over_many_items_finds_the_workers_that_single_calls_have_met(
    meeting: Meeting, options: dict[str, Any]
) -> None:
    both(meeting, options)
    function = parallel_map(tasks.pid, **options, affinity="args")
    first = pids(function, range(2))
    assert function.map([0, 1]) == [first[0], first[1]]
    assert function.map([1, 0]) == [first[1], first[0]]


def test_who_replaces_a_worker_has_its_keys_and_no_others(meeting: Meeting, options: dict[str, Any]) -> None:
    both(meeting, options)
    function = parallel_map(tasks.pid, **options, affinity="args")
    before = pids(function, range(10))
    os.kill(before[0], signal.SIGKILL)
    wait_for_end([before[0]], 10)
    both(meeting, options)
    after = pids(function, range(10))
    stayed = {key for key in before if before[key] == after[key]}
    assert stayed == {key for key in before if before[key] != before[0]}
    assert len({after[key] for key in before if key not in stayed}) == 1


def test_a_worker_that_is_busy_keeps_nobody_waiting(meeting: Meeting, options: dict[str, Any]) -> None:
    both(meeting, options)
    held = parallel_map(tasks.hold, **options, affinity=lambda *_: "key")
    futures = [held.submit(meeting.reports, meeting.gate, value) for value in range(2)]
    assert len({meeting.next(), meeting.next()}) == 2
    meeting.let_go(2)
    assert [future.result() for future in futures] == [0, 1]


def test_items_with_one_key_for_all_keep_all_workers_busy(meeting: Meeting, options: dict[str, Any]) -> None:
    held = parallel_map(tasks.hold, **options, affinity=lambda *_: "key")
    with ThreadPoolExecutor(1) as aside:
        results = aside.submit(held.map, [meeting.reports] * 4, [meeting.gate] * 4, range(4))
        assert len({meeting.next(), meeting.next()}) == 2
        meeting.let_go(4)
        assert results.result() == [0, 1, 2, 3]
