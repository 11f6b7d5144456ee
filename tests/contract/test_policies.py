"""Error policies, callbacks, retries and deadlines: the same on every backend, under every start method."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import Collected, Failure, OptionsError, TaskTimeoutError, parallel_map
from tests.contract.policies import Flaky, count_up, reciprocal, wait_for_ever, wait_for_some
from tests.properties.functions import examples

if TYPE_CHECKING:
    from tests.contract.conftest import Way


NUMBERS = [4, 2, 0, 1, 0, 5]


class TestCollect:
    """``on_error="collect"``."""

    def test_everything_runs_and_failed_items_hold_a_failure(self, any_way: Way) -> None:
        results = any_way(reciprocal, on_error="collect").map(NUMBERS)
        assert isinstance(results, Collected)
        assert [entry for entry in results if not isinstance(entry, Failure)] == [0.25, 0.5, 1.0, 0.2]
        assert [place for place, entry in enumerate(results) if isinstance(entry, Failure)] == [2, 4]
        assert results.values == [0.25, 0.5, 1.0, 0.2]
        for failure, index in zip(results.errors, [2, 4], strict=True):
            assert (failure.index, failure.item, failure.attempts) == (index, 0, 1)
            assert type(failure.exception) is ZeroDivisionError
            assert "1 / number" in failure.traceback
            assert any(f"item {index}" in note for note in failure.exception.__notes__)

    def test_all_of_them_can_be_raised_together(self, any_way: Way) -> None:
        results = any_way(reciprocal, on_error="collect").map(NUMBERS)
        with pytest.raises(ExceptionGroup, match="2 of 6") as caught:
            results.raise_all()
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError] * 2

    def test_without_failures_there_is_nothing_to_raise(self, any_way: Way) -> None:
        results = any_way(reciprocal, on_error="collect").map([1, 2])
        assert results == [1.0, 0.5]
        assert results.errors == []
        results.raise_all()

    def test_several_arguments_are_the_item(self, any_way: Way) -> None:
        (failure,) = any_way(math.fmod, on_error="collect").starmap([(1.0, 0.0)]).errors
        assert failure.item == (1.0, 0.0)

    def test_what_a_task_ends_its_program_with_is_its_failure(self, any_way: Way) -> None:
        def leave(number: int) -> int:
            if number == 1:
                raise SystemExit(3)
            return number

        results = any_way(leave, on_error="collect").map(range(3))
        assert results.values == [0, 2]
        assert isinstance(results.errors[0].exception, SystemExit)

    def test_lazily_too(self, any_way: Way) -> None:
        kinds = [type(entry).__name__ for entry in any_way(reciprocal, on_error="collect").imap(NUMBERS)]
        assert kinds == ["float", "float", "Failure", "float", "Failure", "float"]

    def test_each_failure_is_an_exception_of_its_own(self, any_way: Way) -> None:
        errors = any_way(reciprocal, on_error="collect").map([0] * 5).errors
        assert len({id(failure.exception) for failure in errors}) == 5


class TestSkipAndReplace:
    """``on_error="skip"``, and a function."""

    def test_skipped_items_leave_no_gap(self, any_way: Way) -> None:
        assert any_way(reciprocal, on_error="skip").map(NUMBERS) == [0.25, 0.5, 1.0, 0.2]
        assert list(any_way(reciprocal, on_error="skip").imap(NUMBERS)) == [0.25, 0.5, 1.0, 0.2]
        assert any_way(reciprocal, on_error="skip").map([0, 0]) == []

    def test_a_function_says_what_to_put_in_the_place(self, any_way: Way) -> None:
        results = any_way(reciprocal, on_error=lambda failure: -failure.index).map(NUMBERS)
        assert results == [0.25, 0.5, -2, 1.0, -4, 0.2]

    def test_what_the_function_raises_is_raised(self, any_way: Way) -> None:
        def refuse(failure: Failure) -> None:
            raise LookupError(failure.index) from failure.exception

        with pytest.raises(LookupError) as caught:
            any_way(reciprocal, on_error=refuse).map(NUMBERS)
        assert caught.value.args == (2,)
        assert type(caught.value.__cause__) is ZeroDivisionError


class TestCallbacks:
    """``on_result`` and ``on_error_callback``."""

    def test_each_item_is_told_once(self, any_way: Way) -> None:
        results: list[float] = []
        failures: list[Failure] = []
        any_way(reciprocal, on_error="skip", on_result=results.append, on_error_callback=failures.append).map(
            NUMBERS
        )
        assert sorted(results) == [0.2, 0.25, 0.5, 1.0]
        assert sorted(failure.index for failure in failures) == [2, 4]

    def test_one_that_raises_is_reported_and_stops_nothing(
        self, any_way: Way, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(result: float) -> None:
            raise LookupError("no room")

        with caplog.at_level(logging.ERROR, logger="manyhands"):
            assert any_way(reciprocal, on_result=refuse).map([1, 2]) == [1.0, 0.5]
        assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["no room"] * 2

    def test_a_failure_that_is_raised_is_told_too(self, any_way: Way) -> None:
        failures: list[Failure] = []
        with pytest.raises(ZeroDivisionError):
            any_way(reciprocal, on_error_callback=failures.append).map([0])
        assert [failure.index for failure in failures] == [0]


class TestRetries:
    """``retries``."""

    @pytest.mark.parametrize(("retries", "works"), [(1, False), (2, True), (5, True)])
    def test_a_task_is_tried_so_many_times_more(
        self, any_way: Way, tmp_path: Path, retries: int, works: bool
    ) -> None:
        paths = [str(tmp_path / name) for name in "abc"]
        function = any_way(count_up, retries=retries, backoff=0, on_error="collect")
        results = function.map(paths, number=3)
        if works:
            assert results == [3, 3, 3]
        else:
            assert [failure.attempts for failure in results.errors] == [2, 2, 2]
        for path in paths:
            assert len(Path(path).read_text()) == (3 if works else 2)

    def test_only_for_the_exceptions_that_are_worth_it(self, any_way: Way, tmp_path: Path) -> None:
        path = str(tmp_path / "calls")
        with pytest.raises(ConnectionError):
            any_way(count_up, retries=3, backoff=0, retry_on=LookupError).map([path], number=3)
        assert Path(path).read_text() == "x"

    def test_without_them_nothing_runs_twice(self, any_way: Way, tmp_path: Path) -> None:
        paths = [str(tmp_path / str(number)) for number in range(20)]
        results = any_way(count_up, on_error="collect").map(paths, number=2)
        assert len(results.errors) == 20
        assert all(Path(path).read_text() == "x" for path in paths)

    def test_the_exception_says_how_often(self, any_way: Way, tmp_path: Path) -> None:
        with pytest.raises(ConnectionError) as caught:
            any_way(count_up, retries=1, backoff=0).map([str(tmp_path / "calls")], number=9)
        assert "manyhands: tried 2 times" in caught.value.__notes__


@examples(60)
@given(
    st.lists(st.integers(-2, 2), max_size=30),
    st.sampled_from(["collect", "skip", "replace"]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from(["serial", "threads", "processes"]),
)
def test_every_policy_gives_what_the_loop_would(
    numbers: list[int], policy: str, chunksize: int | None, backend: str
) -> None:
    expected: list[Any] = []
    for index, number in enumerate(numbers):
        try:
            expected.append(1 / number)
        except ZeroDivisionError:
            if policy != "skip":
                expected.append(("failed", index))
    function = parallel_map(
        reciprocal,
        max_workers=2,
        backend=backend,
        chunksize=chunksize,
        on_error=policy if policy != "replace" else lambda failure: ("failed", failure.index),
    )
    results = [
        ("failed", entry.index) if isinstance(entry, Failure) else entry for entry in function.map(numbers)
    ]
    assert results == expected
    lazily = function.imap(numbers)
    assert [("failed", entry.index) if isinstance(entry, Failure) else entry for entry in lazily] == expected


class TestDeadline:
    """``deadline``."""

    def test_a_call_that_takes_too_long_is_ended(self, process_way: Way) -> None:
        with pytest.raises(TaskTimeoutError, match=r"deadline of 0\.2 s") as caught:
            process_way(wait_for_ever, deadline=0.2).map(range(4))
        assert caught.value.limit == 0.2
        assert isinstance(caught.value, TimeoutError)

    def test_what_was_done_is_kept_and_the_rest_has_failed(self, process_way: Way) -> None:
        function = process_way(wait_for_some, on_error="collect", chunksize=1)
        function.map([0, 0])  # the workers are there
        results = function.options(deadline=1.5).map([0, 0, 1, 0, 1, 0, 0, 0])
        assert len(results) == 8
        assert results[:2] == [0, 0]
        assert {failure.item for failure in results.errors} >= {1}
        assert all(isinstance(failure.exception, TaskTimeoutError) for failure in results.errors)
        assert [failure.index for failure in results.errors] == [
            place for place, entry in enumerate(results) if isinstance(entry, Failure)
        ]

    def test_a_call_that_is_quick_enough_does_not_notice(self, any_way: Way) -> None:
        assert any_way(reciprocal, deadline=60).map([1, 2, 4]) == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("option", [{"timeout": 1}, {"memory_limit": "1 GB"}, {"max_tasks_per_child": 1}])
def test_what_threads_cannot_do_is_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=next(iter(option))):
        parallel_map(reciprocal, backend="threads", **option).map([1, 2])


@pytest.mark.parametrize("buffersize", [1, 5, None])
def test_items_that_are_tried_again_are_the_same_and_find_their_place(
    backend_way: Way, tmp_path: Path, buffersize: int | None
) -> None:
    """Also when the results of those after them have filled the buffer, and when the rest of their chunk is still out."""
    numbers = range(100, 140)
    function = backend_way(
        Flaky(tmp_path, (100, 103, 120)), retries=1, backoff=0.001, buffersize=buffersize, chunksize=4
    )
    assert list(function.imap(numbers)) == list(numbers)


def test_a_deadline_is_not_waited_out_when_an_iterator_turns_out_to_be_empty(backend_way: Way) -> None:
    function = backend_way(float, deadline=3600, buffersize=1)
    assert list(function.imap(iter(range(5)))) == [0, 1, 2, 3, 4]
