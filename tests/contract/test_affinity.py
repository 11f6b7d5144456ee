"""``affinity``: whatever it says, a call gives what the loop gives. On every backend and start method."""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import Failure, TaskTimeoutError, WorkerCrashedError, parallel_map
from tests.contract import functions
from tests.contract.conftest import ISOLATED, PROCESSES, Way
from tests.properties.functions import examples


def third(x: int) -> int:
    return x % 3


#: Ways to say it, for functions of one argument.
KEYS: dict[str, Any] = {"args": "args", "function": third, "one key": lambda _: None}


@pytest.fixture(params=KEYS)
def affinity(request: pytest.FixtureRequest) -> Any:
    return KEYS[request.param]


def test_map_gives_what_the_loop_gives(any_way: Way, affinity: Any) -> None:
    function = any_way(functions.triple, affinity=affinity)
    items = [i % 11 for i in range(300)]
    for _ in range(2):
        assert function.map(items) == [3 * item for item in items]


def test_so_do_its_kin(any_way: Way) -> None:
    function = any_way(functions.three, affinity=lambda x, y: (x + y) % 2)
    pairs = [(i, i % 5) for i in range(100)]
    expected = [functions.three(*pair, plus=7) for pair in pairs]
    assert function.starmap(pairs, plus=7) == expected
    assert function.map(*zip(*pairs, strict=True), plus=7) == expected
    assert list(function.imap(*zip(*pairs, strict=True), plus=7)) == expected
    assert sorted(function.imap_unordered(*zip(*pairs, strict=True), plus=7)) == sorted(expected)
    assert asyncio.run(function.amap(*zip(*pairs, strict=True), plus=7)) == expected
    futures = [function.submit(*pair) for pair in pairs]
    assert [future.result() for future in futures] == [functions.three(*pair) for pair in pairs]


def test_a_read_ahead_of_one_is_kept(backend_way: Way) -> None:
    read: list[int] = []

    def items() -> Any:
        for i in range(30):
            read.append(i)
            yield i

    for place, value in enumerate(backend_way(functions.triple, affinity=third, buffersize=1).imap(items())):
        assert value == 3 * place
        assert len(read) <= place + 2


def reciprocal(x: int) -> float:
    return 1 / x


def test_the_first_failure_in_the_order_of_the_input_is_raised(any_way: Way) -> None:
    items = [*range(1, 40), 0, *range(1, 40), 0]
    with pytest.raises(ZeroDivisionError) as caught:
        any_way(reciprocal, affinity=third).map(items)
    assert any("item 39" in note for note in caught.value.__notes__)


def test_failures_stand_where_their_items_stood(backend_way: Way) -> None:
    items = [i % 7 for i in range(100)]
    results = backend_way(reciprocal, affinity=third, on_error="collect").map(items)
    assert [place for place, result in enumerate(results) if isinstance(result, Failure)] == [
        *range(0, 100, 7)
    ]
    assert all(
        failure.index == place for place, failure in enumerate(results) if isinstance(failure, Failure)
    )
    assert results.values == [1 / item for item in items if item]


def fails_once(item: tuple[str, int]) -> int:
    folder, x = item
    path = Path(folder) / str(x)
    if x % 5 == 0 and not path.exists():
        path.touch()
        raise ConnectionError(x)
    return x


def test_retries_end_where_their_items_stood(backend_way: Way, tmp_path: Path) -> None:
    items = [(str(tmp_path), x) for x in range(60)]
    function = backend_way(fails_once, affinity=lambda item: item[1] % 2, retries=1, backoff=0)
    assert function.map(items) == list(range(60))


def draw(x: int) -> tuple[int, float]:
    return x, random.random()


def test_random_streams_are_those_of_the_items(process_way: Way) -> None:
    items = [i % 4 for i in range(60)]
    expected = parallel_map(draw, seed=5, backend="serial").map(items)
    assert process_way(draw, affinity=third, seed=5).map(items) == expected


def test_a_function_with_a_cache_keeps_its_figures(backend_way: Way) -> None:
    function = backend_way(functools.lru_cache(maxsize=8)(functions.triple), affinity="args")
    loop = functools.lru_cache(maxsize=8)(functions.triple)
    items = [i * i % 13 for i in range(100)]
    assert function.map(items) == [loop(item) for item in items]
    assert function.cache_info() == loop.cache_info()


def test_a_checkpoint_runs_what_is_missing(backend_way: Way, tmp_path: Path) -> None:
    function = backend_way(functions.triple, affinity=third, checkpoint=tmp_path / "run.db")
    assert function.map(range(20)) == [3 * x for x in range(20)]
    assert function.map(range(40)) == [3 * x for x in range(40)]


def end_process(x: int) -> int:
    if x == 17:
        os._exit(3)
    return x


def hang(x: int) -> int:
    while x == 17:
        pass
    return x


@pytest.mark.parametrize(("function", "error"), [(end_process, WorkerCrashedError), (hang, TaskTimeoutError)])
def test_what_ends_a_worker_costs_its_own_item(
    process_way: Way, function: Callable[[int], int], error: type[Exception]
) -> None:
    results = process_way(function, affinity=third, on_error="collect", timeout=0.2 if function is hang else None).map(
        range(40)
    )  # fmt: skip
    assert results.values == [x for x in range(40) if x != 17]
    assert [(failure.index, type(failure.exception)) for failure in results.errors] == [(17, error)]


def test_workers_that_are_replaced_all_the_time_do_it_as_well() -> None:
    function = parallel_map(functions.triple, max_workers=2, max_tasks_per_child=10, affinity=third)
    assert function.map(range(100)) == [3 * x for x in range(100)]


@parallel_map(**ISOLATED, affinity=lambda item: item[0])
def told(item: tuple[int, int, str]) -> int:
    _, index, path = item
    with open(path, "a") as file:
        file.write(f"{index}\n")
    return index


@examples(10)
@given(st.lists(st.integers(0, 5), max_size=200), st.sampled_from([None, 1, 7]))
def test_no_task_runs_twice(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], size: int | None
) -> None:
    path = str(tmp_path_factory.mktemp("told") / "ran")
    items = [(key, index, path) for index, key in enumerate(keys)]
    assert told.options(chunksize=size).map(items) == list(range(len(keys)))
    ran = Path(path).read_text().split() if keys else []
    assert sorted(map(int, ran)) == list(range(len(keys)))


class TestKeysThatAreNone:
    """Only where there are workers to choose from."""

    @pytest.fixture(params=PROCESSES[:1])
    def by_args(self, request: pytest.FixtureRequest) -> Any:
        return parallel_map(len, **ISOLATED, affinity="args")

    def test_arguments_that_cannot_be_hashed_are_refused_with_advice(self, by_args: Any) -> None:
        with pytest.raises(
            TypeError, match=r"takes the arguments for the key, and \(\[1\]\) cannot be hashed.*affinity=str"
        ):
            by_args.map([[1], [2]])

    def test_so_are_those_of_a_single_call(self, by_args: Any) -> None:
        with pytest.raises(TypeError, match="cannot be hashed") as caught:
            by_args.submit([1]).result()
        assert any("len([1])" in note for note in caught.value.__notes__)

    def test_it_is_the_failure_of_its_item_and_of_no_other(self, by_args: Any) -> None:
        results = by_args.options(on_error="collect").map(["one", [2], "three"])
        assert results.values == [3, 5]
        assert [(failure.index, type(failure.exception)) for failure in results.errors] == [(1, TypeError)]

    def test_a_lazy_call_gives_what_comes_before_it(self, by_args: Any) -> None:
        results = by_args.imap(["one", "two", [3]])
        assert [next(results), next(results)] == [3, 3]
        with pytest.raises(TypeError, match="cannot be hashed"):
            next(results)

    def test_what_the_function_raises_is_raised_and_says_so(self, by_args: Any) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            by_args.options(affinity=lambda _: 1 / 0).map(["a", "b"])
        assert "given as affinity, for ('a')" in caught.value.__notes__[0]

    def test_what_it_returns_must_be_a_key(self, by_args: Any) -> None:
        with pytest.raises(
            TypeError, match=r"a key that can be hashed, and for \('a'\) it has returned a list"
        ):
            by_args.options(affinity=list).map(["a", "b"])

    def test_where_there_are_no_workers_nobody_asks(self) -> None:
        for backend in ("serial", "threads"):
            function = parallel_map(len, backend=backend, max_workers=2, affinity=lambda _: 1 / 0)
            assert function.map([[1], [], [2, 3]]) == [1, 0, 2]
            assert function.submit([1]).result() == 1

    @pytest.mark.parametrize("item", [3, None, [1], iter([1])])
    def test_an_item_of_starmap_that_is_no_tuple_fails_or_works_as_in_the_loop(self, item: Any) -> None:
        function = parallel_map(functions.triple, **ISOLATED, affinity="args", on_error="collect")
        results = function.starmap([(1,), item, (2,)])
        if isinstance(item, int | None):
            assert [type(result) for result in results] == [int, Failure, int]
            assert type(results.errors[0].exception) is TypeError
        else:
            assert results == [3, 3, 6]
