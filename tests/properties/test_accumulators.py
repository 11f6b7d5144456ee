"""Whatever tasks add, and however they end, the totals are those of the loop.

A task is a random list of additions to random fields, and an end: it returns, raises, kills its worker, hangs until its time is
over, or fails in one of these ways until it is tried again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import parallel_map
from tests.properties.adding import Step, Task, Totals, run, seen
from tests.properties.functions import examples

names = st.sampled_from("abcde")
small = st.integers(-5, 5)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("whole"), st.integers(-(2**70), 2**70)),
    st.tuples(st.just("real"), st.floats(-1e6, 1e6)),
    st.tuples(st.just("words"), st.lists(names, max_size=4)),
    st.tuples(st.just("words"), st.dictionaries(names, small, max_size=3)),
    st.tuples(st.just("items"), st.lists(st.one_of(small, names, st.lists(small, max_size=2)), max_size=3)),
    st.tuples(st.just("kinds"), st.sets(small, max_size=3)),
    st.tuples(st.just("last"), st.dictionaries(names, small, max_size=3)),
    st.tuples(st.just("most"), small),
)


def tasks(*ends: str) -> st.SearchStrategy[list[Task]]:
    one = st.tuples(
        st.lists(steps, max_size=5), st.sampled_from(("return", "return", "return", *ends)), st.just("")
    )
    return st.lists(one, max_size=12)


def totals_of(done: Sequence[Task]) -> dict[str, Any]:
    """What a loop over the tasks that returned adds up."""
    totals = Totals()
    parallel_map(run, backend="serial").map([(steps, "return", "") for steps, *_ in done], totals=totals)
    return seen(totals)


WAYS: dict[str, dict[str, Any]] = {
    "by itself": {},
    "serial": {"backend": "serial"},
    "threads": {"backend": "threads", "initializer": int},
    "template": {"max_tasks_per_child": 100_000},
    "spawn": {"max_tasks_per_child": 100_000, "start_method": "spawn"},
    **({"fork": {"max_tasks_per_child": 100_000, "start_method": "fork"}} if hasattr(os, "fork") else {}),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
options = st.fixed_dictionaries(
    {}, optional={"chunksize": st.integers(1, 8), "max_workers": st.integers(1, 3), "buffersize": st.integers(1, 6)}
)  # fmt: skip


@ways
@examples(30)
@given(work=tasks("raise"), options=options)
def test_of_calls_that_end_with_the_first_failure(
    way: dict[str, Any], work: list[Task], options: dict[str, Any]
) -> None:
    totals = Totals()
    first = next((index for index, task in enumerate(work) if task[1] == "raise"), len(work))
    try:
        parallel_map(run, **way, **options).map(work, totals=totals)
    except ArithmeticError:
        assert first < len(work)
    assert seen(totals) == totals_of(work[:first])


@ways
@examples(30)
@given(work=tasks("raise"), options=options, unordered=st.booleans())
def test_of_calls_that_go_on(
    way: dict[str, Any], work: list[Task], options: dict[str, Any], unordered: bool
) -> None:
    totals = Totals()
    function = parallel_map(run, **way, **options, on_error="skip")
    call = function.imap_unordered if unordered else function.imap
    for _ in call(work, totals=totals):
        pass
    assert seen(totals) == totals_of([task for task in work if task[1] == "return"])


@ways
@examples(20)
@given(work=tasks("raise", "once"), options=options)
def test_of_retries(
    way: dict[str, Any], work: list[Task], options: dict[str, Any], tmp_path_factory: Any
) -> None:
    totals, folder = Totals(), tmp_path_factory.mktemp("once")
    named = [(steps, end, str(folder / str(index))) for index, (steps, end, _) in enumerate(work)]
    function = parallel_map(run, **way, **options, on_error="skip", retries=1, backoff=0)
    function.map(named, totals=totals)
    assert seen(totals) == totals_of([task for task in work if task[1] != "raise"])


@pytest.mark.parametrize("way", [WAYS["template"], WAYS["spawn"]], ids=["template", "spawn"])
@examples(8)
@given(work=tasks("raise", "exit", "kill", "hang"), options=options)
def test_of_workers_that_are_killed(way: dict[str, Any], work: list[Task], options: dict[str, Any]) -> None:
    if os.name == "nt":
        pytest.skip("there is no kill -9 here")
    totals = Totals()
    timeout = 0.3 if any(end == "hang" for _, end, _ in work) else None
    parallel_map(run, **way, **options, on_error="skip", timeout=timeout).map(work, totals=totals)
    assert seen(totals) == totals_of([task for task in work if task[1] == "return"])


@examples(10)
@given(work=tasks("raise", "exit"), killed=st.integers(0, 3))
def test_of_a_checkpoint_and_a_second_run(work: list[Task], killed: int, tmp_path_factory: Any) -> None:
    file: Path = tmp_path_factory.mktemp("checkpoint") / "kept.db"
    function = parallel_map(run, max_workers=2, checkpoint=file, on_error="skip")
    totals = Totals()
    function.map(work[:killed], totals=totals)
    totals.reset()
    function.map(work, totals=totals)
    assert seen(totals) == totals_of([task for task in work if task[1] == "return"])
