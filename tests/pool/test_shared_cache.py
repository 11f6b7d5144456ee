"""``shared_cache``: entries that all processes see, computed by one of them, kept for later runs if wanted."""

from __future__ import annotations

import functools
import math
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from manyhands import Failure, WorkerCrashedError, parallel_map, process_task, shared_cache, shutdown
from manyhands.keys import canonical
from manyhands.sharedcache import SharedCache
from tests.pool import cached
from tests.pool.cached import noted

# The memory of a module's caches stays as long as the module: it is not what a test has left behind.
for one in [*vars(cached).values(), cached.Scaled.times, *cached.TELLING.values()]:
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


NAN = float("nan")
ATOMS = st.sampled_from(
    [
        1, 2, "a", "b", 1.0, True, Decimal(1), Fraction(2), 1 + 0j, 0, 0.0, -0.0, False, NAN, math.inf, None, b"a",
        cached.Text("a"), cached.Whole(1), cached.Word("a"), cached.Word("A"), cached.Word("b"),
    ]
)  # fmt: skip
VALUES = ATOMS | st.tuples(ATOMS) | st.tuples(ATOMS, ATOMS) | st.frozensets(ATOMS, max_size=3)
ARGUMENTS = st.tuples(
    st.lists(VALUES, min_size=1, max_size=2).map(tuple) | st.just(([],)),
    st.dictionaries(st.sampled_from("xyz"), ATOMS, max_size=2) | st.just({}),
)


def copied(arguments: Any) -> Any:
    """As another process gets them: what is equal to nothing but itself, is equal to nothing."""
    return pickle.loads(pickle.dumps(arguments))


class TestKeys:
    """Calls, wherever they are made, find the entries that they find in one ``lru_cache``."""

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        calls=st.lists(st.tuples(ARGUMENTS, st.booleans()), max_size=15),
        repeated=st.lists(st.tuples(st.integers(0, 14), st.booleans()), max_size=15),
        maxsize=st.sampled_from([None, 0, 1, 2, 4]),
        typed=st.booleans(),
    )
    def test_are_those_of_lru_cache(
        self, calls: Any, repeated: Any, maxsize: int | None, typed: bool
    ) -> None:
        shared = cached.TELLING[maxsize, typed]
        shared.cache_clear()
        model = functools.lru_cache(maxsize, typed)(cached.tell)
        work = process_task(cached.use_telling, **ISOLATED)
        repeated = [(calls[place][0], away) for place, away in repeated if place < len(calls)]
        for (args, kwargs), away in (*calls, *repeated):
            here_args, here_kwargs = copied((args, kwargs)) if away else (args, kwargs)
            try:
                expected = model(*here_args, **here_kwargs)
            except TypeError as error:
                expected = str(error)
            found = (work if away else cached.use_telling)(maxsize, typed, args, kwargs)
            assert found == expected
            assert shared.cache_info() == model.cache_info()
        assert shared.cache_parameters() == model.cache_parameters()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls=st.lists(ARGUMENTS.filter(lambda each: each[0] != ([],)), max_size=10), typed=st.booleans())
    def test_in_a_file_are_those_of_one_lru_cache_that_lives_through_all_runs(
        self, calls: Any, typed: bool
    ) -> None:
        model = functools.lru_cache(None, typed)(cached.tell)
        with tempfile.TemporaryDirectory() as folder:
            for args, kwargs in calls:
                # Another object, that knows nothing but the file.
                run = shared_cache(cached.tell, maxsize=None, typed=typed, path=f"{folder}/entries.db")
                assert run(*args, **kwargs) == model(*copied(args), **copied(kwargs))
                run._entries.close()

    @settings(max_examples=300, deadline=None)
    @given(one=VALUES, other=VALUES)
    def test_have_equal_bytes_where_they_are_equal(self, one: Any, other: Any) -> None:
        def word(value: cached.Word) -> bytes:
            return value.word.lower().encode()

        first, second = (
            canonical(value, lambda value: word(value) if value else b"") for value in (one, other)
        )
        if first is not None and second is not None:
            assert (first == second) is (one == other)

    def test_in_processes_with_other_hashes(self) -> None:
        program = f"""
            import sys, time
            sys.path.insert(0, {str(Path(__file__).parents[2])!r})
            from tests.pool import cached
            from manyhands import process_task, shutdown
            work = process_task(cached.use_telling, max_workers=1, max_tasks_per_child=1, start_method="spawn")
            for word in ("Many", "mANY", "MANY"):
                assert work(None, False, (cached.Word(word), "x"), {{}}) == (("Word Word('Many')", "str 'x'"), []), word
            print(cached.TELLING[None, False].cache_info()[:2])
        """
        run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False,
                             env={**os.environ, "PYTHONHASHSEED": "random"})  # fmt: skip
        assert (run.stdout, run.returncode, run.stderr) == ("(2, 1)\n", 0, "")


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


def test_who_waits_for_a_key_does_not_wait_for_the_next_one_of_who_computes_it(monkeypatch: Any) -> None:
    monkeypatch.setattr("manyhands.sharedcache.log.FLIGHTS", 2)  # a lock that is given back is the next key's

    @shared_cache(maxsize=None)
    def needs(key: str, call: int) -> None:
        if key == "slow":
            time.sleep(0.02)
        elif key == "first":
            needs("slow", call)
        else:
            needs("first", call)

    def one(call: int) -> None:
        needs("slow", call)
        needs("last", call)

    def other(call: int) -> None:
        time.sleep(0.005)
        needs("first", call)

    for call in range(8):
        threads = [threading.Thread(target=target, args=(call,), daemon=True) for target in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert needs.cache_info().misses == 8 * 3


def test_globals_that_were_changed_are_what_is_computed_with(monkeypatch: Any) -> None:
    cached.scaled.cache_clear()
    work = parallel_map(cached.use_scaled, **ISOLATED)
    assert work.map([1, 2, 3]) == [1, 2, 3]
    monkeypatch.setattr(cached, "SCALE", 5)
    assert work.map([3, 4, 5]) == [3, 20, 25]
    cached.scaled.cache_clear()
    assert work.map([3, 4]) == [15, 20]


def test_so_it_is_in_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from manyhands import parallel_map, shared_cache

            scale = 1

            @shared_cache
            def scaled(x):
                return scale * x

            work = parallel_map(lambda x: scaled(x), max_workers=2, max_tasks_per_child=1000)
            assert work.map([1, 2, 3]) == [1, 2, 3]
            scale = 5
            assert work.map([3, 4, 5]) == [3, 20, 25]
            """
        )
    )
    subprocess.run([sys.executable, program], check=True, timeout=60)


def test_a_recursion_without_end_ends_also_if_two_share_it() -> None:
    both = threading.Barrier(2)

    @shared_cache(maxsize=None)
    def endless(key: int) -> int:
        if both.n_waiting or not both.broken:
            try:
                both.wait(0.5)
            except threading.BrokenBarrierError:
                pass
        both.abort()
        return endless(1 - key)

    outcomes: list[BaseException] = []

    def call(key: int) -> None:
        try:
            endless(key)
        except RecursionError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=call, args=(key,), daemon=True) for key in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 2


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
    """A bounded shared cache, used here and in workers, one call after the other, against ``lru_cache``."""

    keys = st.integers(0, 7) | st.sampled_from([1.0, True, "a", (1,), (True,)])

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.victim = os.path.join(self.folder.name, "victim")
        self.dead = 0

    @initialize(maxsize=st.sampled_from([None, 1, 4]))
    def start(self, maxsize: int | None) -> None:
        self.shared = cached.TELLING[maxsize, False]
        self.shared.cache_clear()
        self.model = functools.lru_cache(maxsize)(cached.tell)
        self.maxsize = maxsize
        self.work = process_task(cached.use_telling, **{**ISOLATED, "max_workers": 1})
        self.mapped = parallel_map(
            functools.partial(cached.use_telling, maxsize, False), **{**ISOLATED, "max_workers": 1}
        )
        self.idle = process_task(os.getpid, **{**ISOLATED, "max_workers": 1})

    def check(self) -> None:
        assert self.shared.cache_info() == self.model.cache_info()

    @rule(x=keys)
    def call(self, x: Any) -> None:
        assert self.shared(x) == self.model(x)
        self.check()

    @rule(x=keys)
    def call_in_worker(self, x: Any) -> None:
        assert self.work(self.maxsize, False, (x,), {}) == self.model(x)
        self.check()

    @rule(xs=st.lists(keys, max_size=12), how=st.sampled_from(["map", "imap", "submit"]))
    def calls_in_worker(self, xs: list[Any], how: str) -> None:
        arguments = [(x,) for x in xs]
        if how == "submit":
            found = [future.result() for future in [self.mapped.submit(each, {}) for each in arguments]]
        else:
            found = list(getattr(self.mapped, how)(arguments, [{}] * len(xs)))
        assert found == [self.model(x) for x in xs]
        self.check()

    @rule(x=keys)
    def a_worker_is_killed_while_it_computes(self, x: Any) -> None:
        """It has counted a miss, and leaves nothing."""
        self.dead += 1
        Path(self.victim).touch()
        key = cached.Killer(self.victim, self.dead)
        with pytest.raises(WorkerCrashedError):
            self.work(self.maxsize, False, (key, x), {})
        assert not os.path.exists(self.victim)
        with pytest.raises(LookupError):
            self.model(cached.Failing(), x)
        self.check()
        assert self.work(self.maxsize, False, (key, x), {}) == self.model(key, x)
        self.check()

    @rule()
    def an_idle_worker_is_killed(self) -> None:
        os.kill(self.idle(), signal.SIGKILL)

    @rule()
    def clear(self) -> None:
        self.shared.cache_clear()
        self.model.cache_clear()
        self.check()

    @rule()
    def replace_workers(self) -> None:
        shutdown()

    @rule(xs=st.permutations([*range(8), True, "a", (1,)]))
    def everything_is_looked_for(self, xs: list[Any]) -> None:
        for x in xs:
            assert self.shared(x) == self.model(x)
            self.check()

    def teardown(self) -> None:
        self.folder.cleanup()


SharedMachine.TestCase.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.skipif(sys.platform == "win32", reason="workers are killed with signals")
class TestSharedMachine(SharedMachine.TestCase):  # type: ignore[name-defined]
    """Run by pytest."""


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


def test_functions_that_are_made_one_after_the_other_are_told_apart_in_a_file(tmp_path: Path) -> None:
    def made(k: int) -> Any:
        return shared_cache(lambda x: x * k, path=tmp_path / "entries.db")

    assert [made(k)(1) for k in range(8)] == list(range(8))  # at the same address, perhaps
    assert [made(k)(True) for k in range(8)] == list(range(8))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "entries.db").write_text("not a database, but some text that is long enough for one")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        shared_cache(abs, path=tmp_path / "entries.db")(-1)
    assert "entries.db" in caught.value.__notes__[0]


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
