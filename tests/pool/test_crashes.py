"""A worker that dies costs the task it was running, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from manyhands import InitializerError, ProcessPool, WorkerCrashedError, parallel_map
from manyhands.engine.pool import Pool
from manyhands.engine.staff import FUTILE_STARTS
from manyhands.engine.streams import Changed, Crash, Results
from manyhands.transport.outcomes import PLAIN, unplain
from manyhands.transport.serialize import Encoder
from tests.conftest import PROC, all_processes, descendants, wait_for_end
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting

resource = pytest.importorskip("resource", reason="the tasks die in the ways of POSIX")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tasks die in the ways of POSIX")
needs_proc = pytest.mark.skipif(not PROC, reason="looks into /proc")

DEATHS = {
    "SIGKILL": -signal.SIGKILL,
    "SIGSEGV": -signal.SIGSEGV,
    "SIGABRT": -signal.SIGABRT,
    "SIGTERM": -signal.SIGTERM,
    "segfault in C": -signal.SIGSEGV,
    "exit 0": 0,
    "exit 42": 42,
    "libc exit 3": 3,
}


def check_healthy(pool: ProcessPool) -> None:
    """The pool does its work, on as many workers as before."""
    assert list(pool.map(tasks.double, range(20))) == [2 * number for number in range(20)]


def noted(path: Path) -> list[int]:
    """What tasks have written to a file with ``tasks.note``."""
    return [int(line) for line in path.read_text().split()]


@pytest.mark.parametrize("how", DEATHS)
def test_a_death_fails_the_task_that_ran_and_no_other(any_pool: ProcessPool, how: str) -> None:
    before = [any_pool.submit(tasks.double, number) for number in range(8)]
    victim = any_pool.submit(tasks.die, how)
    after = [any_pool.submit(tasks.double, number) for number in range(8)]
    with pytest.raises(WorkerCrashedError) as caught:
        victim.result(PATIENCE)
    assert caught.value.exitcode == DEATHS[how]
    name = signal.Signals(-DEATHS[how]).name if DEATHS[how] < 0 else f"exit code {DEATHS[how]}"
    assert name in str(caught.value)
    assert str(caught.value.pid) in str(caught.value)
    for futures in (before, after):
        assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(8)]
    check_healthy(any_pool)


def test_a_crash_is_caught_as_the_standard_librarys_broken_pool(pool: ProcessPool) -> None:
    with pytest.raises(BrokenExecutor):
        pool.submit(tasks.die, "SIGKILL").result(PATIENCE)


def test_in_a_map_the_crash_names_its_item(method: str, tmp_path: Path) -> None:
    function = parallel_map(
        tasks.double_or_die, max_workers=2, start_method=method, initializer=tasks.nothing, chunksize=4
    )
    with pytest.raises(WorkerCrashedError, match="exit code 9") as caught:
        function.map(range(40), path=str(tmp_path / "runs"), deadly=(17,))
    assert any("item 17" in note and "double_or_die(17)" in note for note in caught.value.__notes__)


def test_imap_yields_every_result_before_the_crashed_item(method: str, tmp_path: Path) -> None:
    """Those that were finished in the same chunk, and not yet sent, too; and none of them runs a second time."""
    function = parallel_map(
        tasks.double_or_die, max_workers=2, start_method=method, initializer=tasks.nothing, chunksize=10
    )
    results = function.imap(range(40), path=str(tmp_path / "runs"), deadly=(17,))
    assert [next(results) for _ in range(17)] == [2 * number for number in range(17)]
    with pytest.raises(WorkerCrashedError):
        next(results)
    assert max(Counter(noted(tmp_path / "runs")).values()) == 1


def run_stream(pool: Pool, function: Callable[..., Any], items: list[Any], chunksize: int) -> list[Any]:
    """Send items through a pool in chunks of that size, and return what became of them."""
    from manyhands.engine.definitions import MANY, define, pack

    inbox: SimpleQueue[Any] = SimpleQueue()
    stream = pool.open(inbox.put, pool.size)
    definition, encoder = define(function, {}), Encoder()
    for base in range(0, len(items), chunksize):
        part = items[base : base + chunksize]
        packed, _ = pack(encoder, part, MANY)
        stream.post(definition, packed.body, packed.flags, len(part), base)
    events: list[Any] = []
    missing = len(items)
    while missing:
        event = inbox.get(timeout=PATIENCE)
        if isinstance(event, Changed):
            continue
        events.append(event)
        missing -= len(event.outcomes) if isinstance(event, Results) else 1
    stream.close()
    return events


@pytest.mark.parametrize("batched", [True, False])
def test_results_of_the_chunk_survive_and_no_task_runs_twice(
    method: str, tmp_path: Path, batched: bool
) -> None:
    """Whichever task of a chunk it is: what was finished is kept, what had not begun runs elsewhere."""
    marker: Any = () if batched else ([],)  # a list can be told from its copies, so items travel one by one
    items = [(number, *marker) for number in range(30)]
    pool = Pool(2, method)
    try:
        for deadly in [(0,), (9,), (5,), (3, 4), (0, 10, 11, 19, 29)]:
            path = tmp_path / f"runs {deadly}"
            target = tasks.double_or_die if batched else tasks.first_argument_or_die
            events = run_stream(pool, functools.partial(target, path=str(path), deadly=deadly), items, 10)
            crashed = sorted(event.index for event in events if isinstance(event, Crash))
            values = {
                event.first + place: unplain(outcome)
                for event in events
                if isinstance(event, Results)
                for place, (kind, outcome) in enumerate(event.outcomes)
                if kind == PLAIN
            }
            assert crashed == list(deadly)
            assert values == {number: 2 * number for number in range(30) if number not in deadly}
            assert sorted(noted(path)) == list(range(30))
    finally:
        pool.close()


def test_in_a_storm_of_crashes_exactly_the_culprits_fail(any_pool: ProcessPool, tmp_path: Path) -> None:
    deadly = tuple(range(3, 42, 7))
    futures = [
        any_pool.submit(tasks.double_or_die, number, str(tmp_path / "runs"), deadly) for number in range(42)
    ]
    outcomes = [future.exception(PATIENCE) or future.result() for future in futures]
    assert {
        number for number, outcome in enumerate(outcomes) if isinstance(outcome, WorkerCrashedError)
    } == set(deadly)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [
        2 * number for number in range(42) if number not in deadly
    ]
    assert sorted(noted(tmp_path / "runs")) == list(range(42))
    check_healthy(any_pool)


def test_crashes_among_small_tasks_that_travel_together(pool: ProcessPool, tmp_path: Path) -> None:
    """Once tasks are known to be quick, many of them are one message; a crash is still one task's."""
    path, deadly = str(tmp_path / "runs"), tuple(range(50, 1000, 100))
    assert list(pool.map(tasks.double, range(200))) == [2 * number for number in range(200)]
    futures = [pool.submit(tasks.double_or_die, number, path, deadly) for number in range(1000)]
    outcomes = [future.exception(PATIENCE) or future.result() for future in futures]
    assert {number for number, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)} == set(
        deadly
    )
    assert sorted(noted(tmp_path / "runs")) == list(range(1000))


def test_an_idle_worker_that_is_killed_is_replaced(any_pool: ProcessPool) -> None:
    pids = {any_pool.submit(tasks.pid).result(PATIENCE) for _ in range(10)}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    check_healthy(any_pool)
    assert any_pool.submit(tasks.pid).result(PATIENCE) not in pids


def test_when_all_workers_are_killed_the_queue_runs_on_new_ones(
    any_pool: ProcessPool, meeting: Meeting
) -> None:
    running = [any_pool.submit(tasks.hold, meeting.reports, meeting.gate) for _ in range(2)]
    queued = [any_pool.submit(tasks.double, number) for number in range(30)]
    for _ in running:
        os.kill(int(meeting.next()), signal.SIGKILL)
    for future in running:
        with pytest.raises(WorkerCrashedError, match="SIGKILL"):
            future.result(PATIENCE)
    assert [future.result(PATIENCE) for future in queued] == [2 * number for number in range(30)]


def test_a_death_after_the_result_leaves_the_result(pool: ProcessPool) -> None:
    future = pool.submit(tasks.pid)
    pid = future.result(PATIENCE)
    os.kill(pid, signal.SIGKILL)
    assert future.result() == pid
    check_healthy(pool)


def test_a_crash_while_an_argument_is_unpickled_fails_that_task(any_pool: ProcessPool) -> None:
    others = [any_pool.submit(tasks.identity, [number]) for number in range(10)]
    victim = any_pool.submit(tasks.identity, tasks.DiesWhenUnpickled())
    others += [any_pool.submit(tasks.identity, [number]) for number in range(10, 20)]
    with pytest.raises(WorkerCrashedError, match="exit code 5"):
        victim.result(PATIENCE)
    assert [future.result(PATIENCE) for future in others] == [[number] for number in range(20)]


def test_a_crash_while_a_result_is_pickled_fails_that_task(any_pool: ProcessPool) -> None:
    others = [any_pool.submit(tasks.identity, [number]) for number in range(10)]
    victim = any_pool.submit(tasks.make_deadly)
    others += [any_pool.submit(tasks.identity, [number]) for number in range(10, 20)]
    with pytest.raises(WorkerCrashedError, match="exit code 6"):
        victim.result(PATIENCE)
    assert [future.result(PATIENCE) for future in others] == [[number] for number in range(20)]


def test_a_crash_while_the_function_is_loaded_fails_its_task_and_does_not_go_on_for_ever(
    any_pool: ProcessPool,
) -> None:
    victims = [any_pool.submit(tasks.DiesWhenUnpickled(), number) for number in range(3)]
    for victim in victims:
        with pytest.raises(WorkerCrashedError, match="exit code 5"):
            victim.result(PATIENCE)
    check_healthy(any_pool)


def test_a_huge_argument_to_a_worker_that_dies_goes_to_the_next_one(method: str) -> None:
    """The pool is in the middle of writing it; the task has not begun, so that it may run elsewhere."""
    size = 64 << 20
    with ProcessPool(1, start_method=method) as pool:
        pid = pool.submit(tasks.pid).result(PATIENCE)
        os.kill(pid, signal.SIGSTOP)
        future = pool.submit(len, b"x" * size)
        os.kill(pid, signal.SIGKILL)
        assert future.result(PATIENCE) == size


@needs_proc
def test_a_death_is_noticed_though_a_grandchild_holds_what_it_inherited(
    any_pool: ProcessPool, meeting: Meeting
) -> None:
    future = any_pool.submit(tasks.die_with_living_child, meeting.reports)
    grandchild = int(meeting.next())
    try:
        with pytest.raises(WorkerCrashedError, match="exit code 3"):
            future.result(PATIENCE)
        check_healthy(any_pool)
    finally:
        os.kill(grandchild, signal.SIGKILL)


@needs_proc
def test_after_a_crash_no_zombie_stays(any_pool: ProcessPool) -> None:
    with pytest.raises(WorkerCrashedError) as caught:
        any_pool.submit(tasks.die, "SIGKILL").result(PATIENCE)
    check_healthy(any_pool)
    assert caught.value.pid not in all_processes()


def template_of_this_process() -> int:
    (child,) = [process for process in descendants(os.getpid()) if process.parent == os.getpid()]
    return child.pid


@needs_proc
@pytest.mark.parametrize("method", ["template", "spawn"])
def test_a_template_process_that_is_killed_is_replaced(method: str) -> None:
    with ProcessPool(2, start_method=method) as pool:
        check_healthy(pool)
        workers = [process.pid for process in descendants(template_of_this_process())]
        os.kill(template_of_this_process(), signal.SIGKILL)
        wait_for_end(workers, PATIENCE)  # else one of them may have begun a task that comes now
        check_healthy(pool)


@needs_proc
@pytest.mark.parametrize("method", ["template", "spawn"])
def test_without_their_template_running_tasks_fail_clearly_and_the_queue_runs(
    method: str, meeting: Meeting
) -> None:
    with ProcessPool(2, start_method=method) as pool:
        running = [pool.submit(tasks.hold, meeting.reports, meeting.gate) for _ in range(2)]
        queued = [pool.submit(tasks.double, number) for number in range(30)]
        pids = [int(meeting.next()) for _ in running]
        os.kill(template_of_this_process(), signal.SIGKILL)
        for future in running:
            with pytest.raises(WorkerCrashedError):
                future.result(PATIENCE)
        assert [future.result(PATIENCE) for future in queued] == [2 * number for number in range(30)]
        wait_for_end(pids, PATIENCE)


def check_initializer(pool: ProcessPool, path: Path, workers: int) -> InitializerError:
    """The pool says what its initializer did, at once and for good, after a bounded number of attempts."""
    future = pool.submit(tasks.double, 1)
    errors = [future.exception(PATIENCE)]
    for number in range(5):
        try:
            errors.append(pool.submit(tasks.double, number).exception(PATIENCE))
        except InitializerError as error:
            errors.append(error)
    assert all(isinstance(error, InitializerError) for error in errors), errors
    with pytest.raises(InitializerError):
        pool.submit(tasks.double, 1)
    pool.shutdown()
    assert len(noted(path)) <= FUTILE_STARTS + workers
    assert isinstance(errors[0], InitializerError)
    return errors[0]


def test_an_initializer_that_raises_is_named(method: str, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    with ProcessPool(
        2, initializer=tasks.fail_to_initialize, initargs=(str(path),), start_method=method
    ) as pool:
        error = check_initializer(pool, path, 2)
    assert "LookupError" in str(error)
    assert "no such database" in str(error)
    assert isinstance(error.__cause__, LookupError)
    assert "fail_to_initialize" in str(error.__cause__.__cause__)


@pytest.mark.parametrize("code", [0, 3])
def test_an_initializer_that_ends_the_process_is_named(method: str, tmp_path: Path, code: int) -> None:
    path = tmp_path / "runs"
    arguments = (str(path), code)
    with ProcessPool(
        2, initializer=tasks.exit_in_initializer, initargs=arguments, start_method=method
    ) as pool:
        error = check_initializer(pool, path, 2)
    assert f"exit code {code}" in str(error)


def test_an_initializer_that_calls_sys_exit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    with ProcessPool(2, initializer=tasks.leave_in_initializer, initargs=(str(path),)) as pool:
        assert "SystemExit" in str(check_initializer(pool, path, 2))


def test_a_decorated_function_tells_that_its_initializer_failed(tmp_path: Path) -> None:
    function = parallel_map(
        tasks.double, max_workers=2, initializer=tasks.fail_to_initialize, initargs=(str(tmp_path / "runs"),)
    )
    for _ in range(2):  # the second call may not be worse off than the first
        with pytest.raises(InitializerError, match="no such database"):
            function.map(range(10))
    with pytest.raises(InitializerError, match="no such database"):
        function.submit(1).result(PATIENCE)


@needs_proc
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_junk_on_a_workers_channel_is_not_unpickled_and_costs_that_worker(
    any_pool: ProcessPool, tmp_path: Path, size: int
) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "unpickled"),)

    junk = (pickle.dumps(Trap()) * 100)[:size]
    others = [any_pool.submit(tasks.double, number) for number in range(20)]
    victim = any_pool.submit(tasks.write_junk, junk)
    others += [any_pool.submit(tasks.double, number) for number in range(20)]
    # The task itself may have succeeded, its result being in the journal; or it failed with its worker.
    assert isinstance(victim.exception(PATIENCE), WorkerCrashedError) or victim.result() == "written"
    assert [future.result(PATIENCE) for future in others] == 2 * [2 * number for number in range(20)]
    assert not (tmp_path / "unpickled").exists()
    check_healthy(any_pool)


def test_a_task_that_closes_every_descriptor_costs_nobody_else(any_pool: ProcessPool) -> None:
    victim = any_pool.submit(tasks.close_everything)
    others = [any_pool.submit(tasks.double, number) for number in range(20)]
    assert isinstance(victim.exception(PATIENCE), WorkerCrashedError) or victim.result() == "closed"
    assert [future.result(PATIENCE) for future in others] == [2 * number for number in range(20)]


def test_a_task_that_forks_and_returns_twice_has_one_result(any_pool: ProcessPool) -> None:
    for number in range(5):
        assert any_pool.submit(tasks.fork_and_return, number).result(PATIENCE) == number
        assert any_pool.submit(tasks.double, number).result(PATIENCE) == 2 * number
    size = 3 << 20  # too large for the journal
    assert len(any_pool.submit(tasks.fork_and_return_much, size).result(PATIENCE)) == size
    pids = {any_pool.submit(tasks.pid).result(PATIENCE) for _ in range(10)}
    assert len(pids) <= 2
    check_healthy(any_pool)


def test_a_task_that_runs_out_of_memory_raises_memory_error(any_pool: ProcessPool) -> None:
    with pytest.raises(MemoryError):
        any_pool.submit(tasks.exhaust_memory).result(PATIENCE)
    check_healthy(any_pool)


@pytest.mark.parametrize("method", ["template", "spawn"])
def test_workers_that_cannot_start_are_given_up_with_a_clear_error(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the pool recovers when they can."""
    executable = sys.executable
    with ProcessPool(2, start_method=method) as pool:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(WorkerCrashedError, match="before they were ready"):
            pool.submit(tasks.double, 1).result(PATIENCE)
        monkeypatch.setattr(sys, "executable", executable)
        assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
        check_healthy(pool)


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process cannot open anything any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64 + len(os.listdir("/dev/fd")), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_pool_that_finds_no_descriptor_fails_with_oserror_and_recovers(method: str) -> None:
    with ProcessPool(2, start_method=method) as pool:
        error: BaseException | None
        with no_more_descriptors():
            try:
                error = pool.submit(tasks.double, 1).exception(PATIENCE)
            except OSError as failure:
                error = failure
        assert isinstance(error, OSError), error
        assert error.errno == errno.EMFILE
        check_healthy(pool)


def test_without_descriptors_a_running_pool_goes_on(any_pool: ProcessPool) -> None:
    """When its workers have died it starts others with the descriptors of the dead, or says what is missing."""
    check_healthy(any_pool)
    with no_more_descriptors():
        check_healthy(any_pool)
        for _ in range(2):
            assert isinstance(any_pool.submit(tasks.die, "exit 1").exception(PATIENCE), WorkerCrashedError)
        future = any_pool.submit(tasks.double, 1)
        error = future.exception(PATIENCE)
        assert (isinstance(error, OSError) and error.errno == errno.EMFILE) or future.result() == 2
    check_healthy(any_pool)


def test_many_deaths_in_a_row_do_not_break_the_pool(pool: ProcessPool) -> None:
    for _ in range(3 * FUTILE_STARTS):
        with pytest.raises(WorkerCrashedError):
            pool.submit(tasks.die, "exit 1").result(PATIENCE)
    check_healthy(pool)
