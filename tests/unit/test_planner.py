"""Properties of the planner's arithmetic that hold for any figures."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from manyhands.engine.moving import cut, worth_moving
from manyhands.scheduling.chunks import EVIDENCE, SHARE, Planner

seconds = st.floats(min_value=1e-9, max_value=1e4)
workers = st.integers(2, 1_000)
tasks = st.integers(1, 10**9)


def measured(number: int, cost: float, count: int = 1_000) -> Planner:
    planner = Planner(number)
    planner.ran_here(count, cost * count)
    return planner


@given(workers, seconds, st.none() | tasks)
def test_a_chunk_has_at_least_one_task(number: int, cost: float, remaining: int | None) -> None:
    assert measured(number, cost).chunk(remaining) >= 1


@given(workers, seconds, tasks)
def test_a_chunk_is_no_more_than_a_share_of_what_is_left(number: int, cost: float, remaining: int) -> None:
    """Unless what is left is so little that a share of it would not last a turn of the caller."""
    planner = measured(number, cost)
    size = planner.chunk(remaining)
    share = max(1, remaining / (SHARE * number), planner._shortest() / (cost + planner.ship))
    assert size <= share * (1 + 1e-9)


@given(st.integers(1, 10_000), workers, seconds, st.none() | tasks)
def test_a_size_fixed_by_the_user_is_kept(size: int, number: int, cost: float, remaining: int | None) -> None:
    planner = Planner(number, chunksize=size)
    planner.ran_here(10, 10 * cost)
    assert planner.chunk(remaining) == size


@given(seconds, st.none() | tasks, st.booleans())
def test_one_worker_is_never_worth_going_to(cost: float, remaining: int | None, warm: bool) -> None:
    assert not measured(1, cost).worth_going(remaining, warm=warm)


@given(workers, seconds, st.booleans())
def test_the_last_task_stays_here(number: int, cost: float, warm: bool) -> None:
    assert not measured(number, cost).worth_going(1, warm=warm)


@given(workers, seconds, tasks)
def test_who_goes_cold_would_go_warm(number: int, cost: float, remaining: int) -> None:
    planner = measured(number, cost)
    assert planner.worth_going(remaining, warm=True) or not planner.worth_going(remaining, warm=False)


@given(st.floats(1e-9, 1e-7), tasks, st.booleans())
def test_two_workers_are_not_worth_going_to_with_less_than_the_way_costs(
    cost: float, remaining: int, warm: bool
) -> None:
    assert not measured(2, cost).worth_going(remaining, warm=warm)


@given(workers, st.floats(1e-4, 1e3), tasks)
def test_what_takes_long_goes_to_warm_workers(number: int, cost: float, remaining: int) -> None:
    assume(remaining * cost > 1 and remaining > 1)
    assert measured(number, cost).worth_going(remaining, warm=True)


@given(workers, tasks)
def test_nothing_is_decided_on_next_to_no_evidence(number: int, remaining: int) -> None:
    planner = Planner(number)
    planner.ran_here(1, EVIDENCE / 2)
    assert not planner.worth_going(remaining, warm=True)


@given(workers, seconds, st.lists(st.booleans(), max_size=30), tasks)
def test_batches_grow_no_faster_than_fourfold(
    number: int, cost: float, going: list[bool], remaining: int
) -> None:
    planner, before = Planner(number), 1
    for each in going:
        size = planner.batch(None, going=each)
        assert 1 <= size <= max(4, 4 * before)
        planner.ran_here(size, cost * size)
        before = size


@given(workers, st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
def test_the_newest_measurement_counts_for_at_least_half(number: int, first: float, second: float) -> None:
    planner = measured(number, first)
    planner.ran_there(1_000, 1_000 * second, 0.0)
    assert planner.cost is not None
    assert abs(planner.cost - second) <= abs(first - second) * 0.5 + 1e-12


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.floats(0, 1e4))
def test_what_has_begun_is_not_moved(begun: int, stop: int, elapsed: float) -> None:
    assume(begun >= stop)
    assert not worth_moving(begun, stop, elapsed)


@given(st.integers(0, 1_000), st.integers(1, 1_000), st.integers(1, 1_000))
def test_a_cut_leaves_what_has_begun_and_takes_something(begun: int, more: int, idle: int) -> None:
    place = cut(begun, begun + more, idle)
    assert begun <= place < begun + more


@pytest.mark.parametrize("cost", [0.0, 5e-324, 1e300])
def test_extreme_costs_do_no_harm(cost: float) -> None:
    planner = Planner(3)
    planner.ran_here(1, cost)
    assert planner.chunk(10) >= 1
    assert planner.batch(10, going=True) >= 1
    planner.worth_going(10, warm=True)
