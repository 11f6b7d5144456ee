"""The planner: properties of its arithmetic for any figures, and what comes of it in virtual time.

The second half simulates calls (see ``simulation``) and compares the makespan with the ideal.

**Ideal.** The least that the machine allows, if every task is done in the same way: the plain loop, or shipping all of them,
which takes as long as all workers together need for the tasks and their travel, as long as the caller needs for its half of
the travel, and as long as the longest task. Where shipping saves less than ``GAIN`` of the loop's time, or no worker is
ready before the loop is over, the loop counts as the ideal: there the planner means to stay. With workers that have
to be started, the caller is alone for the first ``START`` seconds.

**Where the ideal allows it.** Three things come in whole pieces, and a plan that does not know the costs beforehand may lose
a few of each: the longest task; a *step*, which is a round trip, plus the move of a part of a chunk, plus a turn (the caller
gives a chunk to every worker that it can keep fed, in the time that shipping leaves it); and workers that have to be started.
The ideal allows to come within a tenth of it where it lasts at least 50 steps (75 ms with 2 workers, 0.54 s with 64, 7.6 s
with 1,000), 40 times as long as the longest task, and, if workers have to be started, 5 times ``START``.

One thing more: the ideal does every task in the same way, so it is one only where the best way is the same all along the
input. It is clear what is best where, for each eighth of the input, the same thing is the bottleneck: the loop, the
workers, or the caller.
"""

from __future__ import annotations

import itertools
import math
import random
from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from manyhands.scheduling.chunks import (
    AIM,
    CHEAP,
    CHUNK_BYTES,
    ENOUGH,
    EVIDENCE,
    GAIN,
    LOOK,
    LOOK_RARELY,
    OVERDUE,
    PER_CHUNK,
    ROOM,
    ROUND_TRIP,
    SHARE,
    SHIP,
    SHORTEST,
    START,
    TURNS,
    Planner,
)
from tests.unit.simulation import CONFIRMED, Machine, Simulation, Work

seconds = st.floats(1e-9, 1e4)
workers = st.integers(2, 1_000)
tasks = st.integers(1, 10**9)


def measured(number: int, cost: float, count: int = 1_000) -> Planner:
    """A planner that knows what tasks cost, and that shipping them costs as little as it can."""
    planner = Planner(number)
    planner.ran_here(count, cost * count)
    planner.packed(1, 0.0, 8)
    return planner


class TestChunks:
    @given(workers, st.none() | tasks)
    def test_before_anything_is_known_they_are_of_one_task(self, number: int, remaining: int | None) -> None:
        assert Planner(number).chunk(remaining) == 1

    @given(st.integers(1, 10_000), workers, seconds, st.none() | tasks)
    def test_a_size_fixed_by_the_user_is_kept(
        self, size: int, number: int, cost: float, remaining: int | None
    ) -> None:
        planner = Planner(number, chunksize=size)
        assert planner.chunk(remaining) == size
        planner.ran_here(10, 10 * cost)
        planner.packed(10, cost, 10 * CHUNK_BYTES)
        assert planner.chunk(remaining) == size

    @given(workers, seconds, tasks)
    def test_none_is_more_than_a_share_of_what_is_left(
        self, number: int, cost: float, remaining: int
    ) -> None:
        """Unless a share would not last a turn of the caller; a task that costs much more than its travel leaves it free."""
        assume(cost >= number * SHIP)
        size = measured(number, cost).chunk(remaining)
        least = max(SHORTEST, 2 * PER_CHUNK * number) / cost
        assert size <= max(1, remaining / (SHARE * number), least) * (1 + 1e-9)

    @given(workers, seconds, st.none() | tasks)
    def test_none_lasts_longer_than_it_needs_to(
        self, number: int, cost: float, remaining: int | None
    ) -> None:
        size = measured(number, cost).chunk(remaining)
        assert size == 1 or size * cost <= max(AIM, TURNS * PER_CHUNK * number / ROOM) * (1 + 1e-9)

    @given(workers, st.floats(1e-9, 1e-5))
    def test_in_a_long_call_the_caller_can_keep_the_workers_fed(self, number: int, cost: float) -> None:
        """What it needs for a chunk, times the workers that are at work, is no more than a chunk lasts."""
        planner = measured(number, cost)
        fed = min(number, 2 * (cost + SHIP) / SHIP)
        assert fed * PER_CHUNK <= planner.chunk(None) * (cost + SHIP)

    @given(workers, seconds, tasks, tasks)
    def test_they_do_not_grow_as_the_end_comes_near(
        self, number: int, cost: float, some: int, others: int
    ) -> None:
        planner = measured(number, cost)
        assert planner.chunk(min(some, others)) <= planner.chunk(max(some, others)) <= planner.chunk(None)

    @given(workers, seconds, seconds, st.none() | tasks)
    def test_dearer_tasks_do_not_make_them_larger(
        self, number: int, cost: float, other: float, remaining: int | None
    ) -> None:
        """By more than what rounding makes of it."""
        cheap, dear = sorted((cost, other))
        assert measured(number, dear).chunk(remaining) <= measured(number, cheap).chunk(remaining) + 1

    @given(workers, seconds, st.none() | tasks, st.integers(1, 1 << 40))
    def test_they_are_bounded_in_bytes_but_not_below_one_task(
        self, number: int, cost: float, remaining: int | None, size: int
    ) -> None:
        planner = measured(number, cost)
        planner.packed(1, 0.0, size)
        assert planner.chunk(remaining) <= max(1, CHUNK_BYTES / size)

    @given(workers, seconds, st.none() | tasks)
    def test_the_first_tells_what_packing_takes_and_is_small(
        self, number: int, cost: float, remaining: int | None
    ) -> None:
        planner = Planner(number)
        planner.ran_here(1_000, cost * 1_000)
        size = planner.chunk(remaining)
        assert size == 1 or size * cost <= AIM / 10

    @given(workers, seconds, st.none() | tasks)
    def test_a_cost_that_is_only_remembered_is_trusted_with_little(
        self, number: int, cost: float, remaining: int | None
    ) -> None:
        planner = Planner(number, cost=cost)
        planner.packed(1, 0.0, 8)
        size = planner.chunk(remaining)
        assert size == 1 or size * cost <= AIM / 10


class TestGoing:
    @given(seconds, st.none() | tasks, st.booleans())
    def test_one_worker_is_never_worth_it(self, cost: float, remaining: int | None, warm: bool) -> None:
        assert not measured(1, cost).worth_going(remaining, warm=warm)

    @given(workers, seconds, st.booleans())
    def test_the_last_task_stays_here(self, number: int, cost: float, warm: bool) -> None:
        assert not measured(number, cost).worth_going(1, warm=warm)

    @given(workers, st.none() | tasks)
    def test_nothing_is_decided_on_next_to_no_evidence(self, number: int, remaining: int | None) -> None:
        planner = Planner(number)
        assert not planner.worth_going(remaining, warm=True)
        planner.ran_here(1, EVIDENCE / 2)
        assert not planner.worth_going(remaining, warm=True)

    @given(workers, st.floats(1e-9, SHIP / 2), tasks, st.booleans())
    def test_what_the_caller_ships_no_quicker_than_it_runs_stays_here_whatever_there_is_of_workers(
        self, number: int, cost: float, remaining: int, warm: bool
    ) -> None:
        assert not measured(number, cost, 100_000).worth_going(remaining, warm=warm)

    @given(workers, seconds, st.integers(2, 10**6), st.integers(2, 10**6))
    def test_what_costs_more_to_ship_than_to_run_stays_here(
        self, number: int, cost: float, count: int, remaining: int
    ) -> None:
        planner = measured(number, cost)
        planner.packed(count, count * cost, 8)
        assert not planner.worth_going(remaining, warm=True)

    @given(workers, st.floats(1e-4, 1e3), tasks)
    def test_what_takes_long_goes_to_warm_workers(self, number: int, cost: float, remaining: int) -> None:
        assume(remaining * cost > 4 * PER_CHUNK * number / ROOM and remaining * cost > 1 and remaining > 1)
        assert measured(number, cost).worth_going(remaining, warm=True)

    @given(workers, seconds, tasks)
    def test_who_goes_cold_would_go_warm(self, number: int, cost: float, remaining: int) -> None:
        planner = measured(number, cost)
        assert planner.worth_going(remaining, warm=True) or not planner.worth_going(remaining, warm=False)

    @given(workers, seconds, tasks, tasks, st.booleans())
    def test_more_of_the_same_does_not_make_it_less_worth(
        self, number: int, cost: float, some: int, others: int, warm: bool
    ) -> None:
        planner = measured(number, cost)
        few, many = sorted((some, others))
        assert planner.worth_going(many, warm=warm) or not planner.worth_going(few, warm=warm)

    @given(workers, seconds, tasks, st.floats(0, 1), st.floats(0, 1))
    def test_what_was_missed_before_does_not_make_it_less_worth(
        self, number: int, cost: float, remaining: int, one: float, other: float
    ) -> None:
        planner = measured(number, cost)
        less, more = (
            planner.worth_going(remaining, warm=False, missed=each) for each in sorted((one, other))
        )
        assert more or not less
        assert planner.missed() >= 0

    @given(workers, st.floats(1e-9, 1e-6), st.integers(2, 10**6), st.floats(0, 10))
    def test_no_more_is_shipped_for_a_stuck_caller_than_it_is_stuck_for(
        self, number: int, cost: float, remaining: int, stuck: float
    ) -> None:
        planner = measured(number, cost)
        assume(not planner.worth_going(remaining, warm=True))
        assert planner.worth_feeding(remaining, stuck) == (remaining * planner.ship / 2 <= stuck)

    @given(workers, st.none() | tasks, st.floats(0, 10))
    def test_a_caller_stuck_in_its_first_task_has_the_workers_fed(
        self, number: int, remaining: int | None, stuck: float
    ) -> None:
        assert Planner(number).worth_feeding(remaining, stuck)
        assert Planner(number, cost=1e-9).worth_feeding(remaining, stuck)


class TestBatches:
    @given(workers, st.floats(0, 1) | st.none(), st.none() | tasks, st.booleans())
    def test_the_first_is_of_one_task(
        self, number: int, remembered: float | None, remaining: int | None, going: bool
    ) -> None:
        assert Planner(number, cost=remembered).batch(remaining, going=going) == 1

    @given(workers, seconds, st.lists(st.booleans(), max_size=30))
    def test_they_grow_no_faster_than_fourfold(self, number: int, cost: float, going: list[bool]) -> None:
        planner, before = Planner(number), 1
        for each in going:
            size = planner.batch(None, going=each)
            assert 1 <= size <= 4 * before
            planner.ran_here(size, cost * size)
            before = size

    @given(workers, seconds, st.none() | tasks)
    def test_none_lasts_longer_than_the_callers_patience(
        self, number: int, cost: float, remaining: int | None
    ) -> None:
        for going, patience in ((True, LOOK), (False, LOOK_RARELY)):
            planner = measured(number, cost)
            for _ in range(12):
                size = planner.batch(remaining, going=going)
                assert size == 1 or size * cost <= patience * (1 + 1e-9)

    @given(workers, seconds, st.integers(2, 10**6))
    def test_while_there_are_workers_it_leaves_them_their_part(
        self, number: int, cost: float, remaining: int
    ) -> None:
        planner = measured(number, cost)
        for _ in range(12):
            assert planner.batch(remaining, going=True) <= max(1, remaining // number)

    @given(workers, st.floats(1e-9, CHEAP, exclude_max=True), tasks)
    def test_the_rest_of_a_cheap_call_is_one_batch(self, number: int, cost: float, remaining: int) -> None:
        planner = measured(number, cost, 100_000)
        assume(planner.evidence > ENOUGH and remaining * cost < LOOK_RARELY / 2)
        assert planner.batch(remaining, going=False) == remaining

    @given(st.integers(1, 10**6), st.floats(0, 1), st.floats(LOOK, 10), st.data())
    def test_one_is_ended_when_it_is_going_to_take_much_longer_than_it_should(
        self, size: int, expected: float, elapsed: float, data: st.DataObject
    ) -> None:
        begun = data.draw(st.integers(1, size))
        wait = Planner(2).look_again(begun, size, elapsed, expected)
        whole = elapsed * size / max(begun - 1, 0.5)
        if whole > OVERDUE * expected + LOOK:
            assert wait == 0
        else:
            assert LOOK <= wait <= max(LOOK, whole)

    @given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, LOOK, exclude_max=True))
    def test_none_is_ended_at_once(self, size: int, expected: float, elapsed: float) -> None:
        assert Planner(2).look_again(1, size, elapsed, expected) > 0


class TestMeasuring:
    @given(workers, st.lists(st.tuples(st.integers(1, 1_000), seconds, st.booleans()), min_size=1))
    def test_the_cost_is_between_the_least_and_the_most_that_was_seen(
        self, number: int, observed: list[tuple[int, float, bool]]
    ) -> None:
        planner = Planner(number, cost=1e9)
        for count, cost, here in observed:
            planner.ran_here(count, count * cost) if here else planner.ran_there(count, count * cost, 0.0)
        seen = [cost for _, cost, _ in observed]
        assert planner.cost is not None
        assert min(seen) * (1 - 1e-9) <= planner.cost <= max(seen) * (1 + 1e-9)

    @given(workers, st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
    def test_the_newest_measurement_counts_for_at_least_half(
        self, number: int, first: float, second: float
    ) -> None:
        planner = measured(number, first)
        planner.ran_there(1_000, 1_000 * second, 0.0)
        assert planner.cost is not None
        assert abs(planner.cost - second) <= abs(first - second) * 0.5 + 1e-12

    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1))
    def test_shipping_costs_no_less_than_it_can_and_no_more_than_was_seen(
        self, observed: list[tuple[bool, float]]
    ) -> None:
        planner = Planner(2)
        for here, cost in observed:
            planner.packed(10, 10 * cost, 80) if here else planner.ran_there(10, 1.0, cost)
            assert SHIP <= planner.ship <= max(SHIP, *(2 * cost for _, cost in observed)) * (1 + 1e-9)

    extreme = st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 1.0, 1e9, 1e100])

    @given(
        st.integers(1, 100_000),
        st.lists(st.tuples(st.integers(1, 10**12), extreme, extreme, st.integers(0, 1 << 60))),
        st.none() | st.integers(1, 10**18),
        extreme | st.none(),
    )
    def test_extreme_figures_do_no_harm(
        self,
        number: int,
        observed: list[tuple[int, float, float, int]],
        remaining: int | None,
        remembered: float | None,
    ) -> None:
        planner = Planner(number, cost=remembered)
        for count, busy, other, size in [*observed, (1, 1.0, 0.0, 1)]:
            for going in (False, True):
                assert isinstance(planner.chunk(remaining), int)
                assert planner.chunk(remaining) >= 1
                assert isinstance(planner.batch(remaining, going=going), int)
                assert planner.batch(remaining, going=going) >= 1
                assert planner.worth_going(remaining, warm=going) in {True, False}
            assert planner.worth_feeding(remaining, busy) in {True, False}
            assert planner.missed() >= 0
            assert planner.look_again(1, count, busy, other) >= 0
            planner.packed(count, other, size)
            planner.ran_there(count, busy, other)
            planner.ran_here(count, other)
            assert planner.cost is not None
            assert math.isfinite(planner.cost)
            assert math.isfinite(planner.ship)


# In virtual time

#: The costs along an input are given in at most about so many parts.
PARTS = 3_000
SHAPES = (
    "even",
    "growing",
    "shrinking",
    "random",
    "heavy tail",
    "giants",
    "giants last",
    "dear last",
    "jump",
)
COSTS = (5e-8, 8e-7, 3e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 10.0)


def spread(count: int, costs: list[float]) -> list[tuple[int, float]]:
    """So many tasks along which the cost goes like that."""
    parts = len(costs)
    return [(count * (part + 1) // parts - count * part // parts, cost) for part, cost in enumerate(costs)]


@cache
def profile(shape: str, count: int, number: int) -> list[tuple[int, float]]:
    """How the costs of so many tasks go along the input; giants are a 45th of what each of ``number`` workers has to do."""
    parts, draw = min(count, PARTS), random.Random(f"{shape} {number}")
    giant = max(1.0, count / number / 45)
    match shape:
        case "even":
            return [(count, 1.0)]
        case "growing":
            return spread(count, [part + 0.5 for part in range(parts)])
        case "shrinking":
            return spread(count, [parts - part - 0.5 for part in range(parts)])
        case "random":
            return scatter(count, lambda: draw.expovariate(1))
        case "heavy tail":
            return scatter(count, lambda: min(draw.paretovariate(1.5), 20.0))
        case "giants":
            places = [0, *sorted(draw.sample(range(1, count - 1), 3)), count]
            return [
                part
                for start, stop in itertools.pairwise(places)
                for part in ((1, giant if start else 1.0), (stop - start - 1, 1.0))
                if part[0]
            ]
        case "giants last":
            return [(count - 4, 1.0), (4, giant)]
        case "dear last":  # a tenth of what a worker has to do is in the last 400th of the input
            return [(count - count // 400 - 1, 1.0), (count // 400 + 1, max(1.0, 40 / number))]
        case _:
            return [(count // 2, 0.2), (count - count // 2, 1.8)]


def scatter(count: int, draw: object) -> list[tuple[int, float]]:
    """Costs drawn for each task; far from the beginning, where sums are all that counts, for some of them together."""
    assert callable(draw)
    single = min(count, 2 * PARTS)
    found = [(1, draw()) for _ in range(single)]
    if count > single:
        found += spread(
            count - single, [sum(draw() for _ in range(4)) / 4 for _ in range(min(PARTS, count - single))]
        )
    return found


def shipped(machine: Machine, total: float, count: int) -> float:
    """In how many seconds all tasks are done if all are shipped, at best."""
    return max((total + count * machine.ship) / machine.workers, count * machine.ship / 2)


def ideal(machine: Machine, work: Work) -> float:
    there = shipped(machine, work.total, work.tasks)
    if work.total - there <= GAIN * work.total or work.total <= machine.start:
        return work.total
    there = machine.start + there * (1 - machine.start / work.total)
    return min(max(there, work.longest), work.total)


def step(machine: Machine, work: Work) -> float:
    load = machine.workers * machine.ship / 2 / (work.mean + machine.ship)
    turn = PER_CHUNK * machine.workers / max(1, load) / max(ROOM, 1 - load)
    return ROUND_TRIP + CONFIRMED + turn


def bottleneck(machine: Machine, total: float, count: int) -> str:
    if total - shipped(machine, total, count) <= GAIN * total:
        return "loop"
    return "caller" if shipped(machine, total, count) == count * machine.ship / 2 else "workers"


def is_clear(machine: Machine, work: Work) -> bool:
    edges = [work.tasks * part // 8 for part in range(9)]
    return len({bottleneck(machine, work.between(a, b), b - a) for a, b in itertools.pairwise(edges)}) == 1


def allows(machine: Machine, work: Work) -> bool:
    best = ideal(machine, work)
    enough = best >= max(50 * step(machine, work), 40 * work.longest, 5 * machine.start)
    return enough and is_clear(machine, work)


def least(machine: Machine, cost: float, shape: str) -> Work:
    """The smallest input, nearly, whose ideal is long enough."""
    count = 64 * machine.workers
    for _ in range(8):
        work = Work(cost, profile(shape, count, machine.workers))
        needed = max(50 * step(machine, work), 40 * work.longest, 5 * machine.start) / ideal(machine, work)
        if needed <= 1:
            break
        count = int(count * needed * 1.02) + 1
    return work


def excess(machine: Machine, work: Work) -> float:
    return Simulation(machine, work).run() / ideal(machine, work) - 1


def check(machine: Machine, cost: float, shapes: tuple[str, ...]) -> None:
    works = {shape: least(machine, cost, shape) for shape in shapes}
    allowed = {shape: work for shape, work in works.items() if allows(machine, work)}
    assert 2 * len(allowed) > len(shapes), "else it would say little"
    missed = {shape: found for shape, work in allowed.items() if (found := excess(machine, work)) > 0.1}
    assert not missed


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("number", [2, 3, 8])
def test_the_makespan_is_within_a_tenth_of_the_ideal(number: int, cost: float) -> None:
    check(Machine(number), cost, SHAPES)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("number", [2, 8])
def test_so_it_is_when_workers_have_to_be_started(number: int, cost: float) -> None:
    check(Machine(number, start=START), cost, SHAPES)


@pytest.mark.parametrize("cost", COSTS)
def test_so_it_is_with_64_workers(cost: float) -> None:
    dear = ("even", "growing", "giants last")  # one task to a chunk, so that the simulation takes its time
    check(Machine(64), cost, SHAPES if cost < 0.01 else dear)


@pytest.mark.parametrize(
    ("number", "cost", "shape"),
    [
        *itertools.product((256, 1_000), (5e-8, 1e-5), ("even", "random", "giants last", "jump")),
        *itertools.product((256,), (1e-3,), ("even", "random", "jump", "giants last")),
        *itertools.product((1_000,), (1e-4,), ("even", "shrinking")),
        *itertools.product((256, 1_000), (1e-2, 10.0), ("even",)),
    ],
)
def test_so_it_is_with_hundreds_of_workers(number: int, cost: float, shape: str) -> None:
    machine = Machine(number)
    work = least(machine, cost, shape)
    assert allows(machine, work)
    assert excess(machine, work) <= 0.1


@pytest.mark.parametrize("ship", [1e-5, 1e-3])
@pytest.mark.parametrize("number", [2, 8, 64])
def test_so_it_is_when_travelling_is_dear(number: int, ship: float) -> None:
    """The caller learns it from what packing takes, and from what workers say."""
    machine = Machine(number, ship=ship)
    for factor in (0.1, 4.0, 12.0, 100.0):
        short = least(machine, factor * ship, "even")
        work = Work(factor * ship, [(4 * short.tasks, 1.0)])
        assert allows(machine, work)
        assert excess(machine, work) <= 0.1, factor


@pytest.mark.parametrize("number", [2, 8, 64])
def test_so_it_is_when_the_input_has_no_length(number: int) -> None:
    """It takes twice as long until it is known that there are enough tasks."""
    machine = Machine(number)
    for cost in COSTS:
        short = least(machine, cost, "even")
        work = Work(cost, [(2 * short.tasks, 1.0)])
        assert Simulation(machine, work, sized=False).run() <= 1.1 * ideal(machine, work), cost


@pytest.mark.parametrize("start", [0.0, START])
@pytest.mark.parametrize("number", [2, 3, 8, 64])
def test_however_short_the_call_no_more_is_lost_than_the_longest_task_and_a_few_steps(
    number: int, start: float
) -> None:
    machine = Machine(number, start=start)
    for cost, shape, total in itertools.product(COSTS, SHAPES, (0.002, 0.01, 0.05, 0.25)):
        count = round(total / cost)
        if count >= 8:
            work = Work(cost, profile(shape, count, number))
            found, some = Simulation(machine, work).run(), step(machine, work)
            if is_clear(machine, work):
                limit = 1.1 * ideal(machine, work) + work.longest + 5 * some + start / 4
                assert found <= limit, (cost, shape, total)
            # Not slower than the loop, even where it is not clear what is best.
            assert found <= 1.05 * work.total + 3 * some, (cost, shape, total)


def test_a_fixed_size_reaches_the_workers_as_it_is() -> None:
    simulation = Simulation(Machine(4), Work(0.001, [(1_000, 1.0)]), chunksize=10)
    simulation.run()
    assert simulation.moves == 0
    assert simulation.chunks == math.ceil(simulation.ran_there / 10) >= 90


def test_a_remembered_cost_spares_the_trial() -> None:
    simulation = Simulation(Machine(4), Work(0.01, [(1_000, 1.0)]), cost=0.01)
    simulation.run()
    assert simulation.ran_here <= 1, "but the last may stay here"


@pytest.mark.parametrize("number", [2, 8])
def test_a_wrongly_remembered_cost_does_little_harm(number: int) -> None:
    machine, work = Machine(number), Work(1e-3, [(1_000, 1.0)])
    for remembered in (1e-7, 1e-5, 1.0):
        found = Simulation(machine, work, cost=remembered).run()
        assert found <= 1.1 * ideal(machine, work) + 5 * step(machine, work), remembered
