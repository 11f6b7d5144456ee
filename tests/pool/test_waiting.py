"""Who waits where nothing can come is told so: in the thread that the results come through, and in a forked child."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyhands import ProcessPool, parallel_map, process_task
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting
from tests.pool.streaming import up_to


def wait_by_answer() -> Any:
    return parallel_map(tasks.double, on_result=tasks.nothing).submit(1).result()


WAITS: dict[str, Callable[[], Any]] = {
    "map": lambda: parallel_map(tasks.double, timeout=PATIENCE).map(range(10)),
    "imap": lambda: list(parallel_map(tasks.double, timeout=PATIENCE).imap(range(10))),
    "call": lambda: process_task(tasks.double)(1),
    "submit": lambda: process_task(tasks.double).submit(1).result(),
    "answer": wait_by_answer,
    "stream": lambda: list(up_to(3)),
    "pid": lambda: process_task(tasks.double).start(1).pid,
    "running": lambda: process_task(tasks.double).start(1).result(),
    "receive": lambda: next(iter(process_task(tasks.double).start(1).channel)),
}


@pytest.mark.parametrize("how", WAITS)
def test_waiting_in_a_callback_of_the_pool_is_refused_and_the_pool_goes_on(
    how: str, meeting: Meeting
) -> None:
    raised: list[BaseException] = []
    done = threading.Event()

    def callback(_: object) -> None:
        try:
            WAITS[how]()
        except BaseException as error:
            raised.append(error)
        finally:
            done.set()

    future = process_task(tasks.hold).submit(meeting.reports, meeting.gate)
    meeting.next()
    future.add_done_callback(callback)
    meeting.let_go()
    assert done.wait(PATIENCE)
    assert [type(error) for error in raised] == [RuntimeError]
    assert "would wait for ever" in str(raised[0])
    assert process_task(tasks.double).submit(4).result(PATIENCE) == 8


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("how", ["future", "imap", "stream", "running"])
def test_a_forked_child_that_waits_for_its_parents_tasks_is_told(
    how: str, tmp_path: Path, meeting: Meeting
) -> None:
    with contextlib.ExitStack() as ends:
        wait: Callable[[], Any]
        if how == "future":
            pool = ends.enter_context(ProcessPool(1))
            wait = pool.submit(tasks.hold, meeting.reports, meeting.gate).result
        elif how == "running":
            wait = process_task(tasks.hold).start(meeting.reports, meeting.gate).result
        elif how == "stream":
            stream = ends.enter_context(up_to(1000))
            wait = lambda: list(stream)  # noqa: E731
        else:
            call = parallel_map(tasks.double, timeout=PATIENCE, buffersize=2)
            results = ends.enter_context(contextlib.closing(call.imap(range(50))))  # type: ignore[type-var]
            next(results)
            wait = lambda: list(results)  # noqa: E731
        path = tmp_path / "said"
        child = fork()
        if not child:
            signal.alarm(30)
            try:
                wait()
            except RuntimeError as error:
                path.write_text(str(error))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        meeting.let_go()
        assert "forked from it" in path.read_text()


def fork() -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is about threads: what is tested here
        return os.fork()
