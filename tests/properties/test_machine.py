"""A pool under random submits, cancels, kills, time limits, resizes and shutdowns, against a model of what must come back.

The model knows for each future what it may give. Every task notes that it has begun: none begins twice, one that gives a
value has begun, and one that was cancelled has not. Nothing is waited for but outcomes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from manyhands import ProcessPool, TaskTimeoutError, WorkerCrashedError, parallel_map, process_task, shutdown
from tests.properties.machine import give, leave, refuse, stay

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tasks kill with signals")

#: Long enough for a loaded machine; nothing that works waits for so long.
PATIENCE = 60.0


class Expected(NamedTuple):
    """What a future may give.

    Args:
        future: the future.
        path: where its task notes that it has begun.
        value: what it returns.
        error: what it raises instead, or None.
        shaken: workers were killed, or the pool was ended, while it was under way.
    """

    future: Future[int]
    path: str
    value: int
    error: type[BaseException] | None
    shaken: bool = False


class PoolMachine(RuleBasedStateMachine):
    """What users do to a pool, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.count = 0
        self.size = 2
        self.expected: list[Expected] = []
        self.pool: ProcessPool | None = None

    @initialize(method=st.sampled_from(["template", "fork", "spawn"]))
    def start(self, method: str) -> None:
        self.method = method
        self.pool = ProcessPool(self.size, start_method=method)

    def path(self) -> str:
        self.count += 1
        return str(self.folder / str(self.count))

    def note(self, future: Future[int], path: str, value: int, error: type[BaseException] | None) -> None:
        self.expected.append(Expected(future, path, value, error))

    @precondition(lambda self: self.pool is not None)
    @rule(value=st.integers(0, 99), what=st.sampled_from([give, give, give, refuse, leave]))
    def submit(self, value: int, what: Any) -> None:
        errors = {give: None, refuse: LookupError, leave: WorkerCrashedError}
        path = self.path()
        assert self.pool is not None
        self.note(self.pool.submit(what, path, value), path, value, errors[what])

    @rule(value=st.integers(0, 99), stays=st.booleans())
    def submit_with_limit(self, value: int, stays: bool) -> None:
        path = self.path()
        task = process_task(
            stay if stays else give, max_workers=self.size, timeout=0.05 if stays else PATIENCE
        )
        self.note(task.submit(path, value), path, value, TaskTimeoutError if stays else None)

    @rule(values=st.lists(st.integers(0, 9), max_size=12), chunksize=st.sampled_from([None, 1, 3]))
    def map(self, values: list[int], chunksize: int | None) -> None:
        function = parallel_map(give, max_workers=self.size, chunksize=chunksize, timeout=PATIENCE)
        paths = [self.path() for _ in values]
        assert function.map(paths, values) == values
        assert [Path(path).read_text() for path in paths] == ["x"] * len(values)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.expected) - 1))
        each = self.expected[place]
        if each.future.cancel():
            self.expected[place] = each._replace(error=CancelledError)

    @precondition(lambda self: self.pool is not None and self.expected)
    @rule()
    def kill_a_worker(self) -> None:
        """Whatever it is doing."""
        assert self.pool is not None
        workers = self.pool._pool._workers
        pids = [worker.pid for worker in list(workers.values()) if worker.pid]
        if pids:
            self.shake()
            with suppress(ProcessLookupError):  # it has gone this moment
                os.kill(pids[0], signal.SIGKILL)

    @rule(size=st.integers(1, 4))
    def resize(self, size: int) -> None:
        self.size = size

    @precondition(lambda self: self.pool is not None)
    @rule(how=st.sampled_from(["wait", "cancel", "kill", "leave"]))
    def shut_down(self, how: str) -> None:
        pool, self.pool = self.pool, None
        assert pool is not None
        if how == "kill":
            self.shake()
            pool.kill_workers()
        else:
            pool.shutdown(wait=how != "leave", cancel_futures=how == "cancel")
        with pytest.raises(RuntimeError):
            pool.submit(give, "", 0)

    @precondition(lambda self: self.pool is None)
    @rule()
    def another_pool(self) -> None:
        self.pool = ProcessPool(self.size, start_method=self.method)

    def shake(self) -> None:
        self.expected = [
            each._replace(shaken=not each.future.done() or each.shaken) for each in self.expected
        ]

    @rule()
    def wait_for_everything(self) -> None:
        for each in self.expected:
            self.check(each)
        self.expected.clear()

    def check(self, each: Expected) -> None:
        begun = os.path.getsize(each.path) if os.path.exists(each.path) else 0
        try:
            value = each.future.result(PATIENCE)
        except (LookupError, WorkerCrashedError, TaskTimeoutError, CancelledError) as error:
            begun = os.path.getsize(each.path) if os.path.exists(each.path) else 0
            assert begun <= 1, "it has begun twice"
            if isinstance(error, CancelledError):
                assert begun == 0 or each.shaken
            elif each.shaken and isinstance(error, WorkerCrashedError):
                pass  # it was the one that ran, or the pool was ended
            else:
                assert each.error is not None
                assert isinstance(error, each.error)  # noqa: PT017
        else:
            assert (value, each.error) == (each.value, None)
            assert os.path.getsize(each.path) == 1

    def teardown(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True)
        self.wait_for_everything()
        shutdown()
        shutil.rmtree(self.folder)


TestMachine = PoolMachine.TestCase
TestMachine.settings = settings(
    max_examples=12 * int(os.environ.get("MANYHANDS_EXAMPLES", "1")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
