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

from manyhands.engine.warming import Answers, fill
from manyhands.keys import contents
from manyhands.transport.serialize import dumps

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
    assert other.cache_info().misses == len(known)
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
