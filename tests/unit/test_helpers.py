"""What a worker tells of its helpers' caches, and what the pool makes of it. No processes."""

from __future__ import annotations

import functools
import gc
import marshal
import threading
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.engine.counts import DIGEST, Counts, Question, Total, pack
from manyhands.engine.helpers import Helpers
from manyhands.transport.serialize import dumps, loads

NAME = (__name__, "helper")


@functools.cache
def helper(x: int) -> bytes:
    return bytes(x)


def uses_it(x: int) -> bytes:
    return helper(x)


class TestTellingWhatTheyHold:
    @pytest.fixture(autouse=True)
    def empty(self) -> None:
        helper.cache_clear()

    def told(self, most: int = 10) -> tuple[Helpers, list[Any]]:
        told: list[Any] = []
        helpers = Helpers(
            lambda _: None, lambda heritage: told.append(list(map(loads, *loads(heritage).values())))
        )
        assert helpers.meet(uses_it, most) == [helper]
        assert helpers.meet(uses_it, most) == []
        return helpers, told

    def test_the_pool_is_told_of_what_has_changed_and_of_nothing_twice(self) -> None:
        helpers, told = self.told()
        helpers.tell()
        uses_it(1)
        helpers.tell()
        helpers.tell()
        uses_it(1)
        helpers.tell()
        assert told == [[((1,), {}, b"\0")]]
        helper.cache_clear()
        helpers.tell()
        assert told[1:] == [[]]

    def test_there_is_a_pause_between_one_time_and_the_next_unless_there_is_nothing_else_to_do(self) -> None:
        helpers, told = self.told()
        waited: list[float] = []

        def busy(seconds: float) -> bool:
            waited.append(seconds)
            return True

        uses_it(1)
        helpers.tell_in_time(busy)
        assert (len(told), waited) == (1, [0.0])
        uses_it(2)
        helpers._next += 1e9
        helpers.tell_in_time(busy)
        assert (len(told), len(waited)) == (1, 2)
        assert waited[1] > 1e8
        helpers.tell_in_time(lambda _: False)
        assert len(told) == 2

    def test_no_more_is_told_than_the_pool_is_to_keep_and_what_was_used_last_comes_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("manyhands.engine.helpers.LARGEST", 3_000)
        helpers, told = self.told(most=3)
        for x in (1, 2, 3, 4, 2_500):
            uses_it(x)
        helpers.tell()
        assert [args for args, _, _ in told[0]] == [(3,), (4,), (2_500,)]
        uses_it(2_600)
        helpers.tell()
        assert [args for args, _, _ in told[1]] == [(2_600,)]


class TestTellingWhatTheyHaveDone:
    @pytest.fixture(autouse=True)
    def empty(self) -> None:
        helper.cache_clear()

    @staticmethod
    def figures(*packed: bytes) -> tuple[int, int, int, int]:
        counts = Counts()
        for worker, each in enumerate(packed):
            counts.take(worker, 0, each)
        total = counts.totals()[NAME]
        return total.hits, total.misses, total.repeated, total.processes

    def test_hits_count_as_much_as_misses(self) -> None:
        told: list[bytes] = []
        helpers = Helpers(told.append, lambda _: pytest.fail("nobody wants what they hold"))
        assert helpers.meet(uses_it, None) == []
        helpers.tell()
        for _ in range(3):
            uses_it(1)
            helpers.tell()
            helpers.tell()
        assert [self.figures(each)[:2] for each in told] == [(0, 0), (0, 1), (1, 1), (2, 1)]

    def test_what_a_cache_had_before_does_not_count(self) -> None:
        for x in (1, 2, 2):
            uses_it(x)
        helpers = Helpers(lambda _: None, lambda _: None)
        helpers.meet(uses_it, None)
        assert self.figures(helpers.packed(), helpers.packed()) == (0, 0, 0, 0)
        for x in (1, 2, 3):
            uses_it(x)
        assert self.figures(helpers.packed()) == (2, 1, 0, 1)
        assert self.figures(helpers.packed(), helpers.packed()) == (4, 2, 1, 2)

    def test_what_it_is_filled_with_does_not_count(self) -> None:
        helpers = Helpers(lambda _: None, lambda _: None)
        helpers.fill(helpers.meet(uses_it, 10), dumps({NAME: [dumps(((1,), {}, b"1"))]}))
        assert uses_it(1) == b"1"
        assert self.figures(helpers.packed(), helpers.packed()) == (2, 0, 0, 2)

    def test_keys_are_told_when_there_is_nothing_else_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("manyhands.engine.helpers.LOOK", -1.0)
        told: list[bytes] = []
        helpers = Helpers(told.append, lambda _: None)
        helpers.meet(uses_it, None)
        for x in (1, 2, 2):
            uses_it(x)
        helpers.tell_in_time(lambda _: True)
        assert self.figures(told[-1], told[-1]) == (2, 4, 0, 2)  # hits and misses at once
        helpers._next = 0.0
        helpers.tell_in_time(lambda _: False)
        assert self.figures(told[-1], told[-1]) == (2, 4, 2, 2)
        count = len(told)
        helpers.tell_in_time(lambda _: False)
        assert len(told) == count

    def test_no_more_keys_are_looked_at_than_the_pool_tells_apart(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("manyhands.engine.helpers.MOST", 3)
        helpers = Helpers(lambda _: None, lambda _: None)
        helpers.meet(uses_it, None)
        for x in range(5):
            uses_it(x)
        assert self.figures(helpers.packed(), helpers.packed()) == (0, 10, 3, 2)

    def test_keys_that_were_there_before_are_not_looked_at(self) -> None:
        class Key:
            def __reduce__(self) -> Any:
                pytest.fail("it is")

        cached = functools.cache(id)
        cached(Key())  # type: ignore[arg-type]
        helpers = Helpers(lambda _: None, lambda _: None)
        helpers.meet(FunctionType(uses_it.__code__, {"__name__": "__main__", "helper": cached}), None)
        assert marshal.loads(helpers.packed()) == [(("builtins", "id"), (0, 0, b""))]

    def test_one_that_came_by_value_with_several_functions_is_in_one_process(self) -> None:
        helpers = Helpers(lambda _: None, lambda _: None)
        functions = [
            FunctionType(
                uses_it.__code__, {"__name__": "__main__", "helper": functools.cache(helper.__wrapped__)}
            )
            for _ in range(2)
        ]
        for function in functions:
            helpers.meet(function, None)
            function(1)
        assert self.figures(helpers.packed()) == (0, 2, 1, 1)

    def test_one_that_came_by_value_goes_with_its_function(self) -> None:
        names = {"__name__": "__main__", "helper": functools.cache(bytes)}
        function = FunctionType(uses_it.__code__, names)
        helpers = Helpers(lambda _: None, lambda _: None)
        helpers.meet(function, None)
        function(1)
        assert [counted[:2] for _, counted in marshal.loads(helpers.packed())] == [(0, 1)]
        del function, names
        gc.collect()
        assert marshal.loads(helpers.packed()) == []


tellings = st.lists(
    st.tuples(
        st.integers(0, 3),  # a worker
        st.integers(0, 9),  # hits
        st.frozensets(st.integers(0, 9)),  # keys that it has computed
    ),
    max_size=20,
)


@given(tellings, st.integers(0, 20))
def test_what_was_told_last_by_each_worker_counts_once_whether_it_has_ended_or_not(
    told: list[Any], end: int
) -> None:
    """The model: those who have ended are workers of their own, and what each has told last is added."""
    counts, ended = Counts(), []
    last: dict[int, Any] = {}
    for place, (worker, hits, keys) in enumerate(told):
        digests = b"".join(key.to_bytes(DIGEST, "big") for key in keys)
        counts.take(worker, 0, pack([(NAME, (hits, len(keys), digests))]))
        last[worker] = hits, keys
        if place == end:
            counts.end(worker)
            ended.append(last.pop(worker))
    every = [*ended, *last.values()]
    totals = counts.totals()
    total = totals.get(NAME, Total())
    assert total.hits == sum(hits for hits, _ in every)
    assert total.misses == sum(len(keys) for _, keys in every)
    assert total.repeated == total.misses - len(frozenset().union(*(keys for _, keys in every)))
    assert total.processes == sum(bool(hits or keys) for hits, keys in every)


class TestAsking:
    def test_it_is_answered_when_all_who_were_asked_have_told_or_ended(self) -> None:
        counts, question = Counts(), Question()
        waiting = threading.Thread(target=question.wait, args=(60,))
        waiting.start()
        number = counts.ask(question, [1, 2, 3])
        another = Question()
        other = counts.ask(another, [1])
        counts.take(1, number, pack([]))
        counts.take(2, other, pack([]))
        counts.end(3)
        assert waiting.is_alive()
        counts.take(2, number, pack([(NAME, (1, 2, b""))]))
        waiting.join()
        assert counts.totals()[NAME].misses == 2

    def test_where_nobody_is_there_to_be_asked_nobody_is_waited_for(self) -> None:
        counts, question = Counts(), Question()
        counts.ask(question, [])
        question.wait(60)
        assert counts.totals() == {}

    def test_who_does_not_answer_in_time_counts_with_what_was_told_before(self) -> None:
        counts, question = Counts(), Question()
        counts.take(1, 0, pack([(NAME, (1, 2, b""))]))
        counts.ask(question, [1])
        question.wait(0.001)
        assert counts.totals()[NAME].misses == 2
