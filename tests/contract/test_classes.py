"""Instances of classes that workers cannot import: of ``__main__``, of a notebook, defined inside a function."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from manyhands import ProcessPool, parallel_map
from manyhands.transport.serialize import Encoder, loads
from tests.contract.conftest import Way
from tests.contract.local import classes

KINDS = tuple(classes())


@pytest.mark.parametrize("kind", KINDS)
def test_they_go_and_come_back_as_what_they_are(process_way: Way, kind: str) -> None:
    item = classes()[kind]
    for found in process_way(lambda x: x).map([item] * 5):
        assert found == item
        assert type(found) is type(item)


def test_several_kinds_in_one_call_and_one_chunk(process_way: Way) -> None:
    items = [item for item in classes().values() for _ in range(3)]
    function = process_way(lambda x: (type(x).__name__, x), chunksize=7)
    expected = [(type(item).__name__, item) for item in items]
    assert function.map(items) == expected
    assert function.map(items) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_arguments_and_results_of_single_tasks(kind: str) -> None:
    item = classes()[kind]
    assert parallel_map(lambda x: x).submit(item).result(60) == item
    with ProcessPool(1) as pool:
        assert pool.submit(lambda x, y: (y, x), item, y=item).result(60) == (item, item)


def test_what_the_function_calls_by_its_class_is_of_that_class(process_way: Way) -> None:
    class Kind:
        pass

    assert process_way(lambda x: isinstance(x, Kind) and type(x) is Kind).map([Kind(), Kind()]) == [
        True,
        True,
    ]


def test_a_class_that_has_changed_since_the_last_call_is_seen_as_it_is(process_way: Way) -> None:
    class Kind:
        setting = 1

    function = process_way(lambda x: x.setting)
    assert function.map([Kind(), Kind()]) == [1, 1]
    Kind.setting = 2
    assert function.map([Kind(), Kind()]) == [2, 2]


def test_a_class_made_in_a_task_comes_back(process_way: Way) -> None:
    def make(value: int) -> Any:
        class Made:
            def __init__(self) -> None:
                self.value = value

        return Made()

    function = process_way(make)
    for _ in range(2):
        assert [found.value for found in function.map(range(5))] == list(range(5))
        gc.collect()


def test_each_worker_is_told_of_them(process_way: Way) -> None:
    item = classes()["plain"]
    assert process_way(lambda x: x, max_tasks_per_child=1).map([item] * 4) == [item] * 4


def test_a_class_that_nobody_else_has_lives_until_its_result_is_there() -> None:
    def begin() -> Any:
        class Passing:
            value = 7

        return parallel_map(lambda x: x).submit(Passing())

    future = begin()
    gc.collect()
    assert future.result(60).value == 7


def test_an_instance_is_written_without_its_class() -> None:
    """A class is thousands of bytes, and a tenth of a millisecond on each side."""
    plain = classes()["plain"]
    encoder = Encoder({}, learn=True)
    frames = [encoder.encode(plain) for _ in range(3)]
    assert max(map(len, frames)) < 300 < len(Encoder().encode(plain))
    assert encoder.book is not None
    assert list(encoder.book) == [type(plain)]
    assert loads(frames[0]) == plain


def test_without_learning_only_what_the_other_side_knows_is_a_reference() -> None:
    plain, table = classes()["plain"], classes()["subclass of dict"]
    learned = Encoder({}, learn=True)
    learned.encode(plain)
    encoder = Encoder(learned.book)
    assert len(encoder.encode(plain)) < 300 < len(encoder.encode(table))
    assert encoder.book is not None
    assert list(encoder.book) == [type(plain)]
