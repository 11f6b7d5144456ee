"""Entries of an ``lru_cache``: taken out, and put into another one without computing anything. No processes."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.engine import warming
from manyhands.engine.warming import Answers, Warming, fill
from manyhands.keys import contents
from manyhands.transport.serialize import dumps, loads

values = st.integers(0, 5) | st.floats(0, 5) | st.sampled_from(["a", "b"]) | st.tuples(st.integers(0, 2))
calls = st.lists(
    st.tuples(
        st.lists(values, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["x", "y"]), values, max_size=2),
    ),
    max_size=30,
)


def counted() -> tuple[Callable[..., Any], list[Any]]:
    """A function without a closure, and what notes its calls."""
    noted: list[Any] = []

    def function(*args: Any, noted: list[Any] = noted, **kwargs: Any) -> Any:
        noted.append((args, kwargs))
        return "value of", args, sorted(kwargs.items())

    return function, noted


@given(calls, st.sampled_from([None, 1, 5, 100]), st.booleans())
def test_what_an_lru_cache_knows_is_read_as_the_calls_that_it_knows_the_answers_of(
    made: list[Any], maxsize: int | None, typed: bool
) -> None:
    function, noted = counted()
    lru = functools.lru_cache(maxsize, typed)(function)
    for args, kwargs in made:
        lru(*args, **kwargs)
    noted.clear()
    known = contents(lru)
    assert len(known) == lru.cache_info().currsize
    for args, kwargs, value in known:
        assert lru(*args, **kwargs) is value
    assert noted == []


@given(calls, st.sampled_from([None, 1, 5, 100]), st.booleans())
def test_another_one_that_is_filled_with_it_knows_the_same_and_has_computed_nothing(
    made: list[Any], maxsize: int | None, typed: bool
) -> None:
    function, _ = counted()
    one = functools.lru_cache(maxsize, typed)(function)
    for args, kwargs in made:
        one(*args, **kwargs)
    known = contents(one)
    other_function, noted = counted()
    other = functools.lru_cache(maxsize, typed)(other_function)
    code, defaults = other_function.__code__, other_function.__kwdefaults__
    fill(other, [dumps(entry) for entry in known])
    assert contents(other) == known
    assert noted == []
    assert (other_function.__code__, other_function.__kwdefaults__) == (code, defaults)
    assert other.cache_info().misses == len(known) == warming.given.get(other, 0)
    other.cache_clear()
    assert [other(*args, **kwargs) for args, kwargs, _ in known] == [value for _, _, value in known]
    assert len(noted) == len({repr(entry[:2]) for entry in known})


def test_a_call_of_another_thread_meanwhile_is_computed() -> None:
    function, noted = counted()
    lru = functools.cache(function)
    results: list[Any] = []
    with Answers(function):  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: results.append(lru(1, x=2)))
        thread.start()
        thread.join()
    assert results == [("value of", (1,), [("x", 2)])]
    assert noted == [((1,), {"x": 2})]


def closing(value: int) -> Any:
    return functools.cache(lambda x: x + value)


@pytest.mark.parametrize("helper", [functools.cache(math.factorial), closing(1)])
def test_functions_whose_code_cannot_be_taken_out_are_left_as_they_are(helper: Any) -> None:
    fill(helper, [dumps(((3,), {}, "wrong"))])
    assert helper.cache_info().currsize == 0


def test_an_entry_that_cannot_be_opened_is_left_out() -> None:
    lru = functools.cache(counted()[0])
    fill(lru, [b"no pickle", dumps((([1],), {}, "has no key")), dumps(((2,), {}, "two"))])
    assert contents(lru) == [((2,), {}, "two")]


@functools.cache
def helper(x: int) -> bytes:
    return bytes(x)


def uses_it(x: int) -> bytes:
    return helper(x)


class TestTelling:
    @pytest.fixture(autouse=True)
    def empty(self) -> None:
        helper.cache_clear()

    def told(self, most: int = 10) -> tuple[Warming, list[Any]]:
        told: list[Any] = []
        warming = Warming(lambda heritage: told.append(list(map(loads, *loads(heritage).values()))))
        assert warming.meet(uses_it, most) == [(__name__, "helper")]
        assert warming.meet(uses_it, most) == []
        return warming, told

    def test_the_pool_is_told_of_what_has_changed_and_of_nothing_twice(self) -> None:
        warming, told = self.told()
        warming.tell()
        uses_it(1)
        warming.tell()
        warming.tell()
        uses_it(1)
        warming.tell()
        assert told == [[((1,), {}, b"\0")]]
        helper.cache_clear()
        warming.tell()
        assert told[1:] == [[]]

    def test_there_is_a_pause_between_one_time_and_the_next_unless_there_is_nothing_else_to_do(self) -> None:
        warming, told = self.told()
        waited: list[float] = []

        def busy(seconds: float) -> bool:
            waited.append(seconds)
            return True

        uses_it(1)
        warming.tell_in_time(busy)
        assert (len(told), waited) == (1, [0.0])
        uses_it(2)
        warming._next += 1e9
        warming.tell_in_time(busy)
        assert (len(told), len(waited)) == (1, 2)
        assert waited[1] > 1e8
        warming.tell_in_time(lambda _: False)
        assert len(told) == 2

    def test_no_more_is_told_than_the_pool_is_to_keep_and_what_was_used_last_comes_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("manyhands.engine.warming.LARGEST", 3_000)
        warming, told = self.told(most=3)
        for x in (1, 2, 3, 4, 2_500):
            uses_it(x)
        warming.tell()
        assert [args for args, _, _ in told[0]] == [(3,), (4,), (2_500,)]
        uses_it(2_600)
        warming.tell()
        assert [args for args, _, _ in told[1]] == [(2_600,)]
