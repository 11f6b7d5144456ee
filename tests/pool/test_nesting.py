"""Calls inside of tasks, and pools in processes that were forked: neither deadlocks nor ever more processes."""

from __future__ import annotations

import os
import sys

import pytest

from manyhands import ProcessPool, parallel_map
from tests.conftest import PROC, Program, descendants
from tests.pool import tasks
from tests.pool.conftest import METHODS, PATIENCE, Meeting

posix = pytest.mark.skipif(sys.platform == "win32", reason="forks")


def test_a_map_inside_a_task_runs_in_its_worker(any_pool: ProcessPool) -> None:
    futures = [any_pool.submit(tasks.map_here, list(range(number))) for number in range(10, 20)]
    workers = set()
    for number, future in zip(range(10, 20), futures, strict=True):
        results, processes = future.result(PATIENCE)
        assert results == [2 * each for each in range(number)]
        assert len(set(processes)) == 1
        workers |= set(processes)
    assert os.getpid() not in workers
    assert len(workers) <= 2


@pytest.mark.parametrize("method", METHODS)
def test_a_nested_map_needs_no_more_processes_than_the_outer_one(method: str) -> None:
    function = parallel_map(tasks.outer, max_workers=2, start_method=method, initializer=tasks.nothing)
    results = function.map([50] * 20)
    assert [[each for _, each in result] for result in results] == [list(range(50))] * 20
    assert len({pid for result in results for pid, _ in result}) <= 2
    if PROC:
        assert len(descendants(os.getpid())) <= 3  # two workers and their template


def test_maps_nested_many_levels_deep_end() -> None:
    assert parallel_map(tasks.recursive, max_workers=2, initializer=tasks.nothing).map([8] * 4) == [256] * 4


def test_a_submit_inside_a_task_runs_in_its_worker(any_pool: ProcessPool) -> None:
    for number in range(5):
        back, pid = any_pool.submit(tasks.nested_submit, number).result(PATIENCE)
        assert back == number
        assert pid != os.getpid()


def test_an_exception_of_a_nested_map_comes_all_the_way(any_pool: ProcessPool) -> None:
    with pytest.raises(ValueError, match="3") as caught:
        any_pool.submit(tasks.nested_failure).result(PATIENCE)
    assert any("item 3" in note for note in caught.value.__notes__)


def test_a_pool_inside_a_task_works_and_leaves_with_it(any_pool: ProcessPool) -> None:
    futures = [any_pool.submit(tasks.pool_here, list(range(number))) for number in (5, 10)]
    assert [future.result(PATIENCE) for future in futures] == [
        [2 * number for number in range(5)],
        [2 * number for number in range(10)],
    ]


def test_a_pool_left_open_inside_a_task_ends_with_its_worker(any_pool: ProcessPool) -> None:
    """``nothing_left`` sees to it."""
    assert any_pool.submit(tasks.leave_pool_open).result(PATIENCE) == 4


@posix
def test_a_pool_inside_a_task_ends_when_its_worker_is_killed(method: str, meeting: Meeting) -> None:
    """``nothing_left`` sees to it, whatever the inner tasks are doing."""
    with ProcessPool(1, start_method=method) as pool:
        pool.submit(tasks.hold_in_inner_pool, meeting.reports)
        meeting.next()
        pool.kill_workers()


def test_a_pool_as_the_source_of_another_ones_items(any_pool: ProcessPool) -> None:
    with ProcessPool(2) as second:
        source = any_pool.map(tasks.double, range(100))
        assert list(second.map(tasks.double, source)) == [4 * number for number in range(100)]


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_forked_child_has_a_default_pool_of_its_own(run_program: Program, method: str) -> None:
    """It neither uses the parent's workers nor takes them along when it ends."""
    ran = run_program(
        f"""
import os, sys, warnings
from manyhands import parallel_map
from manyhands.backends import processes

warnings.simplefilter("ignore", DeprecationWarning)

def where(_):
    return os.getpid()

f = parallel_map(where, max_workers=2, start_method={method!r}, initializer=int)
f.map(range(50))
mine = {{worker.pid for pool in processes._pools.values() for worker in pool._workers.values()}}
assert len(mine) == 2
child = os.fork()
if not child:
    theirs = set(f.map(range(50)))
    assert not theirs & mine, "the child uses the parent's workers"
    assert os.getpid() not in theirs
    assert f.submit(1).result() not in mine | {{os.getpid()}}
    sys.exit(0)  # with all its hooks
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(set(f.map(range(50))) <= mine, f.submit(1).result() in mine)
"""
    )
    assert (ran.out, ran.err) == ("0\nTrue True\n", "")


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_forked_child_that_ends_leaves_the_parents_pools_alone(run_program: Program, method: str) -> None:
    """Also while tasks of the parent are running; its hooks and finalizers are not the parent's."""
    ran = run_program(
        f"""
import gc, os, sys, warnings
from manyhands import ProcessPool, parallel_map

warnings.simplefilter("ignore", DeprecationWarning)
os.mkfifo("gate")
gate = os.open("gate", os.O_RDWR)

def hold(number):
    with open("gate", "rb", buffering=0) as file:
        file.read(1)
    return number

pool = ProcessPool(2, start_method={method!r})
futures = [pool.submit(hold, number) for number in range(4)]
shared = parallel_map(hold, max_workers=2, start_method={method!r}).submit(4)
for how in ("sys.exit(0)", "pool.shutdown(); sys.exit(0)", "del pool; gc.collect(); sys.exit(0)"):
    child = os.fork()
    if not child:
        exec(how)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os.write(gate, b"....." )
print([future.result() for future in futures], shared.result())
"""
    )
    assert (ran.out, ran.err) == ("0\n0\n0\n[0, 1, 2, 3] 4\n", "")


@posix
def test_a_task_in_a_forked_worker_sees_the_programs_memory() -> None:
    """What "fork" is chosen for."""
    tasks.memory["large"] = object()
    try:
        with ProcessPool(1, start_method="fork") as pool:
            assert pool.submit(tasks.identity_of_large).result(PATIENCE) == id(tasks.memory["large"])
    finally:
        tasks.memory.clear()
