"""A function with an ``lru_cache`` keeps its one cache when it is decorated: each key once, and the figures of the loop.

On every backend and start method. Computations are counted in a file, by whoever makes them.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from manyhands import Failure, UnpicklableError, parallel_map, process_task
from tests.contract import caching
from tests.contract.caching import (
    ByIdentity,
    ByValue,
    Methods,
    Totals,
    add,
    adds,
    by_name,
    calls_helper,
    countdown,
    countdown_under_another,
    decorated,
    fibonacci,
    helper,
    note,
    noted,
    over_another,
    passed_on,
    refilled,
    under_another,
    value_of,
)
from tests.contract.conftest import Way


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "computed")


KEYS = [3, 1, 3, 2, 1, 1, 4, 3] * 5


def test_each_key_is_computed_once_and_the_figures_are_those_of_the_loop(any_way: Way, path: str) -> None:
    @functools.lru_cache
    def work(path: str, x: int) -> int:
        note(path, x)
        return 3 * x

    function = any_way(work)
    assert function.starmap([(path, x) for x in KEYS]) == [3 * x for x in KEYS]
    assert noted(path) == Counter({f"({x},)": 1 for x in (1, 2, 3, 4)})
    assert function.cache_info() == (len(KEYS) - 4, 4, 128, 4)
    assert function.map([path] * 5, [4, 3, 2, 1, 0]) == [12, 9, 6, 3, 0]
    assert noted(path) == Counter({f"({x},)": 1 for x in (0, 1, 2, 3, 4)})
    assert function(path, 0) == 0
    assert function.cache_info() == (len(KEYS) + 1, 5, 128, 5)
    assert sum(function.cache_info(per_worker=True).values()) == 5
    assert function.cache_parameters() == {"maxsize": 128, "typed": False}
    function.cache_clear()
    assert function.cache_info() == (0, 0, 128, 0)
    assert function.cache_info(per_worker=True) == {}
    assert function.map([path], [4]) == [12]
    assert noted(path)["(4,)"] == 2


@pytest.mark.parametrize("how", ["imap", "imap_unordered", "submit", "amap"])
def test_all_forms_of_calls_share_the_cache(any_way: Way, path: str, how: str) -> None:
    def work(x: int) -> int:
        note(path, x)
        return 3 * x

    function = any_way(functools.lru_cache(maxsize=None)(work))
    expected = [3 * x for x in KEYS]
    for _ in range(2):
        if how == "submit":
            values = [future.result() for future in [function.submit(x) for x in KEYS]]
        elif how == "amap":
            values = asyncio.run(function.amap(KEYS))
        else:
            values = list(getattr(function, how)(iter(KEYS)))
        assert (sorted(values) if how == "imap_unordered" else values) == (
            sorted(expected) if how == "imap_unordered" else expected
        )
    assert noted(path) == Counter({f"({x},)": 1 for x in (1, 2, 3, 4)})
    assert function.cache_info() == (2 * len(KEYS) - 4, 4, None, 4)


def test_what_is_kept_and_evicted_is_what_the_loop_keeps_and_evicts(any_way: Way) -> None:
    items = [x * x % 11 for x in range(60)]
    for maxsize in (0, 1, 2, 3, 4):
        model = functools.lru_cache(maxsize)(str)
        function = any_way(functools.lru_cache(maxsize)(str))
        for some in (items, items[::-1]):
            assert function.map(some) == [model(x) for x in some]
            assert function.cache_info() == model.cache_info()


@pytest.mark.parametrize("maxsize", [None, 0, 1, 2, 4])
def test_what_tasks_add_is_added_as_often_as_the_loop_computes(any_way: Way, maxsize: int | None) -> None:
    items = [1, 2, 1, 3, 3, 2, 1, 5, 4, 4, 1, 6] * 3
    states = []
    for function in (
        parallel_map(functools.lru_cache(maxsize)(add), backend="serial"),
        any_way(functools.lru_cache(maxsize)(add)),
    ):
        totals = Totals()
        assert function.map(items, totals=totals) == items
        assert list(function.imap(iter(items), totals=totals)) == items
        assert [function.submit(x, totals=totals).result() for x in items[:9]] == items[:9]
        failing = function.options(on_error="skip")
        assert failing.map([-1, 1, -1, 2], totals=totals) == [1, 2]
        states.append((totals.whole, totals.items, function.cache_info()))
    assert states[0] == states[1]
    misses = states[0][2].misses
    assert len(states[0][1]) == misses - 2  # of those that fail nothing is added


@pytest.mark.parametrize("maxsize", [None, 1, 3])
def test_so_it_is_with_another_decorator_above_the_cache(any_way: Way, maxsize: int | None) -> None:
    items = [1, 2, 1, 3, 3, 2, 1, 5, 4, 4, 1, 6] * 3
    totals, plain = Totals(), functools.lru_cache(maxsize)(str)
    function = any_way(passed_on(functools.lru_cache(maxsize)(add)), chunksize=1)
    assert function.map(items, totals=totals) == items
    for x in items:
        plain(x)
    assert len(totals.items) == function.cache_info().misses == plain.cache_info().misses
    assert list(function.imap(iter(items), totals=totals)) == items
    assert [function.submit(x, totals=totals).result() for x in items] == items
    assert len(totals.items) == function.cache_info().misses


@pytest.mark.parametrize("method", ["spawn", *(["template", "fork"] if hasattr(os, "fork") else [])])
def test_a_function_of_a_module_is_given_the_states_of_the_caller(method: str) -> None:
    function = adds.options(start_method=method)
    function.cache_clear()
    before = adds.state.board.whole.value
    assert function.map([1, 2, 1]) == [3, 6, 3]
    assert function.submit(4).result() == 12
    assert (adds.state.board.whole.value - before, function.cache_info()[:2]) == (7, (1, 3))


@pytest.mark.parametrize("maxsize", [None, 0, 1, 3])
def test_in_whichever_order_results_come_each_miss_adds_once(any_way: Way, maxsize: int | None) -> None:
    items = [1, 2, 1, 3, 3, 2, 1, 5, 4, 4, 1, 6] * 3
    totals = Totals()
    function = any_way(functools.lru_cache(maxsize)(add), chunksize=1)
    assert sorted(function.imap_unordered(iter(items), totals=totals)) == sorted(items)
    hits, misses, _, _ = function.cache_info()
    assert (len(totals.items), hits + misses) == (misses, len(items))


@pytest.mark.parametrize("maxsize", [None, 1, 3])
def test_random_streams_are_those_of_the_loop_after_an_eviction(
    process_way: Way, maxsize: int | None
) -> None:
    import random

    def draw(x: int) -> tuple[int, float]:
        return x, random.random()

    items = [1, 2, 3, 4, 1, 1, 2, 5, 4, 1]
    model = parallel_map(functools.lru_cache(maxsize)(draw), backend="serial", seed=5)
    function = process_way(functools.lru_cache(maxsize)(draw), seed=5)
    for _ in range(2):
        assert function.map(items) == model.map(items)
        assert function.cache_info() == model.cache_info()


def test_an_exception_is_not_kept(any_way: Way, path: str) -> None:
    @functools.lru_cache
    def work(x: int) -> int:
        note(path, x)
        return 10 // x

    function = any_way(work)
    with pytest.raises(ZeroDivisionError) as caught:
        function.map([1, 2, 0, 1, 0])
    assert "item 2" in caught.value.__notes__[0]
    assert function.cache_info() == (0, 3, 128, 2)
    found = function.options(on_error="collect").map([1, 0, 2, 0, 0])
    assert [failure.index for failure in found.errors] == [1, 3, 4]
    assert function.cache_info() == (2, 6, 128, 2)
    assert function.options(on_error="skip").map([0, 5, 0, 5]) == [2, 2]
    assert function.options(on_error=lambda failure: failure.index).map([1, 0]) == [10, 1]
    assert function.cache_info() == (4, 10, 128, 3)


def test_arguments_that_cannot_be_hashed_are_refused_as_by_lru_cache(any_way: Way) -> None:
    function = any_way(functools.lru_cache(len))
    with pytest.raises(TypeError, match="unhashable type"):
        function.map(["a", [1], "b"])
    assert function.cache_info() == (0, 1, 128, 1)
    found = function.options(on_error="collect").map(["abc", [1], "abc", {}])
    assert [type(v) for v in found] == [int, Failure, int, Failure]
    with pytest.raises(TypeError, match="unhashable type"):
        function.submit([1]).result()
    assert function.cache_info() == (1, 2, 128, 2)
    without = any_way(functools.lru_cache(maxsize=0)(len))
    assert without.map([[1], [1], {}]) == [1, 1, 0]
    assert without.cache_info() == (0, 3, 0, 0)


def test_typed_and_the_order_of_keywords_count_as_for_lru_cache(any_way: Way) -> None:
    items = [1, 1.0, True, "1", 1, 2, 2.0]
    for typed in (False, True):
        model = functools.lru_cache(typed=typed)(repr)
        function = any_way(functools.lru_cache(typed=typed)(repr))
        assert function.map(items) == [model(x) for x in items]
        assert function.cache_info() == model.cache_info()

    def work(*args: int, **kwargs: int) -> Any:
        return args, list(kwargs.items())

    model = functools.lru_cache(work)
    function = any_way(functools.lru_cache(work))
    for constants in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}, {}):
        assert function.map([1, 2, 1], **constants) == [model(x, **constants) for x in (1, 2, 1)]
        assert function.cache_info() == model.cache_info()


def test_cache_false_leaves_each_process_to_itself(any_way: Way, path: str) -> None:
    plain = functools.lru_cache(lambda x: note(path, x))
    function = any_way(plain, cache=False)
    function.map([1, 1, 1])
    with pytest.raises(AttributeError, match="cache=False"):
        function.cache_info()
    with pytest.raises(AttributeError, match=r"has no functools\.lru_cache"):
        any_way(abs).cache_clear()


@pytest.mark.parametrize("how", ["map", "imap", "starmap"])
@pytest.mark.parametrize("kind", [ByValue, ByIdentity])
@pytest.mark.parametrize("maxsize", [None, 4, 1000])
def test_an_object_that_is_filled_again_and_again_has_the_answers_that_the_loop_gives(
    any_way: Way, maxsize: int | None, kind: Any, how: str
) -> None:
    model = functools.lru_cache(maxsize)(value_of)
    function = any_way(functools.lru_cache(maxsize)(value_of))
    for length in (40, 25):
        expected = [model(item) for item in refilled(kind, length)]
        items: Any = refilled(kind, length)
        assert list(getattr(function, how)(zip(items) if how == "starmap" else items)) == expected


def test_callbacks_hear_of_every_item(any_way: Way) -> None:
    heard: list[int] = []
    function = any_way(functools.lru_cache(abs), on_result=heard.append)
    function.map([-1, -2, -1, -1])
    assert sorted(heard) == [1, 1, 1, 2]
    function.map([-1, -2, -3])
    assert sorted(heard) == [1, 1, 1, 1, 2, 2, 3]


def test_endless_input_stays_lazy(any_way: Way) -> None:
    read = []

    def numbers() -> Any:
        for n in count():
            read.append(n)
            yield n % 5

    results = any_way(functools.lru_cache(abs), buffersize=10).imap(numbers())
    assert list(islice(results, 100)) == [n % 5 for n in range(100)]
    assert len(read) <= 100 + 10 + 2
    results.close()  # type: ignore[attr-defined]


def test_random_streams_are_those_of_the_first_item_of_each_key(process_way: Way) -> None:
    import random

    def draw(x: int) -> float:
        return random.random()

    uncached = process_way(draw, seed=5).map(range(8))
    cached = process_way(functools.lru_cache(draw), seed=5).map([0, 1, 0, 3, 1, 5, 0, 7])
    assert cached == [uncached[i] for i in (0, 1, 0, 3, 1, 5, 0, 7)]


def test_a_function_of_a_module_is_cached_once(process_way: Way, path: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(caching, "PATH", path)
    for function in (process_way(by_name), decorated):
        function.cache_clear()
        assert function.map(KEYS) == [3 * x for x in KEYS]
        assert function.cache_info()[:2] == (len(KEYS) - 4, 4)
        assert len(noted(path)) == 4
        os.remove(path)
    # Two decorated functions over the same cache are one.
    assert process_way(by_name).cache_info() == process_way(by_name).options(timeout=9).cache_info()


@pytest.mark.parametrize("function", [under_another, over_another])
def test_other_decorators_do_not_hide_it(any_way: Way, function: Callable[..., Any]) -> None:
    mapped = any_way(function)
    mapped.cache_clear()
    assert mapped.map([1, 1.0, 1, 2]) == [3, 3.0, 3, 6]
    assert mapped.cache_info() == (1, 3, 7, 3)
    assert mapped.cache_parameters() == {"maxsize": 7, "typed": True}


def test_recursion_goes_on_in_the_worker() -> None:
    fibonacci.cache_clear()
    assert fibonacci.map([80, 81, 80]) == [23416728348467685, 37889062373143906, 23416728348467685]


def test_clearing_empties_what_recursion_has_left_in_workers(path: str) -> None:
    for times in (1, 2):
        countdown.cache_clear()
        assert countdown.map([path] * 2, [10, 9]) == [10, 9]
        assert noted(path) == Counter({f"({n},)": times + (n == 9) * times for n in range(11)})


def test_so_it_does_under_another_decorator(path: str) -> None:
    for times in (1, 2):
        countdown_under_another.cache_clear()
        assert countdown_under_another.map([path] * 2, [10, 9]) == [10, 9]
        assert noted(path) == Counter({f"({n},)": times for n in range(11)})


def test_clearing_empties_caches_that_have_travelled_by_value(process_way: Way, path: str) -> None:
    def work(path: str, x: int) -> int:
        note(path, x)
        return recurs(path, x - 1) + 1 if x else 0

    recurs = process_way(functools.lru_cache(work))
    for times in (1, 2):
        assert recurs.starmap([(path, 3)] * 2) == [3, 3]
        assert noted(path)["(0,)"] == times
        recurs.cache_clear()


@pytest.mark.parametrize("how", ["here", "map", "submit"])
def test_clearing_empties_the_cache_below_another_decorator(any_way: Way, path: str, how: str) -> None:
    def work(path: str, x: int) -> int:
        note(path, x)
        return x

    function = any_way(passed_on(functools.lru_cache(work)))
    for times in (1, 2):
        if how == "map":
            assert function.map([path] * 3, [1, 2, 1]) == [1, 2, 1]
        else:
            call = function if how == "here" else lambda *args: function.submit(*args).result()
            assert [call(path, x) for x in (1, 2, 1)] == [1, 2, 1]
        assert noted(path) == Counter({"(1,)": times, "(2,)": times})
        assert function.cache_info()[:2] == (1, 2)
        function.cache_clear()


def test_methods_of_every_kind(path: str) -> None:
    two, three = Methods(2), Methods(3)
    Methods.method.cache_clear()
    assert two.method.map([path] * 4, [1, 2, 1, 2]) == [2, 4, 2, 4]
    assert three.method.map([path] * 2, [1, 1]) == [3, 3]
    assert Methods(2).method(path, 1) == 2  # equal, so the same key
    assert two.method.cache_info()[:2] == (4, 3)
    assert noted(path).total() == 3
    for function in (two.static, Methods.static, Methods.of_class, two.of_class):
        function.map([path] * 3, [5, 6, 5])
    assert noted(path).total() == 7
    assert two.static.cache_info()[:2] == (4, 2)
    assert Methods.of_class.cache_info()[:2] == (4, 2)
    bound = parallel_map(two.undecorated, max_workers=2, max_tasks_per_child=1000)
    assert bound.map([path] * 3, [7, 7, 8]) == [14, 14, 16]
    assert bound.cache_info()[:2] == (1, 2)


def test_a_call_that_could_not_be_sent_is_no_computation_of_anybody_s() -> None:
    function = process_task(functools.cache(repr), max_workers=1)
    with pytest.raises(UnpicklableError):
        function.submit(threading.Lock()).result()
    assert function.cache_info(per_worker=True) == {}
    assert function.submit(1).result() == "1"
    assert sum(function.cache_info(per_worker=True).values()) == 1


def test_process_tasks_share_the_cache(path: str) -> None:
    @process_task(max_workers=2)
    @functools.lru_cache
    def work(x: int) -> tuple[int, int]:
        note(path, x)
        return x, os.getpid()

    assert work(1) == work(1) == work.submit(1).result()
    assert work(1)[1] != os.getpid()
    assert asyncio.run(work.acall(1)) == work(1)
    assert work.cache_info()[:2] == (5, 1)
    assert noted(path).total() == 1


def test_equal_calls_that_are_under_way_become_one(path: str) -> None:
    gate = path + ".gate"
    os.mkfifo(gate)

    @process_task(max_workers=2)
    @functools.lru_cache
    def work(x: int) -> int:
        note(path, x)
        if x < 0:
            raise LookupError(x)
        Path(gate).read_text()  # until somebody opens it, and writes
        return x

    futures = [work.submit(1) for _ in range(5)]
    assert futures[4].cancel()
    Path(gate).write_text("go")
    assert [future.result() for future in futures[:4]] == [1] * 4
    assert work.cache_info()[:2] == (3, 1)
    futures = [work.submit(-1) for _ in range(2)]
    for future in futures:
        with pytest.raises(LookupError):
            future.result()
    assert work.cache_info()[:2] == (3, 3)
    assert noted(path) == Counter({"(1,)": 1, "(-1,)": 2})


def test_who_waits_for_an_equal_call_is_answered_when_its_argument_has_changed_meanwhile() -> None:
    function = process_task(functools.cache(value_of), max_workers=1)
    item = ByValue(1)
    holding = function.submit(ByValue(0))
    first, second = function.submit(item), function.submit(ByValue(1))
    item.value = 2
    assert [future.result(60) for future in (holding, first, second)] == [0, 1, 1]
    assert function.submit(ByValue(2)).result(60) == 2


def test_a_crash_costs_its_key_and_no_other(path: str) -> None:
    @parallel_map(max_workers=2, max_tasks_per_child=100, on_error="collect")
    @functools.lru_cache
    def work(x: int) -> int:
        note(path, x)
        if x == 3:
            os._exit(1)
        return x

    found = work.map([1, 2, 3, 1, 2, 4, 3])
    assert [failure.index for failure in found.errors] == [2, 6]
    assert found.values == [1, 2, 1, 2, 4]
    assert work.cache_info()[:2] == (2, 5)
    assert noted(path) == Counter({"(1,)": 1, "(2,)": 1, "(4,)": 1, "(3,)": 2})


def test_retries_come_before_failing(path: str) -> None:
    def work(x: int) -> int:
        note(path, x)
        if x == 3 and noted(path)["(3,)"] < 3:
            raise LookupError
        return x

    function = parallel_map(functools.lru_cache(work), max_workers=2, retries=2, backoff=0)
    assert function.map([3, 1, 3, 3]) == [3, 1, 3, 3]
    assert noted(path)["(3,)"] == 3
    assert function.cache_info()[:2] == (2, 2)


def test_a_deadline_fails_what_is_not_done(path: str) -> None:
    gate = path + ".gate"
    os.mkfifo(gate)

    @parallel_map(max_workers=2, deadline=1, on_error="collect")
    @functools.lru_cache
    def work(x: int) -> int:
        if x == 2:
            Path(gate).read_text()
        return x

    items = [1, 2, 1, 2, 3, 2]
    found = work.map(items)
    failed = {failure.index for failure in found.errors}
    assert failed >= {1, 3, 5}  # and others, if the workers took their time to start
    assert found.values == [x for index, x in enumerate(items) if index not in failed]


def test_a_checkpoint_and_a_cache_go_together(tmp_path: Path, path: str) -> None:
    def work(x: int) -> int:
        note(path, x)
        return x

    options = {"max_workers": 2, "checkpoint": str(tmp_path / "done")}
    first = parallel_map(functools.lru_cache(work), **options)
    assert first.map([1, 2, 1, 3]) == [1, 2, 1, 3]
    again = parallel_map(functools.lru_cache(work), **options)
    assert again.map([1, 2, 1, 3, 4]) == [1, 2, 1, 3, 4]
    assert noted(path) == Counter({f"({x},)": 1 for x in (1, 2, 3, 4)})


def test_ten_threads_share_one_cache(any_way: Way) -> None:
    function = any_way(functools.lru_cache(maxsize=None)(str))
    barrier = threading.Barrier(10)

    def use(_: int) -> bool:
        barrier.wait()
        good = all(function(x) == str(x) for x in range(50))
        return good and function.map(range(100)) == list(map(str, range(100)))

    with ThreadPoolExecutor(10) as threads:
        assert all(threads.map(use, range(10)))
    hits, misses, _, size = function.cache_info()
    assert hits + misses == 10 * 150
    assert size == 100


def test_the_caches_of_helpers_are_reported(process_way: Way) -> None:
    function = process_way(calls_helper)
    before = function.cache_report()
    assert function.map(range(70)) == [1 + 3 * (x % 7) for x in range(70)]
    (after,) = function.cache_report()
    known = before[0] if before else None
    assert after.name == "tests.contract.caching.helper"
    if known is not None:  # workers of an earlier call may be there still
        assert after.hits + after.misses - known.hits - known.misses == 70
    assert after.misses == 7 + after.repeated
    assert after.processes >= 1
    assert str(function.cache_report()).startswith(f"{after.name}: {after.hits} hits")


def test_helpers_of_the_caller_s_process_are_reported_as_well() -> None:
    helper.cache_clear()
    function = parallel_map(calls_helper, backend="serial")
    function.map(range(14))
    assert function.cache_report() == (("tests.contract.caching.helper", 7, 7, 0, 1),)
    assert str(parallel_map(len).cache_report()).startswith("the function calls no function")
    helper.cache_clear()
