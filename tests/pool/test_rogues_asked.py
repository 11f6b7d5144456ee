"""A rogues' gallery, second part: objects that misbehave when they are hashed, compared, printed or asked for anything.

The pool has no business with any of that: an object that travels is pickled and unpickled. Where something is to be said of
one, as in the note that names a failing item, it may be asked for its ``repr``, and whatever it does instead is no harm.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from manyhands import ProcessPool, UnpicklableError, WorkerCrashedError, parallel_map
from tests.conftest import PROC
from tests.pool import rogues, tasks
from tests.pool.conftest import PATIENCE
from tests.pool.rogues import CRASHES, RAISES

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="rogues die in the ways of POSIX"),
    pytest.mark.skipif(not PROC, reason="looks into /proc"),
]


def check_healthy(pool: ProcessPool) -> None:
    assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


#: What is no ``Exception`` goes through where an exception is packed for the way.
ASKED = [*RAISES, "lie"]


@pytest.mark.parametrize("how", [*RAISES, "lie"])
def test_nobody_asks_an_object_that_travels_for_anything(any_pool: ProcessPool, how: str) -> None:
    """As argument, keyword, function, bound method and result: it is not hashed, compared, printed or tested for truth."""
    rogue = rogues.WhenUsed(how)
    assert type(any_pool.submit(tasks.identity, rogue).result(PATIENCE)) is rogues.WhenUsed
    assert type(any_pool.submit(tasks.identity, value=rogue).result(PATIENCE)) is rogues.WhenUsed
    assert type(any_pool.submit(tasks.identity, [rogue]).result(PATIENCE)[0]) is rogues.WhenUsed
    function = rogues.CallableWhenUsed(how)
    assert any_pool.submit(function, 3).result(PATIENCE) == 3
    assert list(any_pool.map(function, [3, 4])) == [3, 4]
    assert type(next(any_pool.map(tasks.identity, [rogue, rogue]))) is rogues.WhenUsed
    check_healthy(any_pool)


@pytest.mark.parametrize("how", [*RAISES, "lie"])
def test_nobody_asks_an_object_in_a_map_for_anything(method: str, how: str) -> None:
    rogue, function = rogues.WhenUsed(how), rogues.CallableWhenUsed(how)
    many: dict[str, Any] = {"max_workers": 2, "start_method": method, "timeout": PATIENCE}
    results = parallel_map(tasks.identity, **many).map([rogue] * 5)
    assert {type(result) for result in results} == {rogues.WhenUsed}
    assert parallel_map(function, **many).map(range(5)) == list(range(5))
    assert len(parallel_map(tasks.add, **many).map(range(5), third=3)) == 5
    assert [type(each) for each in parallel_map(rogues.run, **many).map(["well"] * 3, ["x"] * 3, value=rogue)]
    with ProcessPool(1, initializer=rogues.behave, initargs=(rogue,), start_method=method) as pool:
        check_healthy(pool)


@pytest.mark.parametrize("how", ASKED)
def test_an_exception_that_cannot_be_asked_for_anything_arrives(any_pool: ProcessPool, how: str) -> None:
    error = any_pool.submit(rogues.raise_rogue, how).exception(PATIENCE)
    assert type(error) is rogues.RaisedWhenUsed
    check_healthy(any_pool)


@pytest.mark.parametrize("how", ASKED)
def test_an_exception_that_cannot_be_asked_for_anything_is_its_items_in_a_map(method: str, how: str) -> None:
    function = parallel_map(
        rogues.raise_rogue, max_workers=2, start_method=method, timeout=PATIENCE, on_error="collect"
    )
    results = function.map([how] * 3)
    assert {type(failure.exception) for failure in results.errors} == {rogues.RaisedWhenUsed}
    assert len(results.errors) == 3
    if how != "KeyboardInterrupt":  # which might be somebody's Ctrl-C
        assert len(repr(results.errors[0])) > 10


@pytest.mark.parametrize("how", ["SystemExit", "raise", "lie"])
def test_a_failing_item_that_cannot_be_printed_is_named_all_the_same(method: str, how: str) -> None:
    """Its number is; and the error is the task's."""
    function = parallel_map(
        rogues.run, max_workers=2, start_method=method, initializer=tasks.nothing, chunksize=1
    )
    with pytest.raises(LookupError, match="a rogue") as caught:
        function.map(["well", "running", "well"], ["raise"] * 3, [rogues.WhenUsed(how)] * 3)
    assert any("item 1" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("how", ["SystemExit", "raise", "lie"])
def test_what_cannot_be_pickled_and_not_be_printed_either_is_refused(any_pool: ProcessPool, how: str) -> None:
    rogue = rogues.WhenUsed(how)
    rogue.__dict__["lock"] = threading.Lock()
    kinds = [[rogue, threading.Lock()], {"key": [threading.Lock(), rogue]}]
    for value in kinds:
        assert isinstance(any_pool.submit(tasks.identity, value).exception(PATIENCE), UnpicklableError)
    check_healthy(any_pool)


@pytest.mark.parametrize("how", [*CRASHES, *RAISES])
def test_an_object_that_misbehaves_when_a_task_asks_it_is_that_tasks_affair(
    any_pool: ProcessPool, how: str
) -> None:
    for ask in (rogues.print_it, rogues.hash_it, rogues.compare_it):
        error = any_pool.submit(ask, rogues.WhenUsed(how)).exception(PATIENCE)
        if how in CRASHES:
            assert isinstance(error, WorkerCrashedError)
            assert error.exitcode == CRASHES[how]
        else:
            assert type(error) is RAISES[how]
    check_healthy(any_pool)


@pytest.mark.parametrize("name", ["args", "__cause__", "__dict__", "__notes__"])
def test_an_exception_that_has_no_attributes_to_be_looked_at_costs_no_worker(
    any_pool: ProcessPool, name: str
) -> None:
    error = any_pool.submit(rogues.raise_without, name).exception(PATIENCE)
    assert error is not None
    assert not isinstance(error, WorkerCrashedError)


@pytest.mark.parametrize("how", ["SystemExit", "raise"])
def test_a_result_whose_error_takes_no_note_is_its_futures_affair(any_pool: ProcessPool, how: str) -> None:
    """It raises that error while it is unpickled in the caller."""
    future = any_pool.submit(rogues.RaisesWithoutNote, how)
    try:
        error = future.exception(PATIENCE)
    finally:
        any_pool.kill_workers()
    assert type(error) is rogues.RaisedWhenUsed
