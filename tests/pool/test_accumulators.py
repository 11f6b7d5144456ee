"""Accumulators count exactly once, whatever happens to the workers; and every program means the same state by a handle."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest

from manyhands import SharedStateError, WorkerCrashedError, parallel_map, process_task
from tests.conftest import Program
from tests.pool.adding import (
    Totals,
    Unloadable,
    add,
    add_to_module,
    die,
    make,
    outer,
    totals_of_module,
)

survivors = [x for x in range(50) if x % 10 != 3]


@pytest.mark.parametrize("how", ["exit", "kill"])
@pytest.mark.parametrize("chunksize", [None, 1, 20])
def test_what_a_task_had_added_goes_with_its_worker_and_nothing_else(how: str, chunksize: int | None) -> None:
    totals = Totals()
    function = parallel_map(die, max_workers=2, on_error="skip", chunksize=chunksize)
    assert function.map(range(50), [totals] * 50, how=how) == survivors
    assert totals.items == survivors
    assert totals.n == len(survivors)
    assert totals.words == Counter(str(x % 3) for x in survivors)


def test_what_was_added_before_a_crash_is_added_once_by_the_attempt_that_succeeds(tmp_path: Any) -> None:
    totals = Totals()

    def once(x: int) -> None:
        totals.items.append(x)
        mark = tmp_path / str(x)
        if x % 5 == 0 and not mark.exists():
            mark.touch()
            os._exit(1)

    parallel_map(once, max_workers=2, retries=2, backoff=0.001, retry_on=WorkerCrashedError).map(range(20))
    assert totals.items == list(range(20))


def test_a_large_part_is_not_held_by_the_journal() -> None:
    totals = Totals()

    def many(x: int) -> None:
        totals.items.extend(range(300_000))
        totals.n += x

    parallel_map(many, max_tasks_per_child=100, max_workers=2).map(range(4))
    assert len(totals.items) == 1_200_000
    assert totals.n == 6


def test_what_cannot_be_sent_is_the_failure_of_its_task() -> None:
    totals = Totals()

    def unpicklable(x: int) -> int:
        totals.n += 1
        if x == 2:
            totals.items.append(i for i in range(3))  # type: ignore[arg-type]
        return x

    function = parallel_map(unpicklable, max_tasks_per_child=100, max_workers=2, on_error="collect")
    results = function.map(range(4))
    assert [isinstance(result, int) for result in results] == [True, True, False, True]
    assert "what was added['items'][0]: a generator" in str(results[2].exception)
    assert (totals.n, totals.items) == (3, [])


def test_a_result_that_cannot_be_opened_has_added_nothing() -> None:
    totals = Totals()

    def odd(x: int) -> Any:
        totals.n += 1
        return Unloadable() if x == 1 else x

    function = parallel_map(odd, max_tasks_per_child=100, max_workers=2, on_error="skip")
    assert function.map(range(4)) == [0, 2, 3]
    assert totals.n == 3


def test_what_a_task_adds_that_a_task_has_called_is_that_one_s() -> None:
    totals = Totals()
    results = parallel_map(outer, max_tasks_per_child=100, max_workers=2, on_error="skip").map(
        range(6), [totals] * 6
    )
    assert results == [True] * 4
    assert totals.items == [0, 1, 2, 5]
    assert totals.n == 8


def test_a_running_task_and_a_future_add_when_they_are_done() -> None:
    totals = Totals()
    task = process_task(add).start(3, totals)
    assert (task.result(), totals.n) == (3, 3)
    future = process_task(add).submit(4, totals)
    assert (future.result(), totals.n) == (4, 7)


def test_a_checkpoint_keeps_what_was_added(tmp_path: Any) -> None:
    file = tmp_path / "kept.db"
    for _ in range(2):
        totals_of_module.reset()
        function = parallel_map(add_to_module, max_workers=2, checkpoint=file)
        assert function.map(range(10)) == list(range(10))
        assert totals_of_module.items == list(range(10))


def test_a_state_that_a_worker_has_made_means_nothing_here() -> None:
    (totals,) = parallel_map(make, max_tasks_per_child=100, max_workers=1).map([1])
    with pytest.raises(SharedStateError, match=r"Totals\.n belongs to a state that another process has made"):
        _ = totals.n
    with pytest.raises(SharedStateError, match="another process has made"):
        parallel_map(add, max_tasks_per_child=100, max_workers=1).map([1], [totals])


# programs

MODULE = """
    from collections import Counter
    from manyhands import accumulator, parallel_map, shared_state

    @shared_state
    class Totals:
        n: int = accumulator(int)

    one, two = Totals(), Totals()

    def helper(x):
        two.n += 1

    @parallel_map
    @shared_state(totals=Totals)
    def count(x, *, totals):
        totals.n += 100
        one.n += x
        helper(x)
"""

MAIN = """
    from manyhands import accumulator, parallel_map, shared_state
    import states

    @shared_state
    class Mine:
        n: int = accumulator(int)

    mine, other = Mine(), Mine()

    @parallel_map
    @shared_state(given=Mine)
    def add(x, *, given):
        mine.n += x
        given.n += 1
        states.one.n += 1000

    for options in OPTIONS:
        for state in (mine, add.state.given, states.one, states.two, states.count.state.totals):
            state.reset()
        add.options(max_tasks_per_child=100, max_workers=2, **options).map(range(10))
        states.count.options(max_tasks_per_child=100, max_workers=2, **options).map(range(10))
        print(mine.n, other.n, add.state.given.n, states.one.n, states.two.n, states.count.state.totals.n)
"""
METHODS = [{"start_method": "spawn"}, *([{}, {"start_method": "fork"}] if hasattr(os, "fork") else [])]


@pytest.mark.parametrize("how", ["file", "-c", "stdin", "module"])
def test_programs_mean_the_same_state_by_a_handle(run_program: Program, how: str) -> None:
    source = MAIN.replace("OPTIONS", repr(METHODS))
    ran = run_program(source, how=how, files={"states.py": MODULE})
    assert ran.out.split("\n")[: len(METHODS)] == ["45 0 10 10045 10 1000"] * len(METHODS), ran.err
    assert ran.err == ""


def test_a_module_that_only_workers_have_imported_is_imported_for_its_totals(run_program: Program) -> None:
    source = """
        from manyhands import parallel_map

        def lazily(x):
            import states
            states.one.n += x

        parallel_map(lazily, max_tasks_per_child=100, max_workers=2).map(range(10))
        import states
        print(states.one.n)
    """
    assert run_program(source, files={"states.py": MODULE}).out == "45\n"


def test_ctrl_c_keeps_what_was_committed(run_program: Program) -> None:
    source = """
        import time
        from manyhands import accumulator, parallel_map, shared_state

        @shared_state
        class Totals:
            items: list = accumulator(list)

        totals = Totals()

        def add(x):
            totals.items.append(x)
            if x == 5:
                print("ready", flush=True)
                time.sleep(60)
            return x

        got = []
        try:
            for result in parallel_map(add, max_tasks_per_child=100, max_workers=1, chunksize=1).imap(range(10)):
                got.append(result)
        except KeyboardInterrupt:
            print(got == totals.items[:len(got)], len(totals.items) - len(got) in (0, 1), 5 not in totals.items)
    """
    ran = run_program(source, send_signal=signal.SIGINT)
    assert ran.out.split("\n")[-2] == "True True True", ran.err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_no_part_in_it(run_program: Program) -> None:
    source = """
        import os
        from manyhands import SharedStateError, accumulator, shared_state

        @shared_state
        class Totals:
            n: int = accumulator(int)

        totals = Totals()
        totals.n += 1
        if not os.fork():
            try:
                totals.n += 1
            except SharedStateError as error:
                print(error)
            mine = Totals()
            mine.n += 5
            print(mine.n, flush=True)
            os._exit(0)
        os.wait()
        print(totals.n)
    """
    ran = run_program(source, timeout=60)
    first, *rest = ran.out.splitlines()
    assert first.startswith("Totals.n belongs to a state that another process has made")
    assert rest == ["5", "1"]
