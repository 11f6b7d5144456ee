"""Which exception a call raises, and what it says: the one of the first failing item in input order, in every way."""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import pytest

from manyhands import RemoteTraceback, parallel_map
from tests.contract import functions
from tests.contract.conftest import Way
from tests.contract.failing import (
    RefusedError,
    cached_wait_or_fail,
    raise_it,
    refuse,
    slow_first,
    wait_or_fail,
)


def collect(results: Iterable[Any], found: list[Any]) -> None:
    """Put results into a list, those before an exception too."""
    for result in results:
        found.append(result)


class TestWhichOne:
    def test_the_first_failing_item_counts_not_the_quickest(self, any_way: Way) -> None:
        """The later items fail sooner; with chunks of one they are all under way at once."""
        function = any_way(functions.fail_at, chunksize=1)
        for _ in range(3):
            with pytest.raises(KeyError) as caught:
                function.map(range(12), bad=(2, 3, 4, 5, 11))
            assert caught.value.args == (2, "bad item")

    def test_wherever_it_is(self, backend_way: Way) -> None:
        for bad in (0, 5, 29):
            with pytest.raises(KeyError) as caught:
                backend_way(functions.fail_at).map(range(30), bad=(bad,))
            assert caught.value.args == (bad, "bad item")

    def test_imap_yields_what_comes_before_it(self, backend_way: Way) -> None:
        results = backend_way(functions.fail_at).imap(range(30), bad=(17, 20))
        found: list[Any] = []
        with pytest.raises(KeyError) as caught:
            collect(results, found)
        assert found == list(range(17))
        assert caught.value.args == (17, "bad item")
        assert list(results) == []

    def test_unordered_results_end_with_some_failure(self, backend_way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            list(backend_way(functions.fail_at).imap_unordered(range(30), bad=(17, 20)))
        assert caught.value.args[0] in {17, 20}

    def test_a_failure_in_an_endless_input_ends_the_call(self, backend_way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            backend_way(functions.fail_at).map(count(), bad=(100,))
        assert caught.value.args == (100, "bad item")

    def test_the_function_works_on_after_a_failure(self, any_way: Way) -> None:
        function = any_way(functions.fail_at)
        with pytest.raises(KeyError):
            function.map(range(10), bad=(3,))
        assert function.map(range(10)) == list(range(10))


#: Exceptions that have a meaning of their own to the machinery that a call runs through.
TREACHEROUS = [
    StopIteration("a value"),
    StopAsyncIteration("a value"),
    GeneratorExit("enough"),
    SystemExit(3),
    EOFError("end"),
    BrokenPipeError(32, "pipe"),
    TimeoutError("late"),
    IndexError("index"),
    RecursionError("deep"),
    MemoryError("much"),
    AssertionError("never"),
    OSError(2, "No such file", "name"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    Warning("a warning"),
]


class TestWhatArrives:
    @pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
    def test_every_exception_arrives_as_itself(self, any_way: Way, method: str) -> None:
        function = any_way(lambda x, error: x if x != 5 else raise_it(error))
        found = []
        for error in TREACHEROUS:
            try:
                list(getattr(function, method)(range(10), error=error))
            except BaseException as caught:
                # No iterator may raise StopIteration; Python makes it the cause of a RuntimeError (PEP 479).
                lifted = type(caught) is RuntimeError and isinstance(caught.__cause__, StopIteration)
                found.append(caught.__cause__ if lifted and method != "map" else caught)
        assert [type(error) for error in found] == [type(error) for error in TREACHEROUS]
        assert [repr(error) for error in found] == [repr(error) for error in TREACHEROUS]

    def test_type_arguments_and_attributes_are_kept(self, any_way: Way) -> None:
        with pytest.raises(RefusedError) as caught:
            any_way(refuse).map([1, 3])
        error: Any = caught.value
        assert type(error) is RefusedError
        assert (error.args, error.item, error.why, error.extra) == (("1: odd",), 1, "odd", [1])

    def test_an_exception_class_of_a_function_arrives_as_itself(self, any_way: Way) -> None:
        class LocalError(LookupError):
            pass

        def fail(x: int) -> None:
            raise LocalError(x)

        with pytest.raises(LocalError) as caught:
            any_way(fail).map([1, 2])
        assert caught.value.args == (1,)

    def test_the_note_says_which_item_it_was(self, way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            way(functions.fail_at).map(range(12), bad=(7,))
        where = "in the caller's process" if way.here else r"in worker \d+"
        [note] = caught.value.__notes__
        assert re.fullmatch(rf"manyhands: item 7: fail_at\(7\), {where}", note)

    def test_the_note_shows_all_arguments_shortly(self, way: Way) -> None:
        def fail(text: str, x: int) -> None:
            raise ValueError(x)

        with pytest.raises(ValueError) as caught:
            way(fail).starmap([("a" * 10_000, 5)])
        [note] = caught.value.__notes__
        assert re.match(r"manyhands: item 0: .*fail\('aaa.*, 5\), ", note)
        assert len(note) < 300

    def test_its_cause_is_the_traceback_of_the_worker(self, process_way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            process_way(functions.fail_at).map(range(5), bad=(3,))
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert 'raise KeyError(x, "bad item")' in cause.text
        assert "engine/worker" not in cause.text.replace("\\", "/")

    def test_the_line_that_raised_is_in_the_traceback(self, any_way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            any_way(functions.fail_at).map(range(5), bad=(3,))
        assert 'raise KeyError(x, "bad item")' in "".join(traceback.format_exception(caught.value))


class TestWhatCannotTravel:
    """What no process can take raises in the caller, at once, and names the part."""

    def test_an_argument(self, process_way: Way) -> None:
        items: list[Any] = [1, {"handle": (x for x in "abc")}]
        with pytest.raises(TypeError, match=r"args\[0\]\['handle'\]: a generator"):
            process_way(lambda item: item).map(items)

    def test_a_constant(self, process_way: Way) -> None:
        with pytest.raises(TypeError, match=r"plus.*generator"):
            process_way(functions.three).map([1], [2], plus=(x for x in "abc"))

    def test_a_variable_of_the_function(self, process_way: Way) -> None:
        stream = (x for x in "abc")
        with pytest.raises(TypeError, match=r"stream.*generator"):
            process_way(lambda x: next(stream)).map([1, 2])

    def test_a_result(self, process_way: Way) -> None:
        with pytest.raises(TypeError, match=r"the result.*generator") as caught:
            process_way(lambda x: (y for y in [x])).map([1, 2])
        assert "item 0" in caught.value.__notes__[0]

    def test_threads_and_the_caller_take_everything(self, any_way: Way) -> None:
        if any_way.processes or any_way.name == "processes":
            pytest.skip("processes do not")
        stream = iter("abc")
        assert any_way(lambda item: item is stream).map([stream, 2, stream]) == [True, False, True]


class TestSource:
    """An input that raises midway: what came before it is done, then its exception."""

    @staticmethod
    def source(n: int, error: BaseException) -> Iterator[int]:
        yield from range(n)
        raise error

    def test_results_before_it_are_yielded_then_its_exception(self, backend_way: Way) -> None:
        for n in (0, 1, 5, 40):
            error = LookupError("the source is dry")
            found: list[Any] = []
            with pytest.raises(LookupError) as caught:
                collect(backend_way(functions.triple).imap(self.source(n, error)), found)
            assert found == [3 * x for x in range(n)]
            assert caught.value is error

    def test_map_raises_it(self, backend_way: Way) -> None:
        error = LookupError("the source is dry")
        with pytest.raises(LookupError) as caught:
            backend_way(functions.triple).map(self.source(10, error))
        assert caught.value is error

    def test_a_task_that_failed_before_it_comes_first(self, backend_way: Way) -> None:
        with pytest.raises(KeyError) as caught:
            backend_way(functions.fail_at).map(self.source(10, LookupError()), bad=(4,))
        assert caught.value.args == (4, "bad item")

    def test_so_does_one_of_several(self, backend_way: Way) -> None:
        found: list[Any] = []
        with pytest.raises(LookupError):
            collect(backend_way(functions.three).imap([1, 2, 3], self.source(2, LookupError())), found)
        assert found == [(1, 0, 0), (2, 1, 0)]


class Unpacks:
    """An item of ``starmap`` that may refuse to be unpacked."""

    def __init__(self, x: int, error: Exception | None = None) -> None:
        self.x, self.error = x, error

    def __iter__(self) -> Iterator[int]:
        if self.error is not None:
            raise self.error
        return iter((self.x,))


def test_an_item_that_cannot_be_unpacked_fails_when_its_turn_has_come(way: Way) -> None:
    items = [Unpacks(x) for x in range(7)] + [Unpacks(7, ValueError("seven"))]
    with pytest.raises(ValueError, match="seven") as caught:
        way(functions.fail_at).starmap(items)
    assert "item 7" in caught.value.__notes__[0]
    with pytest.raises(KeyError) as earlier:
        way(functions.fail_at).starmap(items, bad=(3,))
    assert "item 3" in earlier.value.__notes__[0]


def test_a_late_failure_out_of_order_is_noted_however_much_came_before() -> None:
    function = parallel_map(slow_first, max_workers=2, chunksize=1, initializer=functions.nothing)
    with pytest.raises(ZeroDivisionError) as caught:
        for _ in function.imap_unordered(range(200)):
            pass
    assert "item 0" in caught.value.__notes__[0]


def test_what_comes_before_a_failure_is_run_even_if_it_had_been_put_off(backend_way: Way) -> None:
    """The caller puts the rest of its batch off when a task takes its time, and a worker may fail on a later item first."""
    items = [0, 1, 1, 0, 0, 2, 0, 0]
    for function, given in (
        (wait_or_fail, items),
        (functools.cache(cached_wait_or_fail), list(enumerate(items))),
    ):
        for _ in range(4):
            called = backend_way(function)
            with pytest.raises(LookupError):
                called.map(given)
            found: list[int] = []
            with pytest.raises(LookupError):
                collect(called.imap(iter(given)), found)
            assert found == items[:5]
