"""``warm_cache``: who replaces a worker begins with what the caches of helpers held in it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from manyhands import parallel_map, process_task
from manyhands.backends.processes import Processes
from manyhands.transport.serialize import loads
from tests.conftest import wait_for_end
from tests.pool import helped

#: Each key is three entries of helpers.
KEYS, ENTRIES = range(10), 30


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helped, "PATH", str(tmp_path / "computed"))
    for helper in (helped.bounded, helped.unbounded, helped.stays, helped.deadly):
        helper.cache_clear()  # workers may be forked from here


def one_worker(function: Any, method: str = "template", **options: Any) -> Any:
    same = {"max_workers": 1, "max_tasks_per_child": 1_000_000, "start_method": method}
    return parallel_map(function, **{**same, **options})


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for_end([pid], 10)


def told(function: Any) -> int:
    """Make a call, and return the worker when the pool has heard of all that it has in its caches."""
    pool = Processes(function.settings).pool()
    while True:
        ((pid,),) = [{pid for _, pid in function.map(KEYS)}]
        if (
            sum(len(entries) for kept in pool.heritage.values() for entries in loads(kept).values())
            == ENTRIES
        ):
            return int(pid)


@pytest.mark.parametrize(("warm", "computed"), [(None, ENTRIES), (100, 0)])
def test_who_replaces_a_worker_that_has_done_its_tasks_computes_nothing_anew(
    method: str, warm: int | None, computed: int
) -> None:
    function = one_worker(helped.ask, method, max_tasks_per_child=len(KEYS), warm_cache=warm)
    first = function.map(KEYS)
    assert helped.marks() == ENTRIES
    second = function.map(KEYS)
    assert helped.marks() == computed
    assert [value for value, _ in second] == [value for value, _ in first] == [3 * x + 1 for x in KEYS]
    assert {pid for _, pid in first} & {pid for _, pid in second} == set()


def test_who_replaces_a_worker_that_was_killed_has_what_that_had_told(method: str) -> None:
    function = one_worker(helped.ask, method, warm_cache=100)
    pid = told(function)
    assert helped.marks() == ENTRIES
    killed(pid)
    results = function.map(KEYS)
    assert {pid for _, pid in results}.isdisjoint({pid})
    assert helped.marks() == 0


def test_the_entries_used_last_are_those_that_are_kept() -> None:
    function = one_worker(helped.ask, max_tasks_per_child=len(KEYS), warm_cache=4)
    function.map(KEYS)
    helped.marks()
    function.map(KEYS[-2:])
    assert helped.marks() == 0
    function.map(KEYS[-4:-2])
    assert helped.marks() == 4  # of the helper that has two for each key


def test_the_caches_are_the_helpers_own_and_count_what_they_were_told_as_misses() -> None:
    function = one_worker(helped.ask_and_tell, max_tasks_per_child=len(KEYS), warm_cache=100)
    before = function.map(KEYS)[-1]
    bounded, unbounded, pid = function.map([-1])[0]
    assert pid != before[2]
    assert (bounded.misses, bounded.currsize, bounded.maxsize) == (20, 20, 100)
    assert (unbounded.misses, unbounded.currsize, unbounded.maxsize) == (10, 10, None)
    report = {helper.name.rpartition(".")[2]: helper for helper in function.cache_report()}
    # What the first worker has computed, which has ended.
    assert (report["bounded"].misses, report["unbounded"].misses) == (20, 10)
    assert (report["bounded"].repeated, report["unbounded"].repeated) == (0, 0)


def test_a_single_call_hands_on_as_well() -> None:
    function = process_task(helped.ask, max_workers=1, max_tasks_per_child=1, warm_cache=100)
    assert {function(3)[0] for _ in range(3)} == {10}
    assert helped.marks() == 3


def test_what_cannot_be_pickled_is_computed_anew_and_the_rest_is_not() -> None:
    function = one_worker(helped.ask_for_what_stays, max_tasks_per_child=len(KEYS), warm_cache=100)
    function.map(KEYS)
    assert helped.marks() == 20
    function.map(KEYS)
    assert helped.marks() == 10


def test_what_ends_the_process_that_gets_it_costs_no_task() -> None:
    function = one_worker(helped.ask_for_what_is_deadly, max_tasks_per_child=len(KEYS), warm_cache=100)
    for _ in range(3):
        assert [value for value, _ in function.map(KEYS)] == list(KEYS)


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_where_no_process_is_replaced_it_changes_nothing(backend: str) -> None:
    function = parallel_map(helped.ask, backend=backend, max_workers=2, warm_cache=10)
    assert [value for value, _ in function.map(KEYS)] == [3 * x + 1 for x in KEYS]
