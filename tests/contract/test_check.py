"""``f.check(items)`` finds what would differ with workers, says where, and finds nothing where nothing differs."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from manyhands import parallel_map
from tests.contract import functions
from tests.contract.functions import KINDS, Scale

pytestmark = pytest.mark.filterwarnings("ignore::manyhands.LostUpdateWarning")

HERE = os.getpid()


def report_on(function: Callable[..., Any], *iterables: Iterable[Any], **constants: Any) -> Any:
    return parallel_map(function).check(*iterables, **constants)


def lines(report: Any) -> list[str]:
    return [str(difference) for difference in report.differences]


def in_worker() -> bool:
    return os.getpid() != HERE


@dataclass(eq=False)
class Bare:
    """Has no ``__eq__``."""

    x: Any


# what a task may count with

counter = 0
seen: list[int] = []
table = {"a": 1}


def count(x: int) -> int:
    global counter
    counter += 1
    return counter


def remember(x: int) -> int:
    seen.append(x)
    return x


def helper(x: int) -> None:
    table["last"] = x


def indirectly(x: int) -> int:
    helper(x)
    return x


def with_default(x: int, known: list[int] = []) -> int:
    known.append(x)
    return x


def with_attribute(x: int) -> int:
    with_attribute.calls = x  # type: ignore[attr-defined]
    return x


class TestNoDifference:
    def test_functions_of_every_kind(self) -> None:
        kinds = [
            kind for name, kind in KINDS.items() if name != "cached function"
        ]  # its cache is what it changes
        reports = [report_on(kind.function, kind.items[:3]) for kind in kinds]
        assert [line for report in reports for line in lines(report)] == []
        assert all(reports)

    def test_equal_results_of_every_kind(self) -> None:
        values = [
            float("nan"),
            [1.0, float("nan")],
            complex("nan+1j"),
            np.array([1.0, np.nan, 3.0]),
            np.array(["a", "b"]),
            np.array([1, [2, 3]], dtype=object),
            np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
            np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
            np.float64("nan"),
            Bare({"a": [float("nan")]}),
            [Bare(1), (Bare(2), {3: Bare(4)})],
            {Bare(1): Bare(2)},
            {1, 2, "three"},
            {"set": frozenset({("a", 1), ("b", 2)})},
            functions.Point(1, 2),
            Scale(3),
            functions.Slotted(3),
            ValueError("a result", {"x": Bare(1)}),
            range(3),
            None,
            object,
            lambda x: x,
        ]
        report = parallel_map(lambda place: values[place]).check(range(len(values)), sample=len(values))
        assert lines(report) == []
        assert report.items == len(values)

    def test_equal_exceptions(self) -> None:
        def fail(x: int) -> None:
            raise KeyError(x, Bare(x))

        assert lines(report_on(fail, [1, 2])) == []

    def test_several_iterables_and_constants(self) -> None:
        assert report_on(functions.three, [1, 2], [3, 4], plus=5)

    def test_no_items(self) -> None:
        report = report_on(functions.triple, [])
        assert report
        assert report.items == 0

    def test_only_a_sample_is_run(self) -> None:
        asked = iter(range(100))
        report = parallel_map(functions.triple).check(asked, sample=7)
        assert report.items == 7
        assert next(asked) == 7
        assert parallel_map(functions.triple).check(range(100)).items == 20

    def test_objects_of_a_cycle(self) -> None:
        ring: list[Any] = [1]
        ring.append(ring)
        assert report_on(lambda x: ring, [1])

    def test_values_nested_too_deep_for_a_walk(self) -> None:
        def deep(n: int) -> Any:
            found: Any = ()
            for _ in range(n):
                found = (found,)
            return found

        assert lines(report_on(deep, [400])) == []

    def test_the_arguments_of_the_caller_stay_as_they_are(self) -> None:
        items = [[3, 1], [2, 0]]
        scale = Scale(2)
        constants = [1]

        def change(self: Scale, item: list[int], *, constant: list[int]) -> None:
            item.sort()
            constant.append(1)
            self.by += 1

        report = report_on(partial(change, scale), items, constant=constants)
        assert {line.split(" afterwards")[0] for line in lines(report)} == {
            "item 0: args[0][0]",
            "item 0: len(constant)",
            "item 0: partial.args[0].by",
            "item 1: args[0][0]",
        }
        assert (items, constants, scale.by) == ([[3, 1], [2, 0]], [1], 2)


class TestValues:
    def test_the_place_is_named(self) -> None:
        report = report_on(lambda x: [x, {"a": 3 if in_worker() and x == 3 else 2}], range(6))
        assert not report
        assert lines(report) == ["item 3: result[1]['a']: 2 here, 3 in a worker"]
        [difference] = report.differences
        assert (difference.item, difference.kind, difference.place) == (3, "value", "result[1]['a']")

    def test_values_of_every_kind(self) -> None:
        cases: list[tuple[Callable[[bool], Any], str]] = [
            (lambda there: 1 + there, "result: 1 here, 2 in a worker"),
            (lambda there: 1.0 if there else 1, "result: 1 (a int) here, 1.0 (a float) in a worker"),
            (lambda there: [0] * (2 + there), "len(result): 2 here, 3 in a worker"),
            (
                lambda there: {"a": 1, "b": 2} if there else {"a": 1},
                "result['b']: nothing here, 2 in a worker",
            ),
            (
                lambda there: {"a": 1, "b": 2} if there else {"b": 2, "a": 1},
                "list(result)[0]: 'b' here, 'a' in a worker",
            ),
            (lambda there: {1, 2 + there}, "2 in result: True here, False in a worker"),
            (lambda there: np.array([[1, 2], [3, 4 + there]]), "result[1, 1]: 4 here, 5 in a worker"),
            (lambda there: np.zeros(2 + there), "result.shape: (2,) here, (3,) in a worker"),
            (
                lambda there: np.zeros(1, "f4" if there else "f8"),
                "result.dtype: float64 here, float32 in a worker",
            ),
            (lambda there: np.array([1.0, np.nan if there else 2.0]), "result[1]: 2.0 here, nan in a worker"),
            (lambda there: Bare([1, 2 + there]), "result.x[1]: 2 here, 3 in a worker"),
            (lambda there: functions.Point(1, 2 + there), "result.y: 2 here, 3 in a worker"),
            (lambda there: Scale(1 + there), "result.by: 1 here, 2 in a worker"),
            (lambda there: functions.Slotted(1 + there), "result.by: 1 here, 2 in a worker"),
            (lambda there: ValueError(1 + there), "result.args[0]: 1 here, 2 in a worker"),
            (lambda there: "a" if there else None, "result: None (a NoneType) here, 'a' (a str) in a worker"),
        ]
        report = report_on(lambda place: cases[place][0](in_worker()), range(len(cases)))
        assert lines(report) == [f"item {place}: {line}" for place, (_, line) in enumerate(cases)]

    def test_chance(self) -> None:
        random.seed(1)
        assert [each.kind for each in report_on(lambda x: random.random(), [1]).differences] == ["value"]


class TestOrder:
    def test_results_that_depend_on_what_ran_before(self) -> None:
        known: list[int] = []

        def number(x: int) -> int:
            known.append(x)
            return len(known)

        report = report_on(number, [10, 20, 30])
        assert "item 0: result: 1 here, 3 in a worker" in lines(report)
        assert {each.kind for each in report.differences} == {"order", "variable"}


class TestExceptions:
    @pytest.mark.parametrize(
        ("here", "there", "line"),
        [
            (None, ValueError("no"), "the outcome: returns None here, raises ValueError: no in a worker"),
            (ValueError("no"), None, "the outcome: raises ValueError: no here, returns None in a worker"),
            (
                KeyError(1),
                ValueError(1),
                "the outcome: raises KeyError: 1 here, raises ValueError: 1 in a worker",
            ),
            (KeyError(1, [2]), KeyError(1, [3]), "exception.args[1][0]: 2 here, 3 in a worker"),
        ],
        ids=["only there", "only here", "another type", "other arguments"],
    )
    def test_other_exceptions(self, here: Exception | None, there: Exception | None, line: str) -> None:
        def run(x: int) -> None:
            error = there if in_worker() else here
            if error is not None:
                raise error

        assert lines(report_on(run, [0])) == [f"item 0: {line}"]

    def test_an_item_that_ends_its_process_is_not_run_here(self) -> None:
        def leave(x: int) -> int:
            if x == 1:
                os._exit(7)
            return x

        [line] = lines(report_on(leave, range(3)))
        assert line.startswith(
            "item 1: the outcome: (not run: it would end this process) here, raises WorkerCrashedError"
        )
        assert "exit code 7" in line

    def test_a_result_that_cannot_be_sent(self) -> None:
        [line] = lines(report_on(lambda x: threading.Lock(), [1]))
        assert "raises UnpicklableError: cannot return from a worker: the result: a thread lock" in line

    def test_an_interrupt_ends_the_check(self) -> None:
        def interrupt(x: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            report_on(interrupt, [1])


class TestArguments:
    def test_an_argument_changed_in_place(self) -> None:
        report = report_on(lambda item: item.sort(), [[3, 1], [1, 2]])
        assert lines(report) == ["item 0: args[0][0] afterwards: 1 here, still 3 with a worker"]
        assert report.differences[0].kind == "argument"

    def test_an_argument_changed_only_in_the_worker(self) -> None:
        def change(item: list[int]) -> None:
            if in_worker():
                item.append(1)

        assert lines(report_on(change, [[]])) == [
            "item 0: len(args[0]) afterwards: 0 here, 1 in the copy with a worker"
        ]

    def test_a_constant_changed_in_place(self) -> None:
        report = report_on(lambda x, *, into: into.append(x), [1, 2, 3], into=[])
        assert lines(report) == ["item 0: len(into) afterwards: 1 here, still 0 with a worker"]

    def test_an_array_changed_in_place(self) -> None:
        def change(array: Any) -> None:
            array[1] = 5

        assert lines(report_on(change, [np.zeros(3)])) == [
            "item 0: args[0][1] afterwards: 5.0 here, still 0.0 with a worker"
        ]

    def test_an_object_whose_method_changes_it(self) -> None:
        class Total:
            def __init__(self) -> None:
                self.n = 0

            def add(self, x: int) -> int:
                self.n += x
                return x

        total = Total()
        assert lines(report_on(total.add, [1, 2])) == [
            "item 0: self.n afterwards: 1 here, still 0 with a worker"
        ]
        assert total.n == 0

    def test_a_default_that_grows(self) -> None:
        assert lines(report_on(with_default, [1, 2])) == [
            "item 0: len(known (its default)) afterwards: 1 here, still 0 with a worker"
        ]

    def test_one_object_given_twice(self) -> None:
        """The loop sees the change that the first task made; workers do not, and that shows in the result."""
        shared: list[int] = []

        def grow(item: list[int]) -> int:
            item.append(1)
            return len(item)

        assert "item 1: result: 2 here, 1 in a worker" in lines(report_on(grow, [shared, shared]))

    def test_an_argument_that_cannot_be_sent(self) -> None:
        report = report_on(lambda item: 1, [1, {"lock": threading.Lock()}, 2])
        assert report.items == 3
        [difference] = report.differences
        assert (difference.item, difference.kind) == (1, "unpicklable")
        assert "args[0]['lock']: a thread lock" in difference.there


class TestGlobals:
    def test_a_lost_update(self) -> None:
        found = lines(report_on(count, [1]))
        [line] = found
        assert line.startswith("item 0: counter afterwards: ")
        assert "with a worker" in line

    def test_a_global_changed_in_place(self) -> None:
        [line] = lines(report_on(remember, [1, 2]))
        assert line.startswith("item 0: len(seen) afterwards: ")

    def test_a_global_changed_by_a_function_that_it_calls(self) -> None:
        table.pop("last", None)
        assert lines(report_on(indirectly, [5, 6])) == [
            "item 0: table['last'] afterwards: 5 here, still nothing with a worker"
        ]

    def test_a_global_of_another_module(self) -> None:
        def change(x: int) -> None:
            functions.state["checked"] = x

        functions.state.pop("checked", None)
        [line] = lines(report_on(change, [5]))
        assert line == (
            "item 0: tests.contract.functions.state['checked'] afterwards: 5 here, still nothing with a worker"
        )

    def test_an_attribute_of_the_function(self) -> None:
        with_attribute.__dict__.pop("calls", None)
        assert lines(report_on(with_attribute, [5])) == [
            "item 0: with_attribute.calls afterwards: 5 here, still not set with a worker"
        ]

    def test_a_variable_of_an_enclosing_function(self) -> None:
        total = 0

        def add(x: int) -> int:
            nonlocal total
            total += x
            return x

        report = report_on(add, [1, 2])
        assert lines(report) == ["item 0: total afterwards: 1 here, still 0 with a worker"]
        assert report.differences[0].kind == "variable"


class TestRefusals:
    """What cannot run in a worker at all is a difference too, told once."""

    def test_a_function_that_cannot_be_sent(self) -> None:
        lock = threading.Lock()

        def locked(x: int) -> int:
            with lock:
                return x

        [difference] = report_on(locked, range(5)).differences
        assert (difference.item, difference.kind) == (None, "function")
        assert "lock" in difference.there

    def test_an_initializer_that_fails(self) -> None:
        function = parallel_map(functions.triple, initializer=functions.refuse_to_start)
        [difference] = function.check(range(5)).differences
        assert (difference.item, difference.kind) == (None, "function")
        assert "no model" in difference.there

    def test_an_initializer_is_run_here_too(self) -> None:
        options: dict[str, Any] = {"initializer": functions.prepare, "initargs": ("checked here", 5)}
        assert parallel_map(lambda _: functions.prepared("checked here")[0], **options).check([1, 2])


class TestReport:
    def test_it_reads_well(self) -> None:
        text = str(report_on(lambda x: in_worker(), [0, 1]))
        assert text.splitlines()[0].endswith("2 differences between here and a worker, in 2 items")
        assert "  item 0: result: False here, True in a worker" in text.splitlines()
        assert str(report_on(functions.triple, [1])) == "triple: 1 item gives the same here and in a worker"
        assert repr(report_on(functions.triple, [1])) == "<Report on triple: 1 item, 0 differences>"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no other start method")
    def test_every_start_method(self) -> None:
        for method in ("template", "spawn", "fork"):
            report = parallel_map(lambda x: in_worker(), start_method=method).check([1])
            assert [each.there for each in report.differences] == ["True"]

    def test_it_is_the_same_in_threads(self) -> None:
        assert "numpy" in sys.modules
        assert parallel_map(functions.triple, backend="threads").check([1, 2])
