"""Moving a part of a running chunk: properties of the arithmetic, and what comes of it in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.engine.moving import SOON, WORTH_MOVING, cut, look_again, work_left, worth_moving
from tests.unit.simulation import Machine, Simulation, Work

seconds = st.just(0.0) | st.floats(1e-9, 1e4)
counts = st.integers(0, 10**6)


@given(counts, counts, seconds, seconds)
def test_what_has_begun_is_not_moved(stop: int, more: int, elapsed: float, pace: float) -> None:
    assert not worth_moving(stop + more, stop, elapsed, pace)


@given(counts, st.integers(1, 10**6), seconds, seconds)
def test_moving_is_for_what_takes_longer_than_the_move(
    begun: int, more: int, elapsed: float, pace: float
) -> None:
    left = work_left(begun, begun + more, elapsed, pace)
    assert worth_moving(begun, begun + more, elapsed, pace) == (left > WORTH_MOVING)


@given(counts, st.integers(1, 10**6), seconds, seconds)
def test_what_is_left_takes_as_long_as_what_was_done_or_as_the_latest_of_it(
    begun: int, more: int, elapsed: float, pace: float
) -> None:
    left = work_left(begun, begun + more, elapsed, pace)
    assert left >= more * pace
    assert left * max(begun, 1) >= more * elapsed * (1 - 1e-9)
    assert left <= more * max(pace, elapsed / max(begun, 1)) * (1 + 1e-9)


@given(counts, st.integers(1, 10**6), seconds, seconds, seconds)
def test_waiting_makes_it_no_less_worth(begun: int, more: int, one: float, other: float, pace: float) -> None:
    early, late = sorted((one, other))
    stop = begun + more
    assert worth_moving(begun, stop, late, pace) or not worth_moving(begun, stop, early, pace)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_behind_a_task_that_does_not_end_everything_is_worth_moving_in_the_end(begun: int, more: int) -> None:
    """However quick the tasks before it were, and however few wait behind it."""
    assert worth_moving(begun, begun + more, elapsed=begun * 1e-6, pace=2 * WORTH_MOVING)


@given(counts, st.integers(1, 10**6), st.integers(1, 1_000))
def test_a_cut_leaves_what_has_begun_and_takes_something(begun: int, more: int, idle: int) -> None:
    assert begun <= cut(begun, begun + more, idle) < begun + more


@given(counts, st.integers(1, 10**6), st.integers(1, 1_000))
def test_a_cut_leaves_its_worker_no_more_than_any_of_the_others_gets(
    begun: int, more: int, idle: int
) -> None:
    """The task that is running counts as one; a share may be one task more than another, never more."""
    place = cut(begun, begun + more, idle)
    kept, taken = place - begun, begun + more - place
    assert kept <= taken / idle
    assert taken <= idle * (kept + 1)


@given(seconds, seconds)
def test_looks_become_rarer_and_are_never_all_the_time(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert SOON <= look_again(early) <= look_again(late) <= max(SOON, late)


# In virtual time


@given(
    st.integers(2, 12),
    st.lists(st.tuples(st.integers(1, 40), st.floats(1e-5, 0.2)), min_size=1, max_size=12),
    st.integers(1, 500),
)
def test_every_task_is_run_once_whatever_is_moved(
    number: int, profile: list[tuple[int, float]], chunksize: int
) -> None:
    count = sum(tasks for tasks, _ in profile)
    work = Work(sum(tasks * cost for tasks, cost in profile) / count, profile)
    simulation = Simulation(Machine(number), work, chunksize=chunksize)
    assert simulation.run() >= work.longest
    assert simulation.ran_here + simulation.ran_there == count


@pytest.mark.parametrize("number", [2, 8, 64])
def test_a_call_sent_as_one_chunk_is_spread_over_all_workers(number: int) -> None:
    work = Work(0.001, [(1_000 * number, 1.0)])
    simulation = Simulation(Machine(number), work, chunksize=work.tasks, cost=0.001)
    assert simulation.run() <= 1.1 * work.total / number
    assert simulation.moves >= 1


@pytest.mark.parametrize("number", [2, 8])
def test_tasks_do_not_wait_behind_one_that_does_not_end(number: int) -> None:
    """A slow task, and a hundred quick ones behind it that take together as long, in one chunk: when it ends, all have."""
    work = Work(0.1, [(50, 1.0), (1, 100.0), (100, 1.0)])
    simulation = Simulation(Machine(number), work, chunksize=work.tasks, cost=0.1)
    assert simulation.run() <= work.between(0, 51) + 0.01


def test_dear_tasks_at_the_end_of_a_chunk_are_spread() -> None:
    """Four of a second each, behind a thousand of ten microseconds: nothing before them gives them away."""
    profile = [(1_000, 0.000_01), (4, 1.0)]
    work = Work(sum(count * cost for count, cost in profile) / 1_004, profile)
    found = Simulation(Machine(4), work, chunksize=work.tasks, cost=0.000_01).run()
    assert found <= 1.1
