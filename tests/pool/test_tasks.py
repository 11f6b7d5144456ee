"""``process_task``: calls in worker processes, with the meaning that they have here."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import manyhands
from manyhands import Failure, OptionsError, WorkerCrashedError, parallel_map, process_task
from manyhands.scheduling import single
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting
from tests.pool.single import Sized, fail_twice, nested, nested_limit, raise_stop, where

if TYPE_CHECKING:
    from tests.conftest import Program


class TestCalls:
    """A call."""

    def test_runs_in_another_process_and_gives_its_value(self, method: str) -> None:
        pid, args, kwargs = where.options(start_method=method)(1, "two", three=[3])
        assert pid != os.getpid()
        assert (args, kwargs) == ((1, "two"), {"three": [3]})

    @pytest.mark.parametrize(
        "error", [ValueError(1), SystemExit(2), KeyboardInterrupt(), OSError(2, "c", "d")]
    )
    def test_raises_what_the_function_raises(self, method: str, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            process_task(tasks.raising, start_method=method)(error)
        assert caught.value.args == error.args
        assert any("raising(" in note and "in worker" in note for note in caught.value.__notes__)

    def test_a_crash_costs_that_call_and_nothing_else(self, method: str) -> None:
        with pytest.raises(WorkerCrashedError, match="exit code 7"):
            process_task(os._exit, start_method=method)(7)
        assert process_task(tasks.double, start_method=method)(4) == 8

    def test_is_a_method_like_any_other(self) -> None:
        assert Sized(3).larger(4) == (7, True)
        assert Sized.larger(Sized(1), 1) == (2, True)
        assert Sized(0).twice(4) == Sized.twice(4) == 8
        assert Sized.make(5) == 5

    def test_takes_lambdas_closures_and_partials(self) -> None:
        factor = 3
        assert process_task(lambda number: factor * number)(4) == 12
        assert process_task(functools.partial(tasks.add, 1, third=5))(2) == 8

    def test_inside_a_worker_runs_right_there(self) -> None:
        outer, inner = process_task(nested)()
        assert outer == inner

    def test_inside_a_worker_is_limited_all_the_same(self) -> None:
        assert process_task(nested_limit)() == "TaskTimeoutError"

    def test_over_a_mapped_function_keeps_its_options(self) -> None:
        task = process_task(parallel_map(tasks.pid, max_workers=1), timeout=60)
        assert task.settings.max_workers == 1
        assert task() != os.getpid()

    def test_runs_here_for_a_debugger(self) -> None:
        assert where.options(backend="serial")()[0] == os.getpid()

    def test_calls_of_ten_threads_do_not_meet(self) -> None:
        results: dict[int, int] = {}

        def work(number: int) -> None:
            results[number] = sum(process_task(tasks.double)(number + step) for step in range(5))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert results == {number: sum(2 * (number + step) for step in range(5)) for number in range(10)}


class TestOptions:
    """Options that mean something for one call, and those that do not."""

    def test_retries_try_it_again(self, tmp_path: Path) -> None:
        path = str(tmp_path / "calls")
        assert process_task(fail_twice, retries=2, backoff=0)(path) == 3
        assert Path(path).read_text() == "xxx"

    def test_callbacks_are_told(self) -> None:
        results: list[int] = []
        failures: list[Failure] = []
        task = process_task(tasks.double, on_result=results.append, on_error_callback=failures.append)
        assert task(2) == 4
        assert results == [4]
        with pytest.raises(TypeError):
            task(None)
        assert [(failure.item, type(failure.exception)) for failure in failures] == [(None, TypeError)]

    def test_a_function_says_what_to_put_in_the_place_of_a_failure(self) -> None:
        assert process_task(os._exit, on_error=lambda failure: failure.item)(9) == 9
        task = process_task(tasks.raising, on_error=refuse)
        with pytest.raises(LookupError):
            task(ValueError())

    @pytest.mark.parametrize(
        ("name", "value"),
        [("chunksize", 3), ("checkpoint", "x"), ("seed", 1), ("on_error", "skip"), ("backend", "threads")],
    )
    def test_what_means_nothing_for_one_call_is_refused(self, name: str, value: Any) -> None:
        with pytest.raises(OptionsError):
            process_task(tasks.double, **{name: value})
        with pytest.raises(OptionsError):
            process_task(tasks.double).options(**{name: value})

    @pytest.mark.parametrize("thing", [3, "name", asyncio.sleep])
    def test_what_cannot_be_called_is_refused(self, thing: Any) -> None:
        with pytest.raises(TypeError, match=r"process_task|acall"):
            process_task(thing)


def refuse(failure: Failure) -> None:
    raise LookupError(failure.index)


class TestSubmitAndAwait:
    """``submit`` and ``acall``."""

    def test_futures_run_side_by_side(self, meeting: Meeting) -> None:
        task = process_task(tasks.hold, max_workers=2)
        futures = [task.submit(meeting.reports, meeting.gate, number) for number in range(2)]
        assert len({meeting.next(), meeting.next()}) == 2
        meeting.let_go(2)
        assert [future.result(PATIENCE) for future in futures] == [0, 1]

    def test_a_callback_may_submit(self) -> None:
        task, done, found = process_task(tasks.double), threading.Event(), []

        def again(future: Any) -> None:
            found.append(future.result())
            if len(found) < 3:
                task.submit(found[-1]).add_done_callback(again)
            else:
                done.set()

        task.submit(1).add_done_callback(again)
        assert done.wait(PATIENCE)
        assert found == [2, 4, 8]

    def test_awaiting_leaves_the_event_loop_free(self, meeting: Meeting) -> None:
        async def main() -> str:
            call = asyncio.ensure_future(
                process_task(tasks.hold).acall(meeting.reports, meeting.gate, "value")
            )
            await asyncio.to_thread(meeting.next)  # which this loop has time for
            meeting.let_go()
            return str(await asyncio.wait_for(call, PATIENCE))

        assert asyncio.run(main()) == "value"

    def test_cancelling_ends_the_work(self, meeting: Meeting) -> None:
        async def main() -> int:
            call = asyncio.ensure_future(process_task(tasks.hold).acall(meeting.reports, meeting.gate))
            pid = int(await asyncio.to_thread(meeting.next))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return pid

        wait_until_gone(asyncio.run(main()))


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") and Path(f"/proc/{pid}").exists() else -1
    if descriptor >= 0:
        import select

        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        os.close(descriptor)
        assert ready, f"process {pid} is still there"


def test_ctrl_c_ends_the_call_and_its_worker(run_program: Program) -> None:
    ran = run_program(
        """
        import time
        from manyhands import process_task

        @process_task
        def wait():
            print("ready", flush=True)
            time.sleep(3600)

        wait()
        """,
        send_signal=signal.SIGINT,
    )
    assert ran.code in {-signal.SIGINT, 130}
    assert ran.err.count("Traceback") == 1
    assert ran.err.rstrip().endswith("KeyboardInterrupt")


def leave(_: object) -> Any:
    sys.exit(7)


@pytest.mark.parametrize("option", ["on_result", "on_error_callback", "on_error"])
def test_a_callback_that_wants_to_exit_ends_neither_the_pool_nor_the_waiting(
    option: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = process_task(raise_stop if option != "on_result" else abs, **{option: leave})
    future = function.submit(-1)
    if option == "on_result":
        assert future.result(PATIENCE) == 1
    else:
        assert isinstance(future.exception(PATIENCE), StopIteration)
    assert "exception calling a callback" in caplog.text
    assert process_task(abs).submit(-2).result(PATIENCE) == 2


def test_a_task_that_waits_for_its_turn_can_be_cancelled_whatever_is_done_with_its_result(
    meeting: Meeting,
) -> None:
    function = process_task(tasks.hold, on_result=tasks.nothing)
    held = [function.submit(meeting.reports, meeting.gate) for _ in range(20)]
    assert held[-1].cancel()
    assert held[-1].cancelled()
    meeting.let_go(20)
    assert [future.result(PATIENCE) for future in held[:-1]] == [None] * 19


def test_a_stop_iteration_is_a_runtime_error_for_await() -> None:
    """As PEP 479 has it: a coroutine cannot raise the one, and asyncio would wait for ever."""
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        asyncio.run(process_task(raise_stop).acall(1))
    assert isinstance(caught.value.__cause__, StopIteration)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        asyncio.run(parallel_map(raise_stop).amap([1, 2]))


def test_a_default_for_calls_over_many_items_is_none_for_single_ones() -> None:
    manyhands.configure(on_error="collect")
    try:
        with pytest.raises(StopIteration):
            process_task(raise_stop)(1)
        with pytest.raises(StopIteration):
            parallel_map(raise_stop).submit(1).result(PATIENCE)
        assert isinstance(parallel_map(raise_stop, on_error="collect").submit(1).result(PATIENCE), Failure)
    finally:
        manyhands.configure(on_error="raise")


def test_what_is_ended_while_it_waits_for_another_try_has_its_last_failure() -> None:
    future: Any = process_task(raise_stop, retries=1, backoff=3600).submit(1)
    end = time.monotonic() + PATIENCE
    while not any(task.last for task in future.submissions._running.values()):
        assert time.monotonic() < end
        os.sched_yield()
    single.end(future)
    assert isinstance(future.exception(PATIENCE), StopIteration)
