"""What cannot be pickled or unpickled is the affair of the task it belongs to, whatever it does instead."""

from __future__ import annotations

import pickle
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import ProcessPool, UnpicklableError, parallel_map
from tests.pool import tasks
from tests.pool.conftest import PATIENCE


@pytest.fixture
def others(any_pool: ProcessPool) -> Iterator[None]:
    """Tasks before and after whatever a test does: all of them have their results."""
    before = [any_pool.submit(tasks.identity, [number]) for number in range(10)]
    yield
    after = [any_pool.submit(tasks.identity, [number]) for number in range(10)]
    for futures in (before, after):
        assert [future.result(PATIENCE) for future in futures] == [[number] for number in range(10)]


pytestmark = pytest.mark.usefixtures("others")


def error_of(pool: ProcessPool, function: Any, *args: Any) -> BaseException:
    error = pool.submit(function, *args).exception(PATIENCE)
    assert error is not None
    return error


def test_an_argument_that_cannot_be_pickled_is_named(any_pool: ProcessPool) -> None:
    error = error_of(any_pool, tasks.nothing, 1, {"guard": threading.Lock()})
    assert isinstance(error, UnpicklableError)
    assert isinstance(error, (pickle.PicklingError, TypeError))
    assert "args[1]['guard']" in str(error)
    assert "lock" in str(error)


def test_a_keyword_that_cannot_be_pickled_is_named(pool: ProcessPool) -> None:
    error = pool.submit(tasks.add, 1, third=threading.Lock()).exception(PATIENCE)  # type: ignore[arg-type]
    assert isinstance(error, UnpicklableError)
    assert "third" in str(error)


def test_a_lambda_and_a_closure_run(any_pool: ProcessPool) -> None:
    factor = 7
    assert any_pool.submit(lambda number: factor * number, 6).result(PATIENCE) == 42


def test_what_a_closure_holds_is_named_when_it_cannot_be_pickled(pool: ProcessPool) -> None:
    guard = threading.Lock()
    error = error_of(pool, lambda: guard)
    assert isinstance(error, UnpicklableError)
    assert "guard" in str(error)


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_what_an_argument_raises_while_it_is_pickled_is_told(
    any_pool: ProcessPool, kind: type[BaseException]
) -> None:
    """SystemExit, which would end a feeding thread, included."""
    error = error_of(any_pool, tasks.nothing, tasks.RaisesWhenPickled(kind))
    assert isinstance(error, UnpicklableError)
    assert kind.__name__ in str(error)
    assert "in __reduce__" in str(error)
    assert isinstance(error.__cause__, kind)


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt, EOFError])
def test_what_an_argument_raises_while_it_is_unpickled_reaches_its_future_only(
    any_pool: ProcessPool, kind: type[BaseException]
) -> None:
    error = error_of(any_pool, tasks.nothing, tasks.RaisesWhenUnpickled(kind))
    assert type(error) is kind
    assert error.args == ("while unpickling",)


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_what_a_function_raises_while_it_is_unpickled_reaches_its_future_only(
    any_pool: ProcessPool, kind: type[BaseException]
) -> None:
    function = types.MethodType(tasks.nothing, tasks.RaisesWhenUnpickled(kind))
    error = error_of(any_pool, function)
    assert type(error) is kind
    assert any("could not load the function" in note for note in error.__notes__)


def test_an_argument_nested_200_000_deep_arrives_or_is_refused(any_pool: ProcessPool) -> None:
    future = any_pool.submit(tasks.depth, tasks.nested(200_000))
    error = future.exception(PATIENCE)
    if error is None:
        assert future.result() == 200_000
    else:
        assert isinstance(error, (RecursionError, UnpicklableError))
        assert "recursion" in str(error) or "deep" in str(error)


def test_a_result_nested_200_000_deep_arrives_or_is_refused(any_pool: ProcessPool) -> None:
    future = any_pool.submit(tasks.make, "deep")
    error = future.exception(PATIENCE)
    if error is None:
        assert tasks.depth(future.result()) == 200_000
    else:
        assert isinstance(error, (RecursionError, UnpicklableError))
        assert "recursion" in str(error) or "deep" in str(error)


@pytest.mark.parametrize(
    ("name", "word"), [("lock", "lock"), ("generator", "generator"), ("open file", "file")]
)
def test_a_result_that_cannot_be_pickled_is_named(any_pool: ProcessPool, name: str, word: str) -> None:
    error = error_of(any_pool, tasks.make, name)
    assert isinstance(error, UnpicklableError)
    assert "result" in str(error)
    assert word in str(error)


def test_a_lambda_is_a_result(any_pool: ProcessPool) -> None:
    assert any_pool.submit(tasks.make, "lambda").result(PATIENCE)() == "from a lambda"


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt])
def test_what_a_result_raises_while_it_is_pickled_reaches_its_future_only(
    any_pool: ProcessPool, kind: type[BaseException]
) -> None:
    error = error_of(any_pool, tasks.RaisesWhenPickled, kind)
    assert isinstance(error, UnpicklableError)
    assert kind.__name__ in str(error)


def test_a_result_that_cannot_be_unpickled_fails_its_future_only(any_pool: ProcessPool) -> None:
    error = error_of(any_pool, tasks.make, "not to be opened")
    assert type(error) is LookupError
    assert error.args == ("while unpickling the result",)
    assert any("could not be unpickled" in note for note in error.__notes__)


def test_a_result_that_cannot_be_unpickled_is_its_items_error_in_a_map(method: str) -> None:
    function = parallel_map(
        tasks.make, max_workers=2, start_method=method, initializer=tasks.nothing, chunksize=2
    )
    with pytest.raises(LookupError, match="while unpickling the result") as caught:
        function.map(["lambda", "lambda", "lambda", "not to be opened", "lambda"])
    assert any("item 3" in note for note in caught.value.__notes__)


def test_none_is_a_result(any_pool: ProcessPool) -> None:
    assert any_pool.submit(tasks.nothing).result(PATIENCE) is None
    assert list(any_pool.map(tasks.nothing, range(3))) == [None] * 3


def test_a_function_added_to_its_module_after_the_start_runs_or_is_told(any_pool: ProcessPool) -> None:
    any_pool.submit(tasks.double, 1).result(PATIENCE)  # the workers have loaded the module

    def late(number: int) -> int:
        return number + 1

    late.__module__, late.__qualname__ = tasks.__name__, "late"
    tasks.late = late  # type: ignore[attr-defined]
    try:
        future = any_pool.submit(late, 1)
        error = future.exception(PATIENCE)
        assert error is None or isinstance(error, AttributeError)
        if error is None:
            assert future.result() == 2
    finally:
        del tasks.late  # type: ignore[attr-defined]


def test_a_module_that_a_worker_cannot_import_is_named(any_pool: ProcessPool) -> None:
    module = types.ModuleType("only_here_and_nowhere_else")
    exec("def function(number):\n    return number + 1\n", module.__dict__)
    sys.modules[module.__name__] = module
    try:
        future = any_pool.submit(module.function, 1)
        error = future.exception(PATIENCE)
        assert error is None or (isinstance(error, ImportError) and module.__name__ in str(error))
        if error is None:
            assert future.result() == 2
    finally:
        del sys.modules[module.__name__]


def test_a_tasks_changes_to_its_argument_stay_in_the_worker(any_pool: ProcessPool) -> None:
    items = [1, 2]
    assert any_pool.submit(tasks.append_to, items, 3).result(PATIENCE) == [1, 2, 3]
    assert items == [1, 2]


def test_the_same_object_given_to_several_tasks_is_not_shared_by_them(any_pool: ProcessPool) -> None:
    items: list[int] = []
    futures = [any_pool.submit(tasks.append_to, items, number) for number in range(50)]
    assert [future.result(PATIENCE) for future in futures] == [[number] for number in range(50)]


@pytest.mark.parametrize("size", [0, 1, 100_000, 1 << 20, (1 << 20) + 1, 20_000_000])
def test_bytes_of_any_size_go_and_come(any_pool: ProcessPool, size: int) -> None:
    data = bytes(size)
    assert any_pool.submit(tasks.identity, data).result(PATIENCE) == data
    assert any_pool.submit(bytes, size).result(PATIENCE) == data


def test_results_that_fill_the_journal_many_times_over_all_arrive(any_pool: ProcessPool) -> None:
    """Small ones by the thousand and large ones between them, in chunks of all sizes."""
    sizes = [(number * 7919) % 300_000 if number % 50 == 0 else number % 7 for number in range(3000)]
    futures = [any_pool.submit(bytes, size) for size in sizes]
    assert [len(future.result(PATIENCE)) for future in futures] == sizes


def test_instances_of_a_local_class_go_and_come_as_themselves(any_pool: ProcessPool) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    back = any_pool.submit(tasks.identity, Point(3)).result(PATIENCE)
    assert type(back) is Point
    assert back.x == 3


@pytest.mark.stress
@pytest.mark.parametrize("method", ["template"])
def test_an_argument_of_more_than_two_gibibytes_arrives(any_pool: ProcessPool) -> None:
    size = (1 << 31) + 12345
    assert any_pool.submit(len, bytes(size)).result(10 * PATIENCE) == size


@pytest.mark.stress
@pytest.mark.parametrize("method", ["template"])
def test_a_result_of_more_than_two_gibibytes_arrives(any_pool: ProcessPool) -> None:
    size = (1 << 31) + 12345
    assert len(any_pool.submit(bytes, size).result(10 * PATIENCE)) == size


def test_what_cannot_be_pickled_leaves_nothing_half_sent(any_pool: ProcessPool, tmp_path: Path) -> None:
    """Refused and accepted tasks in turn: each future has its own outcome."""
    futures = [
        any_pool.submit(
            tasks.noted_double, threading.Lock() if number % 3 == 0 else number, str(tmp_path / "runs")
        )  # type: ignore[arg-type]
        for number in range(30)
    ]
    for number, future in enumerate(futures):
        if number % 3 == 0:
            assert isinstance(future.exception(PATIENCE), UnpicklableError)
        else:
            assert future.result(PATIENCE) == 2 * number
    assert sorted(map(int, (tmp_path / "runs").read_text().split())) == [n for n in range(30) if n % 3]
