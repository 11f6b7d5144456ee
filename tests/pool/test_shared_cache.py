"""``shared_cache``: entries that all processes see, computed by one of them, kept for later runs if wanted."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from manyhands import Failure, WorkerCrashedError, parallel_map, process_task, shared_cache, shutdown
from manyhands.scheduling import entries
from manyhands.sharedcache import SharedCache
from tests.pool import cached
from tests.pool.cached import noted

# The memory of a module's caches stays as long as the module: it is not what a test has left behind.
for one in [*vars(cached).values(), cached.Scaled.times]:
    if isinstance(one, SharedCache):
        one.cache_info()

ISOLATED: dict[str, Any] = {"max_workers": 2, "max_tasks_per_child": 10_000}
METHODS = ["spawn"] + (["template", "fork"] if hasattr(os, "fork") else [])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "computed")


@pytest.mark.parametrize("method", METHODS)
def test_all_processes_see_what_one_has_computed(path: str, method: str) -> None:
    cached.doubled.cache_clear()
    assert cached.doubled(path, 0) == [0]
    work = parallel_map(cached.use_doubled, start_method=method, **ISOLATED)
    found = work.map([path] * 60, [x % 6 for x in range(60)])
    assert [value for value, _ in found] == [2 * (x % 6) for x in range(60)]
    assert os.getpid() not in {pid for _, pid in found}
    assert noted(path) == Counter({f"({x},)": 1 for x in range(6)})
    assert cached.doubled(path, 5) == [10]
    assert cached.doubled(path, 5) is cached.doubled(path, 5)
    assert cached.doubled.cache_info() == (58, 6, None, 6)


def test_clearing_in_a_worker_clears_for_all(path: str) -> None:
    cached.doubled.cache_clear()
    assert cached.doubled(path, 1) == [2]
    parallel_map(cached.use_doubled, **ISOLATED).map([path] * 2, [1, 2])
    process_task(cached.clear_doubled)()
    assert cached.doubled.cache_info() == (0, 0, None, 0)
    assert cached.doubled(path, 1) == [2]
    assert noted(path)["(1,)"] == 2


def test_workers_that_are_replaced_find_what_is_there(path: str) -> None:
    cached.doubled.cache_clear()
    parallel_map(cached.use_doubled, max_workers=2, max_tasks_per_child=1).map([path] * 8, [1, 2] * 4)
    shutdown()
    parallel_map(cached.use_doubled, **ISOLATED).map([path] * 8, [1, 2] * 4)
    assert noted(path).total() == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_one_computes_and_the_other_waits(path: str) -> None:
    cached.slow.cache_clear()
    gate = path + ".gate"
    os.mkfifo(gate)
    work = process_task(cached.use_slow, **ISOLATED)
    futures = [work.submit(path, gate, 1) for _ in range(2)]
    Path(gate).write_text("go")
    assert [future.result() for future in futures] == [1, 1]
    assert noted(path).total() == 1
    assert cached.slow.cache_info()[:2] == (1, 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_if_who_computes_dies_the_next_takes_over(path: str) -> None:
    cached.slow.cache_clear()
    gate = path + ".gate"
    os.mkfifo(gate)
    work = process_task(cached.use_slow, **ISOLATED)
    futures = [work.submit(path, gate, -1) for _ in range(2)]
    Path(gate).write_text("go")
    outcomes = [future.exception() or future.result() for future in futures]
    assert sorted(map(type, outcomes), key=str) == sorted([WorkerCrashedError, int], key=str)
    assert noted(path).total() == 2


def test_recursion_waits_for_nobody() -> None:
    cached.factorial.cache_clear()
    work = parallel_map(cached.use_factorial, **ISOLATED)
    items = [30, 29, 31, 150, 30, 1] * 3
    plain = functools.reduce
    assert work.map(items) == [plain(lambda a, b: a * b, range(1, n + 1)) for n in items]


def test_exceptions_are_not_kept(path: str) -> None:
    for _ in range(2):
        with pytest.raises(LookupError):
            cached.refuses(path, 1)
    assert noted(path).total() == 2
    assert cached.refuses.cache_info()[1:] == (2, 128, 0)


def test_what_cannot_be_pickled_is_kept_by_its_process(path: str) -> None:
    cached.stays.cache_clear()
    assert cached.stays(path, 1) is cached.stays(path, 1)
    assert parallel_map(cached.use_stays, **ISOLATED).map([path] * 4, [1] * 4) == [True] * 4
    assert parallel_map(cached.use_stays, **ISOLATED).map([path] * 4, [-1] * 4) == [True] * 4
    cached.stays(path, 1).close()
    shutdown()
    cached.stays.cache_clear()
    cached.stays(path, -2)


def test_without_room_nothing_is_kept(path: str) -> None:
    assert [cached.never(path, 1) for _ in range(3)] == [1] * 3
    assert cached.never.cache_info() == (0, 3, 0, 0)


def test_keys_are_those_of_lru_cache() -> None:
    cached.named.cache_clear()
    model = functools.lru_cache(maxsize=8, typed=True)(cached.named.__wrapped__)
    for args, kwargs in [
        ((1,), {}),
        ((1.0,), {}),
        ((), {"a": 1, "b": 2}),
        ((), {"b": 2, "a": 1}),
        ((1,), {}),
    ]:
        assert cached.named(*args, **kwargs) == model(*args, **kwargs)
        assert cached.named.cache_info() == model.cache_info()
    with pytest.raises(TypeError, match="unhashable"):
        cached.named([])
    assert cached.named.cache_parameters() == model.cache_parameters()


def test_methods_have_their_instance_in_the_key(path: str) -> None:
    work = parallel_map(cached.use_times, **ISOLATED)
    scaled = [cached.Scaled(2), cached.Scaled(3), cached.Scaled(2)]
    assert work.map(scaled, [path] * 3, [5] * 3) == [10, 15, 10]  # in whose modules it is another
    cached.Scaled.times.cache_clear()
    before = noted(path).total()
    assert [cached.Scaled(by).times(path, 5) for by in (2, 3, 2)] == [10, 15, 10]
    assert noted(path).total() == before + 2


def test_functions_that_travel_by_value_share_it_too(path: str) -> None:
    @shared_cache(maxsize=None)
    def local(x: int) -> int:
        cached.note(path, x)
        return -x

    work = parallel_map(lambda x: local(x) - 1, **ISOLATED)
    assert work.map([1, 2, 1, 2]) == [-2, -3, -2, -3]
    assert local(1) == -1
    assert noted(path).total() == 2
    # It is a function like any other, too.
    assert parallel_map(local, **ISOLATED).map([1, 3]) == [-1, -3]
    assert noted(path).total() == 3


def test_large_values_and_many_of_them(path: str) -> None:
    @shared_cache(maxsize=3)
    def large(x: int) -> bytes:
        return bytes([x]) * 200_000

    work = parallel_map(lambda x: large(x)[0], **ISOLATED)
    items = [x % 7 for x in range(50)]
    assert work.map(items) == items
    assert large.cache_info().currsize == 3
    assert large._log.memory.size < 8 << 20  # what was evicted is made room of


def test_ten_threads_compute_each_key_once(path: str) -> None:
    cached.doubled.cache_clear()
    with ThreadPoolExecutor(10) as threads:
        found = list(threads.map(lambda x: cached.doubled(path, x % 20), range(400)))
    assert found == [[2 * (x % 20)] for x in range(400)]
    assert noted(path).total() == 20
    assert cached.doubled.cache_info() == (380, 20, None, 20)


@pytest.mark.skipif(sys.platform == "win32", reason="the tasks kill with signals")
def test_processes_that_die_at_any_moment_leave_a_cache_that_is_right(path: str) -> None:
    cached.deadly.cache_clear()
    work = parallel_map(cached.use_all, max_workers=3, max_tasks_per_child=50, on_error="collect")
    found = work.map([path] * 400, range(400))
    for x, value in enumerate(found):
        if isinstance(value, Failure):
            assert isinstance(value.exception, WorkerCrashedError)
        else:
            assert value == (x % 37, x % 50, math.factorial(x % 20))
    assert {failure.index for failure in found.errors} >= {x for x in range(400) if x % 97 == 13}
    assert len(found.errors) <= 5 + 10
    assert cached.bounded.cache_info().currsize == 20


class SharedMachine(RuleBasedStateMachine):
    """A bounded shared cache in one process at a time, here or in a worker, against ``lru_cache``."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "computed")

    @initialize()
    def start(self) -> None:
        cached.few.cache_clear()
        self.model = functools.lru_cache(maxsize=4)(lambda x: [2 * x])
        self.work = process_task(cached.use_few, **ISOLATED)

    def check(self) -> None:
        assert cached.few.cache_info() == self.model.cache_info()

    @rule(x=st.integers(0, 7))
    def call(self, x: int) -> None:
        assert cached.few(self.path, x) == self.model(x)
        self.check()

    @rule(x=st.integers(0, 7))
    def call_in_worker(self, x: int) -> None:
        assert self.work(self.path, x) == self.model(x)[0]
        self.check()

    @rule()
    def clear(self) -> None:
        cached.few.cache_clear()
        self.model.cache_clear()
        self.check()

    @rule()
    def replace_workers(self) -> None:
        shutdown()

    def teardown(self) -> None:
        self.folder.cleanup()


SharedMachine.TestCase.settings = settings(
    max_examples=10, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSharedMachine = SharedMachine.TestCase


PROGRAM = """
from manyhands import shared_cache
@shared_cache(maxsize=None, path={path!r})
def work(x, more=None):
    print("computed", x)
    return {result}
print(work(1), work((1, "a")), work(1), work({{2, 3}}, more=[5] and "y"))
"""


def printed(program: str) -> str:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def test_a_file_keeps_entries_for_later_runs(tmp_path: Path) -> None:
    path = str(tmp_path / "entries.db")
    program = PROGRAM.replace("{{2, 3}}", "frozenset([2, 3])")
    first = program.format(path=path, result="x")
    assert printed(first).count("computed") == 3
    again = printed(first)
    assert again.count("computed") == 0
    assert again.startswith("1 (1, 'a') 1")
    changed = program.format(path=path, result="(x, x)")
    assert printed(changed).count("computed") == 3
    assert printed(first).count("computed") == 0


def test_a_file_is_shared_by_workers(tmp_path: Path, path: str) -> None:
    @shared_cache(maxsize=None, path=tmp_path / "entries.db")
    def work(x: int) -> int:
        cached.note(path, x)
        return -x

    assert parallel_map(lambda x: work(x) - 1, **ISOLATED).map([1, 2] * 10) == [-2, -3] * 10
    assert noted(path).total() == 2
    work.cache_clear()
    assert work(1) == -1
    assert noted(path).total() == 3
    entries._close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shared_cache(3), "needs a function"),
        (lambda: shared_cache(abs, maxsize="3"), "maxsize must be"),
        (lambda: shared_cache(abs, maxsize=True), "maxsize must be"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()
