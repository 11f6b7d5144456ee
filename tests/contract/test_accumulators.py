"""Accumulators have the totals of the loop, whichever way the tasks run."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from manyhands import SharedStateError, TaskTimeoutError, parallel_map
from tests.contract import totals as these
from tests.contract.conftest import Way
from tests.contract.totals import Totals, add, add_and_fail, seen

ITEMS = list(range(40))


@pytest.fixture(autouse=True)
def _afresh() -> None:
    for totals in (
        these.module_totals,
        these.second,
        these.given.state.totals,
        these.given_above.state.totals,
        these.stream.state.totals,
    ):
        totals.reset()


def loop(items: list[int], function: Any = add) -> dict[str, Any]:
    """What a loop adds up."""
    totals = Totals()
    for item in items:
        parallel_map(function, backend="serial").map([item], [totals])
    return seen(totals)


class TestTheTotals:
    def test_are_those_of_plain_objects(self) -> None:
        found = loop(ITEMS)
        assert found["whole"] == sum(ITEMS) - len(ITEMS)
        assert found["items"] == [y for x in ITEMS for y in (x, x, x, -x)]
        assert found["kinds"] == set(ITEMS)
        assert dict(found["words"])["hands"] == 40
        assert dict(found["words"])["light"] == 80
        assert dict(found["words"])["work"] == -40
        assert found["best"] == 10
        assert found["deep"] == [set(ITEMS)]
        assert found["bins"] == [8 + sum(ITEMS)] * 5

    @pytest.mark.parametrize("chunksize", [None, 1, 7, 100])
    def test_are_those_of_the_loop_to_the_last_bit(self, any_way: Way, chunksize: int | None) -> None:
        totals = Totals()
        assert any_way(add, chunksize=chunksize).map(ITEMS, [totals] * 40) == ITEMS
        assert seen(totals) == loop(ITEMS)

    def test_grow_from_call_to_call(self, way: Way) -> None:
        totals = Totals()
        for _ in range(3):
            way(add).map(ITEMS[:5], [totals] * 5)
        assert seen(totals) == loop(ITEMS[:5] * 3)

    def test_of_a_handle_in_a_constant(self, way: Way) -> None:
        totals = Totals()
        way(add).map(ITEMS, totals=totals)
        assert seen(totals) == loop(ITEMS)

    def test_of_a_handle_in_a_closure(self, way: Way) -> None:
        totals = Totals()
        way(lambda x: add(x, totals)).map(ITEMS)
        assert seen(totals) == loop(ITEMS)

    def test_of_a_handle_in_a_module(self, way: Way) -> None:
        way(these.add_to_globals).map(ITEMS)
        assert seen(these.module_totals) == loop(ITEMS)
        assert these.second.whole == 40

    def test_of_a_single_call(self, way: Way) -> None:
        totals = Totals()
        for x in ITEMS[:5]:
            assert way(add).submit(x, totals).result() == x
        assert seen(totals) == loop(ITEMS[:5])

    def test_of_two_states_of_a_class_are_apart(self, way: Way) -> None:
        one, two = Totals(), Totals()
        way(add).map([1, 2], [one, two])
        assert seen(one) == loop([1])
        assert seen(two) == loop([2])

    def test_of_a_class_that_is_made_inside_a_function(self, way: Way) -> None:
        from manyhands import accumulator, shared_state

        @shared_state
        class Inner:
            n: int = accumulator(int)
            names: list[str] = accumulator(list)

        inner = Inner()

        def count(x: int) -> None:
            inner.n += x
            inner.names.append(str(x))

        way(count).map([1, 2, 3])
        assert (inner.n, inner.names) == (6, ["1", "2", "3"])


class TestWhatIsThrownAway:
    def test_of_a_failing_item_and_of_those_after_it(self, way: Way) -> None:
        totals = Totals()
        with pytest.raises(ValueError, match="9"):
            way(add_and_fail, chunksize=4).map(ITEMS, [totals] * 40)
        assert seen(totals) == loop(list(range(9)))

    @pytest.mark.parametrize("on_error", ["collect", "skip"])
    def test_of_failing_items_alone_where_failures_are_no_end(self, way: Way, on_error: str) -> None:
        totals = Totals()
        way(add_and_fail, on_error=on_error).map(ITEMS, [totals] * 40)
        assert seen(totals) == loop([x for x in ITEMS if x % 10 != 9])

    def test_of_attempts_that_were_not_the_last(self, way: Way) -> None:
        totals = Totals()
        function = way(add_and_fail, on_error="skip", retries=2, backoff=0.001)
        function.map(ITEMS, [totals] * 40)
        assert seen(totals) == loop([x for x in ITEMS if x % 10 != 9])

    def test_of_a_failing_single_call(self, way: Way) -> None:
        totals = Totals()
        assert isinstance(way(add_and_fail).submit(9, totals).exception(), ValueError)
        assert totals.whole == 0

    def test_of_calls_inside_a_task_that_fails(self, way: Way) -> None:
        totals = Totals()
        way(these.nest, on_error="skip").map(ITEMS, [totals] * 40)
        assert seen(totals) == loop([y for x in ITEMS if x % 3 != 2 for y in (x, x + 1)])

    def test_of_a_task_that_is_only_checked(self, way: Way) -> None:
        totals = Totals()
        assert way(add).options(max_workers=1).check([1, 2], [totals] * 2)
        assert totals.whole == 0


class TestLazily:
    def test_what_was_handed_over_is_committed_and_no_more(self, way: Way) -> None:
        totals = Totals()
        results = way(add, chunksize=1).imap(ITEMS, [totals] * 40)
        for _ in range(5):
            next(results)
        results.close()
        assert totals.items[::4] == ITEMS[: len(totals.items) // 4]
        assert 5 <= len(totals.items) // 4 <= 40

    def test_in_order_of_the_input_where_results_come_as_they_are_done(self, way: Way) -> None:
        totals = Totals()
        assert sorted(way(add, chunksize=3).imap_unordered(ITEMS, [totals] * 40)) == ITEMS
        assert seen(totals) == loop(ITEMS)


class TestFunctionsThatAreGivenStates:
    def test_in_either_order_of_the_decorators(self, way: Way) -> None:
        for function in (these.given, these.given_above):
            function.options(**way.options).map(ITEMS)
            assert function.state.totals.whole == sum(ITEMS)

    def test_when_called_and_when_submitted(self, way: Way) -> None:
        assert these.given(3) == 3
        assert these.given.options(**way.options).submit(4).result() == 4
        assert these.given.state.totals.whole == 7

    def test_as_methods(self, way: Way) -> None:
        for function in (these.Methods().method, these.Methods.static):
            function.state.totals.reset()
            function.options(**way.options).map(ITEMS)
            assert function.state.totals.whole == sum(ITEMS)

    def test_another_state_may_be_given_in_a_call(self, way: Way) -> None:
        other = Totals()
        these.given.options(**way.options).map(ITEMS, totals=other)
        assert (other.whole, these.given.state.totals.whole) == (sum(ITEMS), 0)

    def test_an_instance(self) -> None:
        these.given_an_instance(3)
        assert these.module_totals.whole == 3
        assert these.given_an_instance.state.totals is these.module_totals

    def test_streams(self) -> None:
        assert list(these.stream(5)) == [0, 1, 2, 3, 4]
        assert these.stream.state.totals.items == [0, 1, 2, 3, 4]


class TestHandles:
    def test_a_state_of_the_task_itself_is_its_own(self, way: Way) -> None:
        assert way(these.make_one).map([3, 4]) == [1, 3]

    def test_a_copy_is_the_same_state(self) -> None:
        totals = Totals()
        for same in (pickle.loads(pickle.dumps(totals)), copy.copy(totals), copy.deepcopy(totals)):
            assert same is totals

    def test_in_the_caller_it_is_read_and_set_as_any_attribute(self) -> None:
        totals = Totals()
        totals.whole += 3
        totals.words["a"] += 1
        totals.real = 6
        assert (totals.whole, totals.words["a"], totals.mean) == (3, 1, 2.0)
        totals.reset()
        assert (totals.whole, dict(totals.words)) == (0, {})


def test_what_a_task_may_not_do_is_refused(backend_way: Way) -> None:
    for how in these.REFUSED:
        if how == "return" and not backend_way.processes:  # nothing is sent
            continue
        totals = Totals()
        with pytest.raises((SharedStateError, TypeError)) as caught:
            backend_way(these.read).map([1, 2], [totals] * 2, [how] * 2)
            pytest.fail(f"{how} is not refused")
        assert "Totals" in str(caught.value), how


def test_a_task_that_is_ended_has_added_nothing(process_way: Way) -> None:
    totals = Totals()

    def add_and_hang(x: int) -> int:
        add(x, totals)
        while x == 3:
            pass
        return x

    with pytest.raises(TaskTimeoutError):
        process_way(add_and_hang, timeout=0.3, chunksize=2).map(ITEMS)
    assert seen(totals) == loop([0, 1, 2])
