"""Large things in real workers: how long they live, what deaths cost, what is left, and what happens when there is no room."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import LostUpdateWarning, ProcessPool, WorkerCrashedError, parallel_map, process_task
from tests.conftest import Program
from tests.pool.conftest import PATIENCE, Meeting

np = pytest.importorskip("numpy")

from tests.pool import large  # noqa: E402 - it imports numpy
from tests.pool.large import (  # noqa: E402 - it imports numpy
    MANY,
    change,
    die_with,
    doubled,
    echo,
    filled,
    fork_a_reader,
    fork_a_reader_of_inherited,
    fork_and_look,
    in_shared_memory,
    keep,
    look,
    mapped_here,
    pid_and,
    produce,
    report_and_hold,
    scribble,
    sum_of_inherited,
    sums,
    total,
    with_constant,
)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is no memory without a name here"
)

MEGABYTES = 1_000_000


def descriptors(process: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


def shared_bytes(process: int) -> int:
    """The bytes of the memory files that a process has open, each counted once."""
    found = {}
    for entry in os.listdir(f"/proc/{process}/fd"):
        path = f"/proc/{process}/fd/{entry}"
        if "memfd:manyhands" in os.readlink(path):
            about = os.stat(path)
            found[about.st_ino] = about.st_blocks * 512
    return sum(found.values())


@pytest.fixture(autouse=True)
def nothing_mapped() -> None:
    """What other tests have left to the garbage collector does not count."""
    gc.collect()
    assert in_shared_memory() == 0


@pytest.fixture
def one() -> Iterator[ProcessPool]:
    """A pool of one worker."""
    with ProcessPool(1) as pool:
        yield pool


def test_large_arguments_and_results_are_mapped(any_pool: ProcessPool) -> None:
    back, there = any_pool.submit(mapped_here, filled(3)).result(PATIENCE)
    assert there >= 1
    assert in_shared_memory() >= 1
    assert (back == 3).all()
    assert back.flags.writeable


def test_without_an_arena_they_arrive_as_well(method: str) -> None:
    with ProcessPool(1, start_method=method, arena_limit=0) as pool:
        back, there = pool.submit(mapped_here, filled(3)).result(PATIENCE)
    assert (there, in_shared_memory()) == (0, 0)
    assert (back == 3).all()


def test_what_is_over_the_limit_goes_through_the_pipe() -> None:
    with ProcessPool(1, arena_limit="1 MB") as pool:
        results = [pool.submit(mapped_here, filled(n, MANY * 2)) for n in range(4)]
        for n, result in enumerate(results):
            back, there = result.result(PATIENCE)
            assert (back == n).all()
            assert there == 0


def test_an_argument_kept_by_a_task_is_never_written_over(one: ProcessPool) -> None:
    for n in range(12):
        assert one.submit(keep, filled(n)).result(PATIENCE) == list(range(n + 1))


def test_results_kept_by_the_caller_stay_as_they_are_and_outlive_the_pool(method: str) -> None:
    with ProcessPool(2, start_method=method) as pool:
        kept = list(pool.map(filled, range(20)))
        for _ in pool.map(filled, range(100, 140)):
            pass
    for n, array in enumerate(kept):
        assert (array == n).all()
        np.add(array, 1, out=array)
    assert [array[0] for array in kept] == list(range(1, 21))


def test_segments_are_used_again(one: ProcessPool) -> None:
    for n in range(40):
        process, last = one.submit(pid_and, filled(n, MEGABYTES)).result(PATIENCE)
        assert last == n
        one.submit(filled, n, MEGABYTES).result(PATIENCE)
    assert shared_bytes(process) <= 6 * 9 * MEGABYTES


def test_what_a_dead_worker_had_is_sent_to_another(method: str) -> None:
    with ProcessPool(2, start_method=method) as pool:
        arrays = [filled(n) for n in range(12)]
        futures = [pool.submit(die_with, array, 4.0) for array in arrays]
        for n, future in enumerate(futures):
            if n == 4:
                assert isinstance(future.exception(PATIENCE), WorkerCrashedError)
            else:
                assert future.result(PATIENCE) == n * MANY
    assert all((array == n).all() for n, array in enumerate(arrays))


@pytest.mark.filterwarnings("ignore::manyhands.LostUpdateWarning")
def test_a_retry_sees_the_argument_as_it_was_sent(tmp_path: Path) -> None:
    marker = tmp_path / "tried"

    def scribble_once(array: Any) -> float:
        before = float(array[0])
        array[:] = -1
        if not marker.exists():
            marker.write_text("")
            raise OSError("once more")
        return before

    task = process_task(scribble_once, retries=1, backoff=0)
    assert task(filled(5)) == 5


def test_a_worker_killed_with_a_large_argument_costs_that_task_only(
    any_pool: ProcessPool, meeting: Meeting
) -> None:
    held = any_pool.submit(report_and_hold, meeting.reports, meeting.gate, filled(1))
    meeting.next()
    victim = any_pool.submit(die_with, filled(2), 2.0)
    assert isinstance(victim.exception(PATIENCE), WorkerCrashedError)
    meeting.let_go()
    assert held.result(PATIENCE) == MANY


def test_a_large_argument_that_is_changed_is_noticed_and_one_that_is_not_is_not() -> None:
    with pytest.warns(LostUpdateWarning, match="change "):
        parallel_map(change, max_tasks_per_child=1000, max_workers=1).map([filled(0)] * 2)
    parallel_map(look, max_tasks_per_child=1000, max_workers=1).map([filled(0)] * 2)


def test_a_task_that_forks_leaves_its_child_what_it_had(one: ProcessPool) -> None:
    assert one.submit(fork_and_look, filled(9)).result(PATIENCE) == 9
    for n in range(6):
        assert one.submit(total, filled(n)).result(PATIENCE) == n * MANY


FULL = """
import os, resource, sys, warnings
import numpy as np
from manyhands import ProcessPool

def back(array):
    return array + 1

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

if __name__ == "__main__":
    where = sys.argv[1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ProcessPool(1, initializer=limit if where == "worker" else None, initargs=(4 << 20,) * (where == "worker")) as pool:
            pool.submit(int).result(60)
            if where == "caller":  # not before: the workers would have it from there
                limit(4 << 20)
            for n in range(3):
                assert (pool.submit(back, np.full(1_000_000, n)).result(60) == n + 1).all()
    print(len([each for each in caught if "arena_limit" in str(each.message)]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
@pytest.mark.parametrize("where", ["caller", "worker"])
def test_where_there_is_no_room_the_pipe_takes_over_with_one_warning(
    run_program: Program, where: str
) -> None:
    done = run_program(FULL, args=(where,))
    assert done.code == 0, done.err
    assert done.out.strip() == "1", done.err


FEW = """
import resource, warnings
import numpy as np
from manyhands import ProcessPool

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with ProcessPool(2) as pool:
        kept = list(pool.map(np.full, [100_000] * 60, range(60)))
        assert all((array == n).all() for n, array in enumerate(kept))
    print("done")
"""


def test_a_few_descriptors_are_enough(run_program: Program) -> None:
    done = run_program(FEW)
    assert done.code == 0, done.err
    assert done.out.strip() == "done"


# what streams, and what tasks say to their callers


def test_streamed_items_are_mapped_and_stay_as_they_are() -> None:
    items = list(process_task(produce)(20))
    assert in_shared_memory() >= 1
    for n, item in enumerate(items):
        assert (item == n).all()
        assert item.flags.writeable


def test_large_items_go_from_task_to_task() -> None:
    stream = process_task(doubled)(process_task(produce)(10))
    assert process_task(sums)(stream) == [2.0 * n * MANY for n in range(10)]


def test_a_stream_that_was_begun_here_can_be_given_away() -> None:
    stream = process_task(produce)(10)
    assert (next(stream) == 0).all()
    assert process_task(sums)(stream) == [float(n) * MANY for n in range(1, 10)]


def test_large_objects_go_through_a_channel_both_ways() -> None:
    task = process_task(echo).start()
    for n in range(5):
        assert (task.channel.request(filled(n)) == n + 1).all()
    task.channel.close()
    task.result()


# constants


def test_a_constant_is_sent_again_only_when_it_has_changed() -> None:
    table = np.arange(MEGABYTES, dtype=float)
    call = parallel_map(with_constant, max_workers=1, max_tasks_per_child=100_000)
    first = call.map(range(4), table=table)
    again = call.map(range(4), table=table.copy())
    assert first == again
    table[2] = -1
    assert [value for _, value, _ in call.map(range(4), table=table)] == [0, 1, -1, 3]
    table[2] = 2
    assert [value for _, value, _ in call.map(range(4), table=table)] == [0, 1, 2, 3]


def test_changing_constants_take_turns_in_few_segments() -> None:
    table = np.zeros(MEGABYTES)
    call = parallel_map(with_constant, max_workers=2, max_tasks_per_child=100_000)
    for n in range(12):
        table[:] = n
        found = call.map(range(8), table=table)
        assert {value for _, value, _ in found} == {n}
    assert shared_bytes(found[0][0]) <= 6 * 9 * MEGABYTES


def test_what_a_task_writes_into_a_constant_its_worker_alone_sees() -> None:
    table = np.arange(MEGABYTES, dtype=float)
    call = parallel_map(scribble, max_workers=2, max_tasks_per_child=100_000)
    assert call.map(range(50), table=table) == list(range(50))
    assert table[3] == 3


def test_a_closure_brings_its_array_through_shared_memory() -> None:
    table = np.arange(MEGABYTES, dtype=float)
    call = parallel_map(lambda n: (float(table[n]), in_shared_memory()), max_workers=1, max_tasks_per_child=9)
    assert all(value == n and there for n, (value, there) in enumerate(call.map(range(4))))


def test_constants_that_nobody_uses_are_given_back() -> None:
    from manyhands.backends import processes
    from manyhands.engine import definitions

    call = parallel_map(with_constant, max_workers=1, max_tasks_per_child=100_000)
    call.map(range(4), table=np.zeros(MEGABYTES))
    (pool,) = processes._pools.values()
    shared, constants, loop = pool._arena, pool._constants, pool._loop
    assert shared is not None
    assert constants is not None
    assert loop is not None
    assert os.fstat(shared.file).st_blocks * 512 >= 8 * MEGABYTES
    constants.rest(0)
    definitions.let_go(0)
    with loop.guard:
        pool._forget()
    assert parallel_map(abs, max_workers=1, max_tasks_per_child=100_000).map([-1, -2]) == [
        1,
        2,
    ]  # the worker has read it
    assert not shared.rest(0)
    assert os.fstat(shared.file).st_blocks == 0


def test_a_child_of_the_caller_leaves_the_results_on_their_way_alone(method: str) -> None:
    with ProcessPool(2, start_method=method) as pool:
        kept = pool.submit(filled, 1).result(PATIENCE)
        futures = [pool.submit(filled, n) for n in range(6)]
        child = os.fork()
        if not child:
            os._exit(0 if (kept == 1).all() else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        for n, future in enumerate(futures):
            assert (future.result(PATIENCE) == n).all()
        more = [pool.submit(pid_and, filled(n)) for n in range(6)]
        assert [future.result(PATIENCE)[1] for future in more] == list(range(6))


def test_windows_do_not_count_against_a_limit_on_memory() -> None:
    call = parallel_map(pid_and, max_workers=1, memory_limit="300 MB")
    assert [last for _, last in call.map(filled(n, 2 * MEGABYTES) for n in range(40))] == list(range(40))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_what_a_child_of_a_worker_has_stays_as_it_is_when_the_worker_has_gone(
    method: str, meeting: Meeting
) -> None:
    with ProcessPool(1, max_tasks_per_child=1, start_method=method) as pool:
        pool.submit(fork_a_reader, np.ones(200_000), meeting.reports, meeting.gate).result(PATIENCE)
        meeting.next()
        for number in range(2, 12):  # in other workers, whose arguments need room
            assert pool.submit(np.sum, np.full(200_000, float(number))).result(PATIENCE) == number * 200_000
        meeting.let_go()
        assert meeting.next() == "200000.0 200000.0"


class TestWhatAForkedWorkerInherits:
    """Results that the caller has when the worker is forked."""

    pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

    @staticmethod
    def use(maker: ProcessPool) -> int:
        """Have the worker that had made the result make others; return its bytes of shared memory."""
        large._kept.clear()
        gc.collect()
        for number in range(2, 12):
            result = maker.submit(filled, number).result(PATIENCE)
            assert (result == number).all()
        process, _ = maker.submit(pid_and, result).result(PATIENCE)
        return shared_bytes(process)

    def test_stays_as_it_is_for_as_long_as_the_worker_lives_and_no_longer(self, one: ProcessPool) -> None:
        used = []
        for _ in range(8):
            large._kept[:] = [one.submit(filled, 1).result(PATIENCE)]
            with ProcessPool(1, start_method="fork") as heir:
                assert heir.submit(sum_of_inherited).result(PATIENCE) == MANY
                used.append(self.use(one))
                assert heir.submit(sum_of_inherited).result(PATIENCE) == MANY
        assert used[-1] <= used[1] + 8 * MANY

    def test_stays_for_a_child_of_the_worker_when_the_worker_has_gone(
        self, one: ProcessPool, meeting: Meeting
    ) -> None:
        large._kept[:] = [one.submit(filled, 1).result(PATIENCE)]
        with ProcessPool(1, start_method="fork") as heir:
            heir.submit(fork_a_reader_of_inherited, meeting.reports, meeting.gate).result(PATIENCE)
            meeting.next()
        self.use(one)
        meeting.let_go()
        assert meeting.next() == f"{float(MANY)} {float(MANY)}"
