"""``map``, ``starmap``, ``imap``, ``imap_unordered``, ``submit`` and ``amap``: what comes back, in every way."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed, wait
from itertools import islice
from typing import Any

import pytest

from manyhands import LostUpdateWarning, parallel_map
from tests.contract import functions
from tests.contract.conftest import Way


def amap(function: Any, *iterables: Any, **constants: Any) -> list[Any]:
    async def main() -> list[Any]:
        return await function.amap(*iterables, **constants)

    return asyncio.run(main())


def listed(results: Iterable[Any]) -> list[Any]:
    return list(results)


#: Each way to get all results in order.
ORDERED: dict[str, Callable[..., list[Any]]] = {
    "map": lambda function, *iterables, **constants: function.map(*iterables, **constants),
    "imap": lambda function, *iterables, **constants: listed(function.imap(*iterables, **constants)),
    "amap": amap,
}


def iterables_of(items: list[Any]) -> dict[str, Callable[[], Iterable[Any]]]:
    """The same items as iterables of each kind."""

    class Indexed:
        """Iterable by the old protocol: ``__getitem__`` until IndexError."""

        def __getitem__(self, index: int) -> Any:
            return items[index]

    class Sized(list[Any]):
        """A list of a kind of its own."""

    return {
        "list": lambda: items,
        "tuple": lambda: tuple(items),
        "generator": lambda: (item for item in items),
        "iterator": lambda: iter(items),
        "deque": lambda: deque(items),
        "dict": lambda: dict.fromkeys(items),
        "sequence by index": Indexed,
        "subclass of list": lambda: Sized(items),
    }


class TestResults:
    def test_results_are_a_new_list_in_input_order(self, any_way: Way) -> None:
        items = list(range(40))
        result = any_way(functions.slowly).map(items)
        assert type(result) is list
        assert result == [x * x for x in items]
        assert items == list(range(40))

    def test_every_kind_of_iterable_is_taken(self, any_way: Way) -> None:
        items = list(range(25))
        function = any_way(functions.triple)
        found = {kind: function.map(make()) for kind, make in iterables_of(items).items()}
        assert found == {kind: [3 * x for x in items] for kind in found}
        assert listed(function.imap(item for item in items)) == amap(function, iter(items)) == found["list"]

    @pytest.mark.parametrize("method", ORDERED)
    def test_no_item_one_item_and_the_shortest_iterable(self, backend_way: Way, method: str) -> None:
        results = ORDERED[method]
        one, three = backend_way(functions.triple), backend_way(functions.three)
        assert results(one, []) == results(one, iter([])) == results(three, [], [1, 2]) == []
        assert results(one, [5]) == results(one, iter([5])) == [15]
        assert results(three, [1, 2, 3], [4, 5]) == [(1, 4, 0), (2, 5, 0)]
        assert results(three, iter([1, 2]), range(4, 100), iter("abc"), plus="") == [(1, 4, "a"), (2, 5, "b")]

    def test_no_item_and_one_item_for_the_others(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)
        assert function.starmap([]) == listed(function.imap_unordered([])) == []
        assert function.starmap([(5,)]) == listed(function.imap_unordered([5])) == [15]

    def test_what_follows_the_shortest_is_read_as_far_as_zip_reads_it(self, backend_way: Way) -> None:
        ours, theirs = iter(range(10)), iter(range(10))
        backend_way(functions.three).map(ours, [1, 2])
        list(zip(theirs, [1, 2], strict=False))
        assert next(ours) == next(theirs)

    def test_none_is_a_result(self, backend_way: Way) -> None:
        function = backend_way(lambda _: None)
        assert function.map(range(5)) == listed(function.imap(range(5))) == [None] * 5

    def test_exceptions_can_be_results(self, any_way: Way) -> None:
        found = any_way(ValueError).map([1, 2])
        assert [(type(each), each.args) for each in found] == [(ValueError, (1,)), (ValueError, (2,))]

    def test_items_may_be_large(self, way: Way) -> None:
        items = [bytes([n]) * 300_000 for n in range(8)]
        assert way(lambda item: item + b".").map(items) == [item + b"." for item in items]

    def test_starmap_takes_any_iterable_of_arguments(self, backend_way: Way) -> None:
        items = [(1, 2), [3, 4], iter((5, 6)), range(7, 9)]
        assert backend_way(functions.three).starmap(items) == [(1, 2, 0), (3, 4, 0), (5, 6, 0), (7, 8, 0)]

    def test_unordered_results_are_the_same_ones(self, backend_way: Way) -> None:
        found = listed(backend_way(functions.slowly).imap_unordered(range(60)))
        assert Counter(found) == Counter(x * x for x in range(60))

    def test_a_chunk_size_changes_nothing(self, backend_way: Way) -> None:
        for chunksize in (1, 3, 7, 1000):
            assert backend_way(functions.triple, chunksize=chunksize).map(range(20)) == [
                3 * x for x in range(20)
            ]

    def test_two_calls_of_one_function_may_be_interleaved(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)
        first, second = function.imap(range(50)), function.imap(range(50, 100))
        pairs = list(zip(first, second, strict=True))
        assert pairs == [(3 * x, 3 * (x + 50)) for x in range(50)]

    def test_the_result_of_one_call_can_be_the_input_of_another(self, backend_way: Way) -> None:
        double, triple = backend_way(lambda x: 2 * x), backend_way(functions.triple)
        assert triple.map(double.imap(range(30))) == [6 * x for x in range(30)]


class TestWhere:
    """The ways do run tasks where they say: else the other tests would prove nothing of them."""

    def test_tasks_run_where_the_way_says(self, way: Way) -> None:
        here = functions.where(None)
        places = set(way(lambda x: functions.where(functions.slowly(x))).map(range(20)))
        if way.here:
            assert places == {here}
        elif way.processes:
            assert {pid for pid, _ in places}.isdisjoint({here[0]})
        else:
            assert {pid for pid, _ in places} == {here[0]}
            assert here not in places

    def test_tasks_that_become_dear_after_thousands_of_cheap_ones_reach_the_workers(self) -> None:
        """When they were cheap, all of them seemed to be one short batch for the caller."""
        places = parallel_map(functions.dear_from, max_workers=2).map(range(3_100), first=3_000)
        assert len(places) == 3_100
        assert len(set(places[:1_000])) == 1
        assert len(set(places)) > 1

    def test_an_error_in_a_batch_that_was_stopped_names_its_item(self) -> None:
        with pytest.raises(KeyError) as caught:
            parallel_map(functions.dear_from, max_workers=2).map(range(3_100), first=3_000, bad=3_000)
        assert "item 3000" in caught.value.__notes__[0]

    def test_processes_get_copies_and_threads_the_objects_themselves(self, way: Way) -> None:
        items = [[x] for x in range(10)]
        found = way(lambda item: item).map(items)
        assert found == items
        same = [one is other for one, other in zip(items, found, strict=True)]
        assert same == [not way.processes] * 10

    def test_one_object_given_twice_stays_two_arguments(self, process_way: Way) -> None:
        shared = [0]

        def grow(item: list[int]) -> int:
            item.append(1)
            return len(item)

        with pytest.warns(LostUpdateWarning, match="grow changes an argument in place"):
            assert process_way(grow, chunksize=4).map([shared] * 4) == [2, 2, 2, 2]
        assert shared == [0]


class TestInitializer:
    def test_it_runs_once_before_the_tasks_of_each_worker(self, way: Way) -> None:
        if way.here:
            pytest.skip("the serial backend is the caller")
        options = {"initializer": functions.prepare, "initargs": ("model", [1, 2])}
        found = way(lambda _: functions.prepared("model"), **options).map(range(20))
        assert found == [([1, 2], 1)] * 20

    def test_its_failure_is_the_error_of_the_call(self, way: Way) -> None:
        from manyhands import InitializerError

        function = way(functions.triple, initializer=functions.refuse_to_start)
        with pytest.raises(LookupError if way.here else InitializerError, match="no model") as caught:
            function.map(range(5))
        assert way.here or isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(LookupError if way.here else InitializerError, match="no model"):
            function.map(range(5))

    def test_a_worker_lives_for_so_many_tasks(self, process_way: Way) -> None:
        function = process_way(functions.where, max_tasks_per_child=2)
        pids = Counter(pid for pid, _ in function.map(range(6)))
        assert sum(pids.values()) == 6
        assert max(pids.values()) <= 2


class TestSubmit:
    def test_a_future_of_the_result(self, backend_way: Way) -> None:
        future = backend_way(functions.three).submit(1, 2, plus=3)
        assert isinstance(future, Future)
        assert future.result(60) == (1, 2, 3)

    def test_a_future_of_the_exception(self, backend_way: Way) -> None:
        error = backend_way(functions.fail_at).submit(3, bad=(3,)).exception(60)
        assert type(error) is KeyError
        assert error.args == (3, "bad item")

    def test_many_at_once(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)
        futures = {function.submit(x): x for x in range(100)}
        assert {futures[future]: future.result() for future in as_completed(futures)} == {
            x: 3 * x for x in range(100)
        }

    def test_the_standard_wait_and_asyncio_take_them(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)
        done, pending = wait([function.submit(x) for x in range(3)], 60)
        assert (len(done), len(pending)) == (3, 0)

        async def main() -> Any:
            return await asyncio.gather(*(asyncio.wrap_future(function.submit(x)) for x in range(3)))

        assert asyncio.run(main()) == [0, 3, 6]

    def test_a_callback_may_submit(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)
        second: Future[Future[Any]] = Future()
        function.submit(1).add_done_callback(
            lambda future: second.set_result(function.submit(future.result()))
        )
        assert second.result(60).result(60) == 9

    def test_what_cannot_be_sent_is_the_exception_of_the_future(self, process_way: Way) -> None:
        future = process_way(functions.triple).submit(x for x in "abc")
        with pytest.raises(TypeError, match=r"args\[0\].*generator"):
            future.result(60)


class TestAmap:
    def test_the_event_loop_goes_on_meanwhile(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)

        async def main() -> tuple[list[int], int]:
            turns = 0
            source_may_end = asyncio.Event()
            loop = asyncio.get_running_loop()

            def source() -> Iterator[int]:
                """Ends only when the loop has run other things, which it could not if it were held up."""
                yield from range(10)
                asyncio.run_coroutine_threadsafe(source_may_end.wait(), loop).result(60)

            async def other() -> None:
                nonlocal turns
                for _ in range(20):
                    await asyncio.sleep(0)
                    turns += 1
                source_may_end.set()

            found, _ = await asyncio.gather(function.amap(source()), other())
            return found, turns

        assert asyncio.run(main()) == ([3 * x for x in range(10)], 20)

    def test_several_at_once(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)

        async def main() -> list[list[int]]:
            return await asyncio.gather(*(function.amap(range(n)) for n in range(5)))

        assert asyncio.run(main()) == [[3 * x for x in range(n)] for n in range(5)]

    def test_cancelling_stops_an_endless_call(self, backend_way: Way) -> None:
        function = backend_way(functions.triple)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            begun = asyncio.Event()

            def source() -> Iterator[int]:
                x = 0
                while True:
                    yield x
                    x += 1
                    if x == 50:
                        loop.call_soon_threadsafe(begun.set)

            task = asyncio.ensure_future(function.amap(source()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())

    def test_exceptions_are_those_of_map(self, backend_way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            amap(backend_way(functions.fail_at), range(20), bad=(7, 3))
        assert caught.value.args == (3, "bad item")


class TestNested:
    """A call inside a task runs in that task's worker, neither waiting for itself nor starting processes."""

    def test_a_map_in_a_task(self, any_way: Way) -> None:
        found = any_way(functions.outer).map([3, 4, 5])
        assert [[x for x, _, _ in inner] for _, inner in found] == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]

    def test_the_inner_tasks_run_where_the_outer_one_runs(self, process_way: Way) -> None:
        for place, inner in process_way(functions.outer).map([20, 30]):
            assert {(pid, thread) for _, pid, thread in inner} == {place}

    def test_three_levels(self, process_way: Way) -> None:
        found = process_way(functions.outermost).map([2, 3])
        places = [{(pid, thread) for _, inner in outers for _, pid, thread in inner} for outers in found]
        assert all(len(place) == 1 for place in places)

    def test_a_submit_in_a_task(self, any_way: Way) -> None:
        for place, (x, *where) in any_way(functions.outer_submits).map([1, 2, 3]):
            assert x in {1, 2, 3}
            assert not any_way.processes or tuple(where) == place

    def test_threads_in_threads(self) -> None:
        found = functions.outer_in_threads.map([30] * 6)
        assert found == [[x + 1 for x in range(30)]] * 6

    def test_processes_in_threads_in_processes(self, process_way: Way) -> None:
        found = process_way(lambda n: functions.outer_in_threads.map([n, n])).map([5, 6])
        assert found == [[[1, 2, 3, 4, 5]] * 2, [[1, 2, 3, 4, 5, 6]] * 2]


def test_a_source_may_use_the_function_it_feeds(backend_way: Way) -> None:
    function = backend_way(functions.triple)

    def source() -> Iterator[int]:
        for x in range(10):
            yield function.map([x, x + 1])[1]

    assert function.map(source()) == [9 * (x + 1) for x in range(10)]


def test_calls_from_many_threads_at_once(backend_way: Way) -> None:
    import threading

    function = backend_way(functions.triple)
    found: dict[int, list[int]] = {}

    def call(n: int) -> None:
        found[n] = function.map(range(n, n + 30))

    callers = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {n: [3 * x for x in range(n, n + 30)] for n in range(8)}


def test_a_decorated_function_of_a_module_is_found_there_by_workers(process_way: Way) -> None:
    function = functions.decorated.options(**process_way.options)
    assert function.map(range(5), plus=1) == [1, 2, 5, 10, 17]


def test_first_results_come_before_the_input_ends() -> None:
    """However the items are distributed, an ordered iterator gives the first results of an input that never ends."""
    from itertools import count

    assert list(islice(parallel_map(functions.triple, max_workers=2).imap(count()), 5)) == [0, 3, 6, 9, 12]


class Heavy:
    """An item whose instances are counted while they live."""

    alive = 0
    most = 0

    def __init__(self) -> None:
        Heavy.alive += 1
        Heavy.most = max(Heavy.most, Heavy.alive)
        self.load = bytes(1 << 20)

    def __del__(self) -> None:
        Heavy.alive -= 1


class TestReadAhead:
    def test_items_are_let_go_of_when_they_are_done(self) -> None:
        """Large ones most of all: no more of them are held than what the workers have in hand."""
        Heavy.alive = Heavy.most = 0
        function = parallel_map(functions.nothing_of, max_workers=2, initializer=functions.nothing)
        for _ in function.imap(Heavy() for _ in range(300)):
            pass
        assert Heavy.most < 100

    def test_a_range_longer_than_any_memory_is_an_input_like_any(self, way: Way) -> None:
        results = way(functions.triple).imap(range(10**30))
        assert [next(results) for _ in range(3)] == [0, 3, 6]
        results.close()

    def test_a_length_that_cannot_be_told_does_not_matter(self, way: Way) -> None:
        class Odd(list[int]):
            def __len__(self) -> int:
                raise NotImplementedError

        assert way(functions.triple).map(Odd([1, 2])) == [3, 6]
