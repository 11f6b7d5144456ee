"""What is wrong with a state is said where it is declared, and with the cure."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from manyhands import (
    LostUpdateWarning,
    SharedStateError,
    accumulator,
    parallel_map,
    process_task,
    shared_state,
)


def test_a_class_without_fields() -> None:
    with pytest.raises(SharedStateError, match="Empty declares no field"):

        @shared_state
        class Empty:
            pass


def test_a_mutable_default() -> None:
    with pytest.raises(
        SharedStateError, match=r"Wrong\.items is a plain list.*accumulator\(list\).*managed\(list\)"
    ):

        @shared_state
        class Wrong:
            n: int = accumulator(int)
            items: list[int] = []  # noqa: RUF012 - that is what is wrong


def test_an_annotation_without_a_field() -> None:
    with pytest.raises(SharedStateError, match=r"Wrong\.items is annotated, and not declared"):

        @shared_state
        class Wrong:
            n: int = accumulator(int)
            items: list[int]


def test_a_name_that_the_handle_needs() -> None:
    with pytest.raises(SharedStateError, match=r"Wrong\.reset: the handle has a method of that name"):

        @shared_state
        class Wrong:
            reset: int = accumulator(int)


@pytest.mark.parametrize(
    ("zero", "options", "words"),
    [
        (str, {}, r"accumulator\(str\): there is no usual way to add up values of type str"),
        (lambda: defaultdict(list), {}, "there is no usual way to add up values of type defaultdict"),
        ([], {"merge": list.__add__}, "the zero could be changed.*give a function that makes it"),
        (range, {}, "has to give the zero when it is called without arguments"),
        (int, {"merge": 3}, "merge is a function of two values"),
    ],
    ids=["no merge", "subclass", "mutable zero", "arguments", "no function"],
)
def test_an_accumulator_that_cannot_work(zero: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SharedStateError, match=words):
        accumulator(zero, **options)


@shared_state
class Totals:
    n: int = accumulator(5)
    words: Counter[str] = accumulator(Counter({"a": 1}))
    items: list[int] = accumulator([1, 2])
    grid: Any = accumulator(np.ones((2, 2)))


def test_a_zero_that_is_not_nothing_is_what_the_total_begins_with() -> None:
    one, two = Totals(), Totals()

    def add(x: int, totals: Totals) -> None:
        totals.n += x
        totals.items.append(x)
        totals.grid += x

    parallel_map(add, backend="serial").map([1, 2], [one, one])
    assert (one.n, one.items, one.words, one.grid.tolist()) == (8, [1, 2, 1, 2], {"a": 1}, [[4, 4], [4, 4]])
    assert (two.n, two.items, two.grid.tolist()) == (5, [1, 2], [[1, 1], [1, 1]])


def test_outside_of_tasks_fields_take_what_they_can_hold() -> None:
    totals = Totals()
    with pytest.raises(
        SharedStateError, match=r"Totals\.n adds up int values and cannot hold 0\.5.*accumulator\(float\)"
    ):
        totals.n = 0.5  # type: ignore[assignment]
    with pytest.raises(
        SharedStateError, match=r"Totals\.items adds up values of type list and cannot be 'ab'"
    ):
        totals.items = "ab"  # type: ignore[assignment]
    with pytest.raises(SharedStateError, match=r"Totals\.grid is an array of shape \(2, 2\)"):
        totals.grid = np.zeros(3)
    with pytest.raises(SharedStateError, match=r"Totals has no field 'm'.*it has: n, words, items, grid"):
        totals.m = 3  # type: ignore[attr-defined]
    with pytest.raises(SharedStateError, match="cannot be deleted"):
        del totals.n
    with pytest.raises(TypeError, match="takes no arguments"):
        Totals(3)  # type: ignore[call-arg]


def test_fields_are_inherited() -> None:
    @shared_state
    class More(Totals):
        m: int = accumulator(int)

    more = More()
    more.n += 1
    more.m += 1
    assert (more.n, more.m) == (6, 1)


class TestFunctions:
    def test_must_take_the_keyword(self) -> None:
        with pytest.raises(SharedStateError, match=r"takes no keyword 'totals': add it"):

            @shared_state(totals=Totals)
            def count(x: int) -> None: ...

    def test_are_given_states_and_nothing_else(self) -> None:
        with pytest.raises(SharedStateError, match="give a class that @shared_state decorates"):

            @shared_state(totals=int)
            def count(x: int, totals: Any) -> None: ...

    def test_the_decorator_needs_one_or_the_other(self) -> None:
        with pytest.raises(TypeError, match="shared_state decorates a class"):
            shared_state(lambda: None)  # type: ignore[arg-type,type-var]

    def test_stay_what_they_are(self) -> None:
        @process_task
        @shared_state(totals=Totals)
        def numbers(n: int, *, totals: Totals) -> Any:
            """Some numbers."""
            yield from range(n)

        assert numbers._generates
        assert numbers.__doc__ == "Some numbers."
        with pytest.raises(TypeError, match="generator"):
            parallel_map(numbers.__wrapped__)


def test_a_global_that_is_assigned_is_warned_about_with_the_cure() -> None:
    with pytest.warns(LostUpdateWarning, match=r"the global 'lost'.*accumulator\(int\)"):

        @parallel_map
        def count(x: int) -> None:
            global lost
            lost = x
