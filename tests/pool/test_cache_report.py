"""``cache_report``: what the caches of helpers have done in workers, those that have ended included."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from manyhands import process_task
from manyhands.backends.processes import Processes
from manyhands.scheduling import reporting
from tests.conftest import Program
from tests.pool import helped
from tests.pool.conftest import PATIENCE, Meeting
from tests.pool.test_warming import KEYS, killed, one_worker


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helped, "PATH", str(tmp_path / "computed"))
    for helper in (helped.bounded, helped.unbounded):
        helper.cache_clear()


def figures(function: Any) -> dict[str, tuple[int, ...]]:
    """Hits, misses, repeated computations, and processes."""
    return {helper.name.rpartition(".")[2]: tuple(helper[1:]) for helper in function.cache_report()}


@pytest.mark.parametrize("life", [1_000_000, len(KEYS)])
def test_workers_that_have_done_their_tasks_count_like_those_that_go_on(method: str, life: int) -> None:
    function = one_worker(helped.ask, method, max_tasks_per_child=life)
    for _ in range(2):
        function.map(KEYS)
    assert helped.marks() == (30 if life > len(KEYS) else 60)
    if life > len(KEYS):
        assert figures(function) == {"bounded": (20, 20, 0, 1), "unbounded": (10, 10, 0, 1)}
    else:
        assert figures(function) == {"bounded": (0, 40, 20, 2), "unbounded": (0, 20, 10, 2)}


def test_a_worker_for_each_task_is_counted_as_well(method: str) -> None:
    function = one_worker(helped.ask, method, max_tasks_per_child=1)
    assert [function.submit(1).result(PATIENCE)[0] for _ in range(3)] == [4] * 3
    assert figures(function) == {"bounded": (0, 6, 4, 3), "unbounded": (0, 3, 2, 3)}


def test_what_a_killed_worker_had_told_is_not_lost(method: str) -> None:
    function = one_worker(helped.ask, method)
    pid = function.map(KEYS)[-1][1]
    before = figures(function)
    killed(pid)
    assert function.map(KEYS)[-1][1] != pid
    after = figures(function)
    assert before == {"bounded": (0, 20, 0, 1), "unbounded": (0, 10, 0, 1)}
    assert after == {"bounded": (0, 40, 20, 2), "unbounded": (0, 20, 10, 2)}


def test_a_worker_tells_it_unasked_when_it_has_nothing_to_do(method: str) -> None:
    function = one_worker(helped.ask, method)
    pid = function.map(KEYS)[-1][1]
    counts = Processes(function.settings).pool().counts
    while sum(total.misses for total in counts.totals().values()) < 30:
        pass
    killed(pid)
    assert figures(function) == {"bounded": (0, 20, 0, 1), "unbounded": (0, 10, 0, 1)}


def test_helpers_that_have_no_name_of_their_own_are_counted_under_what_they_call(method: str) -> None:
    function = one_worker(helped.ask_the_nameless, method)
    assert [function.submit(x).result(PATIENCE) for x in (1, 3, 3)] == [4, 14, 14]
    assert sorted(figures(function).items()) == [("Doubles", (1, 2, 0, 1)), ("pow", (1, 2, 0, 1))]


def test_functions_that_yield_or_are_started_use_helpers_as_others_do(method: str) -> None:
    options: Any = {"max_workers": 1, "max_tasks_per_child": 1_000_000, "start_method": method}
    function = one_worker(helped.ask, method)
    assert list(process_task(helped.asks, **options)([1, 2, 1])) == [1, 2, 1]
    assert figures(function)["bounded"][:2] == (1, 2)
    assert process_task(helped.ask, **options).start(7).result(PATIENCE)[0] == 22
    assert sum(figures(function)["bounded"][:2]) == 5
    assert process_task(helped.asks, **options).submit([8]).result(PATIENCE) == [8]
    assert sum(figures(function)["bounded"][:2]) == 6


def held(meeting: tuple[str, str]) -> int:
    """Use a helper, report it, and wait."""
    helped.bounded(1)
    reports, gate = meeting
    with open(reports, "w") as file:
        file.write("there\n")
    with open(gate, "rb", buffering=0) as file:
        file.read(1)
    return helped.bounded(1)


def test_who_is_busy_is_not_waited_for_longer_than_that(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "PATIENCE", 0.01)
    function = one_worker(held)
    future = function.submit((meeting.reports, meeting.gate))
    assert meeting.next() == "there"
    assert figures(function) == {"bounded": (0, 0, 0, 0)}
    monkeypatch.undo()
    meeting.let_go()
    assert future.result(PATIENCE) == 1
    assert figures(function) == {"bounded": (1, 1, 0, 1)}


def test_a_forked_worker_has_what_a_report_may_be_loading_when_it_is_forked() -> None:
    """An import that is under way in another thread then would be under way in the worker for ever."""
    assert one_worker(helped.loaded, "fork").submit("manyhands.engine.helpers").result(PATIENCE)


def test_a_callback_is_told_what_is_known_without_waiting_for_itself() -> None:
    function = one_worker(helped.ask)
    told: list[Any] = []
    there = threading.Event()

    def ask(_: Any) -> None:
        told.append(figures(function))
        there.set()

    function.submit(1).add_done_callback(ask)
    assert there.wait(PATIENCE)
    assert list(told[0]) == ["bounded", "unbounded"]
    assert figures(function) == {"bounded": (0, 2, 0, 1), "unbounded": (0, 1, 0, 1)}


def test_helpers_of_the_program_itself_are_found_under_every_start_method(
    run_program: Program, method: str
) -> None:
    ran = run_program(
        f"""
        from functools import lru_cache
        from manyhands import parallel_map

        @lru_cache
        def helper(x):
            return -x

        @parallel_map(max_workers=1, start_method={method!r}, max_tasks_per_child=1_000)
        def ask(x):
            return helper(x // 2)

        if __name__ == "__main__":
            helper(1)
            assert ask.map(range(10)) == [-(x // 2) for x in range(10)]
            print(*ask.cache_report()[0])
        """
    )
    assert ran.out.split() == ["__main__.helper", "5", "6", "1", "2"]
