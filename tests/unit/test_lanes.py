"""Which worker has which keys: the arithmetic, what is handed out to whom, and how a call's items are divided. No processes."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.backends.affinity import LaneLine, hashes, key_hash
from manyhands.engine.lanes import ANY, CROWDED, Lanes, match
from manyhands.engine.pool import Pool
from manyhands.engine.streams import Chunk, Crash, Definition, Results, Stream
from manyhands.engine.workers import WorkerHandle

keys = st.lists(st.integers(0, 50), max_size=200)
workers = st.integers(1, 8)


class TestLanes:
    @given(st.lists(keys, max_size=5), workers)
    def test_a_key_keeps_its_lane_from_call_to_call(self, calls: list[list[int]], number: int) -> None:
        lanes, seen = Lanes(), {}
        for call in calls:
            for key, lane in zip(call, lanes.of(call, number), strict=True):
                assert seen.setdefault(key, lane) == lane
                assert 0 <= lane < number

    @given(keys, workers)
    def test_no_lane_has_more_than_one_key_more_than_another(self, call: list[int], number: int) -> None:
        lane_of = dict(zip(call, Lanes().of(call, number), strict=True))
        counts = Counter(lane_of.values())
        assert max(counts.values(), default=0) - min(counts[lane] for lane in range(number)) <= 1

    @given(st.sets(st.integers(), min_size=1, max_size=300), workers, workers)
    def test_workers_that_are_added_get_their_share_and_no_key_moves_among_the_old_ones(
        self, distinct: set[int], before: int, more: int
    ) -> None:
        lanes, call = Lanes(), sorted(distinct)
        old = lanes.of(call, before)
        new = lanes.of(call, before + more)
        assert all(lane == was or lane >= before for lane, was in zip(new, old, strict=True))
        assert max(Counter(new).values()) <= CROWDED * len(call) / (before + more) + 2
        assert lanes.of(call, before + more) == new

    @given(st.sets(st.integers(), min_size=1, max_size=100), workers, workers)
    def test_a_call_with_fewer_workers_moves_no_key(self, distinct: set[int], number: int, more: int) -> None:
        lanes, call = Lanes(), sorted(distinct)
        found = lanes.of(call, number + more)
        lanes.of(call, number)
        assert lanes.of(call, number + more) == found

    @given(keys, workers, st.integers(1, 10))
    def test_no_more_keys_are_remembered_than_it_keeps_and_those_met_last(
        self, call: list[int], number: int, kept: int
    ) -> None:
        lanes = Lanes(kept)
        found = lanes.of(call, number)
        assert len(lanes._lanes) <= kept
        assert sum(lanes._counts) == len(lanes._lanes)
        last = dict(list(zip(call, found, strict=True))[-1:])
        assert last.items() <= dict(lanes._lanes).items()


class TestMatch:
    @given(st.lists(st.integers(-1, 5), min_size=1), st.lists(st.integers(0, 5), min_size=1, unique=True))
    def test_whoever_is_idle_gets_something_and_its_own_before_anybody_elses(
        self, wanted: list[int], idle: list[int]
    ) -> None:
        place, worker = match(wanted, idle)
        if ANY in wanted or set(wanted) & set(idle):
            assert wanted[place] in (ANY, idle[worker])
            assert all(lane != ANY and lane not in idle for lane in wanted[:place]), "in their order"
        else:
            counts = Counter(wanted)
            assert counts[wanted[place]] == max(counts.values()), "from who has most to do"
            assert wanted[place] not in wanted[place + 1 :]

    def test_there_is_nothing_to_match_without_chunks(self) -> None:
        with pytest.raises(IndexError):
            match([], [1])


class Worker(WorkerHandle):
    """A worker without a process."""

    done = 0

    def begun(self, chunk: Chunk) -> int:
        return chunk.first + self.done

    def limit(self, stop: int) -> None:
        self.limited = stop


class Desk(Pool):
    """A pool that keeps track of what it hands out, and has no processes.

    Args:
        number: of workers.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, arena_limit=0)
        self.timers: list[Any] = []
        self._loop = SimpleNamespace(call_later=lambda _, action: self.timers.append(action))  # type: ignore[assignment]
        for lane in range(number):
            self._workers[lane] = worker = Worker(lane, lane)
            self._idle.append(worker)
        self.stream = Stream(self, lambda _: None, number)
        self._streams.append(self.stream)

    def _send(self, worker: WorkerHandle, chunk: Chunk) -> None:
        assert worker.chunk is chunk
        chunk.owner.in_flight += 1

    def poke(self) -> None:
        self._hand_out()

    def put(self, *lanes: int, tasks: int = 10) -> None:
        definition = Definition(1, b"")
        self.stream.ready.extend(
            Chunk(self.stream, definition, [], 0, 0, tasks, 0, None, lane) for lane in lanes
        )
        self._hand_out()

    def finish(self, lane: int) -> None:
        worker = self._workers[lane]
        worker.chunk = None
        self.stream.in_flight -= 1
        self._idle.appendleft(worker)
        self._hand_out()

    def at_work(self) -> dict[int, int]:
        """The lanes of the chunks that workers have, by the workers' own."""
        return {
            worker.lane: worker.chunk.lane for worker in self._workers.values() if worker.chunk is not None
        }


class TestHandingOut:
    @given(
        st.integers(1, 4),
        st.lists(st.lists(st.integers(0, 3), max_size=4) | st.integers(0, 3), max_size=40),
    )
    def test_no_worker_is_idle_while_chunks_wait_unless_it_is_about_to_get_its_own(
        self, number: int, steps: list[list[int] | int]
    ) -> None:
        desk = Desk(number)
        for step in steps:
            if isinstance(step, int):
                if step % number in desk.at_work():
                    desk.finish(step % number)
            else:
                desk.put(*(lane % number for lane in step))
            for worker in desk._idle if desk.stream.ready else ():
                away = [other for other, lane in desk.at_work().items() if lane == worker.lane != other]
                assert away
                assert all(desk._workers[other].chunk.called_back for other in away)  # type: ignore[union-attr]

    def test_each_worker_gets_its_own_in_whatever_order_they_come(self) -> None:
        desk = Desk(3)
        desk.put(2, 0, 1, 1, 0, 2)
        assert desk.at_work() == {0: 0, 1: 1, 2: 2}
        for lane in (1, 0, 2):
            desk.finish(lane)
        assert desk.at_work() == {0: 0, 1: 1, 2: 2}

    def test_who_has_nothing_takes_from_who_has_most(self) -> None:
        desk = Desk(3)
        desk.put(0, 1, 0, 1, 1)
        assert desk.at_work() == {0: 0, 1: 1, 2: 1}

    def test_who_is_idle_calls_its_own_back_before_it_takes_anothers(self) -> None:
        desk = Desk(2)
        desk.put(0, 0, 0, 1)
        desk.finish(1)
        assert desk.at_work() == {0: 0, 1: 0}
        desk.put(1)
        desk.finish(0)
        assert desk.at_work() == {0: 0, 1: 0}
        desk.put(1)
        desk.finish(0)  # what is ready is the other's, who has one of ours, and has begun none of its tasks
        assert desk.at_work() == {1: 0}
        assert desk._workers[1].limited == 0  # type: ignore[attr-defined]
        (check,) = desk.timers
        desk._look_for_work = lambda: None  # type: ignore[method-assign]
        check()
        assert desk.at_work() == {0: 0, 1: 0}
        given = desk._workers[0].chunk
        assert given is not None
        assert (given.first, given.stop) == (0, 10)
        assert desk._workers[1].chunk.stop == 0  # type: ignore[union-attr]

    def test_what_nobody_in_particular_should_have_goes_to_the_first_who_is_idle(self) -> None:
        desk = Desk(2)
        desk.put(1, ANY)
        assert desk.at_work() == {0: ANY, 1: 1}

    def test_a_lane_without_a_worker_that_is_to_come_is_anybodys(self) -> None:
        desk = Desk(2)
        desk._resting = True
        desk.put(7, 0, 0)
        assert sorted(desk.at_work().values()) == [0, 7]


class TestTheirPlaces:
    def test_who_comes_takes_the_first_lane_that_is_free(self) -> None:
        desk = Desk(3)
        desk._give_lane(desk._workers.pop(1).lane)
        assert sorted(worker.lane for worker in desk._workers.values()) == [0, 2]

    def test_a_worker_beyond_their_number_takes_the_lane_that_is_lost(self) -> None:
        desk = Desk(3)
        desk.size = 2
        desk._give_lane(desk._workers.pop(0).lane)
        assert {serial: worker.lane for serial, worker in desk._workers.items()} == {1: 1, 2: 0}


class TestDividing:
    """``LaneLine``."""

    @staticmethod
    def line(number: int, heard: list[Any], *, seeded: bool = False) -> LaneLine:
        pool = Desk(number)
        pool.open = lambda deliver, limit: Stream(pool, deliver, limit)  # type: ignore[method-assign, misc, assignment]
        return LaneLine(pool, heard.append, number, Definition(1, b""), 0, 0, "args", seeded)

    @given(
        st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=50), max_size=5), workers, st.booleans()
    )
    def test_every_item_is_in_one_part_and_what_comes_of_it_gets_its_index(
        self, calls: list[list[int]], number: int, seeded: bool
    ) -> None:
        heard: list[Any] = []
        line = self.line(number, heard, seeded=seeded)
        lane_of: dict[int, int] = {}
        items = [item for call in calls for item in call]
        first = 0
        for call in calls:
            parts, _ = line.pack(call, first)
            for part in parts:
                for place in part.places:
                    assert lane_of.setdefault(items[place], part.lane) == part.lane
            line.send(parts, len(call), first, None)
            first += len(call)
        chunks = [
            *line._stream.ready,
            *(worker.chunk for worker in line._pool._workers.values() if worker.chunk),
        ]
        indexes = []
        for chunk in reversed(chunks):
            for event in (
                Results(chunk.base, [(0, b"")] * (chunk.stop - 1), 0.0, 0.0, False, 1),
                Crash(chunk.base + chunk.stop - 1, 1, 1),
            ):
                line._take(event)
                indexes += event.places or [] if isinstance(event, Results) else [event.index]
                assert heard.pop() is event
            assert {lane_of[items[index]] for index in indexes[-chunk.stop :]} == {chunk.lane}
        assert sorted(indexes) == list(range(len(items)))
        assert (line._parts, line._numbers, sum(line._depths.values())) == ([], [], 0)

    def test_there_is_room_as_long_as_a_lane_has_little(self) -> None:
        line = self.line(2, [])
        room = []
        for _ in range(10):
            parts, _ = line.pack([1, 1], 0)
            room.append(line.outstanding())
            line.send(parts, 2, 0, None)
        assert room == [0, 0, 0, 0, 0, 0, 0, 0, 8, 9]
        line.send(line.pack([2], 20)[0], 1, 20, None)
        assert line.outstanding() == 11

    @given(st.integers() | st.text() | st.tuples(st.integers()))
    def test_a_single_call_has_the_number_of_an_equal_item(self, item: Any) -> None:
        assert (
            key_hash("args", (item,), {}) == hashes("args", [item], 0)[0] == hashes("args", [(item,)], 1)[0]
        )

    def test_the_order_of_keywords_does_not_matter_and_their_values_do(self) -> None:
        one, two, three = ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3})
        assert key_hash("args", (), one) == key_hash("args", (), two) != key_hash("args", (), three)
