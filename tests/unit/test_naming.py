"""Functions whose annotations name what is not there (PEP 649): decorated, sent and described like any other."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest

from manyhands import accumulator, parallel_map, process_task, shared_state
from manyhands.naming import annotated, parameters
from manyhands.scheduling.fingerprint import fingerprint
from manyhands.transport.serialize import by_value
from tests.conftest import Program

late = pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once before 3.14")

SOURCE = """
class Point:
    x: Nothing = 1

    def moved(self, by: Nothing) -> Nothing:
        return self.x + by

def work(x: Nothing, *, by: Nothing = 2) -> Nothing:
    return Point().moved(x) + by
"""


@pytest.fixture
def names() -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(SOURCE, "late.py", "exec", dont_inherit=True), found)
    return found


@late
def test_they_are_decorated_and_described(names: dict[str, Any]) -> None:
    for decorate in (parallel_map, process_task):
        function = decorate(names["work"])
        assert set(function.__annotations__) == {"x", "by", "return"}
        assert list(inspect.get_annotations(names["work"], format=4).values()) == ["Nothing"] * 3  # type: ignore[call-arg]
    assert list(parameters(names["work"]) or {}) == ["x", "by"]
    assert list(annotated(names["Point"])) == ["x"]


@late
def test_they_can_be_sent_by_value_and_known_by_their_code(names: dict[str, Any]) -> None:
    assert by_value(names["work"])
    assert fingerprint(names["work"], {}) == fingerprint(names["work"], {})


@late
def test_they_work_in_a_program(run_program: Program) -> None:
    ran = run_program(
        SOURCE
        + """
from manyhands import accumulator, parallel_map, process_task, shared_state

@shared_state
class Totals:
    n: Nothing = accumulator(int)

totals = Totals()

@process_task
@shared_state(totals=totals)
def count(x: Nothing, *, totals: Nothing) -> Nothing:
    totals.n += x

@process_task
def items(n: Nothing) -> Nothing:
    yield from range(n)

if __name__ == "__main__":
    print(process_task(work)(1), parallel_map(work, max_tasks_per_child=9).map([1, 2]), list(items(2)))
    count(3)
    print(totals.n)
"""
    )
    assert (ran.out, ran.err) == ("4 [4, 5] [0, 1]\n3\n", "")


def test_a_state_whose_annotation_has_no_field_is_refused_by_name() -> None:
    with pytest.raises(Exception, match=r"Totals\.m is annotated, and not declared"):

        @shared_state
        class Totals:
            n: int = accumulator(int)
            m: int
