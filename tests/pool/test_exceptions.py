"""An exception raised in a worker reaches the caller as the one that the loop would have raised."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from concurrent.futures import BrokenExecutor, CancelledError
from concurrent.futures import TimeoutError as FuturesTimeout
from typing import Any

import pytest

from manyhands import ProcessPool, RemoteTraceback, parallel_map
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting

#: Raised by a task, each of these could be taken for something that the pool itself has to say.
CONFUSABLE: list[BaseException] = [
    tasks.OwnBase("own"),
    SystemExit(0),
    SystemExit("bye"),
    KeyboardInterrupt(),
    CancelledError(),
    asyncio.CancelledError(),
    TimeoutError("a task's own"),
    FuturesTimeout(),
    StopIteration(3),
    StopAsyncIteration(4),
    GeneratorExit(),
    BrokenExecutor("a task's own"),
    EOFError("a task's own"),
    BrokenPipeError(32, "a task's own"),
    ConnectionResetError(104, "a task's own"),
    MemoryError("a task's own"),
    RecursionError("a task's own"),
    ImportError("a task's own", name="module"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a task's own"),
    OSError(2, "a task's own", "file"),
    SyntaxError("a task's own", ("file", 1, 2, "text", 1, 3)),
    pickle.PicklingError("a task's own"),
]


@pytest.mark.parametrize("error", CONFUSABLE, ids=lambda error: type(error).__name__)
def test_an_exception_arrives_as_itself(pool: ProcessPool, error: BaseException) -> None:
    """Type and arguments; it is that task's error and changes nothing for any other."""
    others = [pool.submit(tasks.double, number) for number in range(5)]
    future = pool.submit(tasks.raising, error)
    others += [pool.submit(tasks.double, number) for number in range(5)]
    arrived = future.exception(PATIENCE)
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert str(arrived) == str(error)
    assert not future.cancelled()
    assert [other.result(PATIENCE) for other in others] == 2 * [0, 2, 4, 6, 8]


def test_a_worker_survives_every_exception(method: str) -> None:
    with ProcessPool(1, start_method=method) as pool:
        worker = pool.submit(tasks.pid).result(PATIENCE)
        for error in CONFUSABLE:
            arrived = pool.submit(tasks.raising, error).exception(PATIENCE)
            assert (type(arrived), str(arrived)) == (type(error), str(error))
        assert pool.submit(tasks.pid).result(PATIENCE) == worker


#: A generator, which every call is inside, cannot let these two through as what they are.
INSIDE = [each for each in CONFUSABLE if not isinstance(each, (KeyboardInterrupt, GeneratorExit))]


@pytest.mark.parametrize("error", INSIDE, ids=lambda error: type(error).__name__)
def test_map_raises_what_the_loop_raises(error: BaseException) -> None:
    function = parallel_map(tasks.raising, max_workers=2, initializer=tasks.nothing)
    with pytest.raises(BaseException) as caught:
        function.map([error] * 3)
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args


@pytest.mark.parametrize(
    ("function", "attributes"),
    [
        pytest.param(tasks.raise_two_arguments, {"code": 7, "text": "seven"}, id="two arguments"),
        pytest.param(tasks.raise_keywords_only, {"code": 8}, id="keywords only"),
        pytest.param(tasks.raise_breaking_state, {"errno": 2, "extra": 1}, id="state that breaks"),
    ],
)
def test_an_exception_made_with_other_arguments_arrives_with_type_text_and_attributes(
    any_pool: ProcessPool, function: Any, attributes: dict[str, object]
) -> None:
    with pytest.raises(Exception) as here:
        function()
    there = any_pool.submit(function).exception(PATIENCE)
    assert type(there) is type(here.value)
    assert str(there) == str(here.value)
    assert there.args == here.value.args
    assert {name: getattr(there, name) for name in attributes} == attributes


def test_an_exception_that_refuses_to_be_pickled_is_caught_by_the_same_except(any_pool: ProcessPool) -> None:
    with pytest.raises(tasks.Unpicklable, match="stays"):
        any_pool.submit(tasks.raise_unpicklable).result(PATIENCE)


def test_an_attribute_that_cannot_travel_is_shown_and_the_others_arrive(any_pool: ProcessPool) -> None:
    with pytest.raises(tasks.HoldsALock, match="held") as caught:
        any_pool.submit(tasks.raise_with_lock).result(PATIENCE)
    assert caught.value.detail == {"row": 7}
    assert "lock" in repr(caught.value.lock)


def test_an_exception_class_of_the_inside_of_a_function_stands_in_under_its_name(
    any_pool: ProcessPool,
) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        any_pool.submit(tasks.raise_local_class).result(PATIENCE)
    assert type(caught.value).__name__ == "Local"
    assert caught.value.args == (1, 2)
    assert caught.value.two == 2  # type: ignore[attr-defined]


def test_an_exception_without_a_text_arrives(any_pool: ProcessPool) -> None:
    error = any_pool.submit(tasks.raise_odd_text).exception(PATIENCE)
    assert type(error).__name__ == "Odd"
    assert isinstance(error.__cause__, RemoteTraceback)


def test_notes_arrive(any_pool: ProcessPool) -> None:
    error = any_pool.submit(tasks.raise_with_notes).exception(PATIENCE)
    assert error is not None
    assert error.__notes__ == ["a note of its own"]


def test_a_group_arrives_with_its_members(any_pool: ProcessPool) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        any_pool.submit(tasks.raise_group).result(PATIENCE)
    assert caught.value.message == "several"
    first, second = caught.value.exceptions
    assert (type(first), first.args) == (ValueError, (1,))
    assert isinstance(second, tasks.TwoArguments)
    assert second.code == 3


def test_the_last_cause_is_the_workers_traceback(any_pool: ProcessPool) -> None:
    error = any_pool.submit(tasks.raise_with_cause).exception(PATIENCE)
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, LookupError)
    text = str(error.__cause__.__cause__)
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)
    for word in ("tasks.py", "in raise_with_cause", "in deeper", "LookupError: inner", "ValueError: outer"):
        assert word in text
    assert "worker.py" not in text  # the machinery says nothing to the reader
    assert "in deeper" in "".join(traceback.format_exception(error))


def test_one_exception_object_per_future(pool: ProcessPool) -> None:
    errors = [pool.submit(tasks.raising, ValueError(number)).exception(PATIENCE) for number in range(3)]
    assert [error.args for error in errors if error is not None] == [(0,), (1,), (2,)]


def test_map_raises_the_first_failing_item_even_if_a_later_one_fails_sooner(
    method: str, meeting: Meeting
) -> None:
    """Item 0 is held back until item 1 has failed: the loop would never have come to item 1."""
    reports, gate = meeting.reports, meeting.gate

    def task(number: int) -> None:
        if number == 0:
            tasks.hold(reports, gate)
            raise ValueError("first")
        try:
            raise LookupError("second")
        finally:
            tasks.report(gate, "")

    function = parallel_map(task, max_workers=2, start_method=method, initializer=tasks.nothing, chunksize=1)
    with pytest.raises(ValueError, match="first") as caught:
        function.map(range(2))
    assert any("item 0" in note for note in caught.value.__notes__)
    assert meeting.next()


def test_a_failing_item_is_named_with_its_arguments_and_its_worker() -> None:
    function = parallel_map(tasks.fail_at, max_workers=2, initializer=tasks.nothing, chunksize=3)
    with pytest.raises(ValueError) as caught:
        function.map(range(20), failing=(13, 17))
    assert caught.value.args == (13,)
    (note,) = caught.value.__notes__
    assert "item 13" in note
    assert "fail_at(13)" in note
    assert "in worker" in note


def test_imap_yields_what_comes_before_the_failing_item() -> None:
    function = parallel_map(tasks.fail_at, max_workers=2, initializer=tasks.nothing, chunksize=3)
    results = function.imap(range(20), failing=(13,))
    assert [next(results) for _ in range(13)] == list(range(13))
    with pytest.raises(ValueError, match="13"):
        next(results)
    assert next(results, "nothing") == "nothing"


def raise_from() -> None:
    try:
        raise LookupError("first")
    except LookupError as error:
        raise ValueError("second") from error


def test_what_is_cause_and_context_at_once_arrives_as_both(pool: ProcessPool) -> None:
    error = pool.submit(raise_from).exception(PATIENCE)
    assert isinstance(error, ValueError)
    assert type(error.__cause__) is LookupError
    assert error.__context__ is error.__cause__
