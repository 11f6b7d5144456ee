"""A cached function under random calls, against the same function with a plain ``lru_cache`` in one process.

The model is the loop: values, ``cache_info``, what is kept and in which order it was used are equal after every step, whatever
workers do and however they end. Values tell the types of what they were computed from. Computations are counted where they
happen, in a file: within one call no key is computed twice.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from manyhands import Failure, WorkerCrashedError, parallel_map, shutdown
from manyhands.cache import Cache
from manyhands.keys import entries

# Equal and unequal, of types that lru_cache treats as their own keys and of others.
atoms = st.sampled_from(
    [0, 1, 2, 1.0, 2.0, True, False, None, "a", "b", "1", b"a", (), (1,), (1.0,), ("a",), frozenset({1})]
)
arguments = st.tuples(
    st.lists(atoms, max_size=3).map(tuple), st.dictionaries(st.sampled_from("xyz"), atoms, max_size=2)
)


# Keys that are equal and not the same, and ordinary ones that push them out.
alike = st.sampled_from([1, 2, 3, "a", 1.0, True, 2.0, 0.0, -0.0, False, (1,), (True,), ((1.0,),), ((1,),)])


def same(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def types_of(value: Any) -> Any:
    return tuple(map(types_of, value)) if type(value) is tuple else f"{type(value).__name__} {value!r}"


def tell(*args: Any) -> Any:
    return types_of(args)


def kept(function: Any) -> list[Any]:
    """What a cache has, the entry first that was not used for the longest time, with all types."""
    return list(map(types_of, entries(function)))


class TestKeys:
    """Calls that find the same entry in an ``lru_cache`` have equal keys, and only they."""

    @settings(max_examples=500, deadline=None)
    @given(one=arguments, two=arguments, typed=st.booleans())
    def test_keys_are_equal_where_lru_cache_finds_the_same_entry(
        self, one: Any, two: Any, typed: bool
    ) -> None:
        plain = functools.lru_cache(None, typed)(same)
        plain(*one[0], **one[1])
        plain(*two[0], **two[1])
        cache = Cache(plain, plain)
        assert (cache.key(*one) == cache.key(*two)) is (plain.cache_info().hits == 1)

    @settings(max_examples=200, deadline=None)
    @given(calls=st.lists(arguments, max_size=12), typed=st.booleans(), maxsize=st.sampled_from([None, 1, 3]))
    def test_what_the_cache_knows_is_found_under_these_keys(
        self, calls: Any, typed: bool, maxsize: int | None
    ) -> None:
        plain = functools.lru_cache(maxsize, typed)(same)
        cache = Cache(plain, plain)
        for args, kwargs in calls:
            cache.lru(*args, **kwargs)
        known = cache.known()
        assert len(known) == cache.info().currsize
        for args, kwargs in calls:
            hits = cache.info().hits
            value = known.get(cache.key(args, kwargs))
            if value is None:
                continue
            assert cache.lru(*args, **kwargs) is value
            assert cache.info().hits == hits + 1

    @settings(max_examples=200, deadline=None)
    @given(
        items=st.lists(atoms, max_size=6),
        constants=st.dictionaries(st.sampled_from("xyz"), atoms, max_size=2),
        before=st.lists(atoms, max_size=1).map(tuple),
        typed=st.booleans(),
    )
    def test_the_keys_of_a_call_are_those_of_its_tasks(
        self, items: Any, constants: Any, before: Any, typed: bool
    ) -> None:
        cache = Cache(plain := functools.lru_cache(None, typed)(same), plain)
        expected = [cache.key((*before, item), constants) for item in items]
        found = list(cache.keys(items, before, constants, 0))
        assert found == expected
        assert list(map(type, found)) == list(map(type, expected))
        starred = [(item, item) for item in items]
        expected = [cache.key((*before, *item), constants) for item in starred]
        assert list(cache.keys(starred, before, constants, 1)) == expected

    @settings(max_examples=100, deadline=None)
    @given(
        items=st.lists(st.integers(0, 4), max_size=30),
        maxsize=st.sampled_from([None, 0, 1, 2, 3, 10]),
        starred=st.booleans(),
        lazy=st.booleans(),
    )
    def test_a_call_leaves_the_cache_as_the_loop_does(
        self, items: list[int], maxsize: int | None, starred: bool, lazy: bool
    ) -> None:
        plain = functools.lru_cache(maxsize)(same)
        here = parallel_map(functools.lru_cache(maxsize)(same), backend="serial")
        if starred:
            values = here.starmap([(item, item) for item in items])
            assert values == [plain(item, item) for item in items]
        else:
            values = list(here.imap(items)) if lazy else here.map(items)
            assert values == [plain(item) for item in items]
        assert here.cache_info() == plain.cache_info()


OPTIONS: list[dict[str, Any]] = [
    {},  # freely, mostly here
    {"max_tasks_per_child": 1000},  # never here
    {"timeout": 60},
    {"backend": "threads", "initializer": tuple},  # in threads, never here
]


class TestValues:
    """The value of a call is that of the loop, to the types of what it was computed from."""

    @pytest.mark.parametrize("options", OPTIONS, ids=["free", "isolated", "timed", "threads"])
    @settings(max_examples=40, deadline=None)
    @given(
        calls=st.lists(
            st.tuples(st.sampled_from(["map", "imap", "starmap", "submit"]), st.lists(alike, max_size=14)),
            min_size=1,
            max_size=3,
        ),
        maxsize=st.sampled_from([None, 0, 1, 2, 3]),
        typed=st.booleans(),
    )
    def test_is_that_of_the_loop_where_equal_arguments_have_other_types(
        self, options: dict[str, Any], calls: Any, maxsize: int | None, typed: bool
    ) -> None:
        model = functools.lru_cache(maxsize, typed)(tell)
        function = parallel_map(functools.lru_cache(maxsize, typed)(tell), **{"max_workers": 2, **options})
        for how, items in calls:
            if how == "starmap":
                found = function.starmap([(item, 5) for item in items])
                assert found == [model(item, 5) for item in items]
            elif how == "submit":
                assert [function.submit(item).result() for item in items] == [model(item) for item in items]
            else:
                assert list(getattr(function, how)(items)) == [model(item) for item in items]
            assert function.cache_info() == model.cache_info()
            assert kept(function._memory.cache.lru) == kept(model)  # type: ignore[union-attr]

    @pytest.mark.parametrize("options", OPTIONS, ids=["free", "isolated", "timed", "threads"])
    @settings(max_examples=40, deadline=None)
    @given(items=st.lists(alike, max_size=20), maxsize=st.sampled_from([None, 1, 2, 3]))
    def test_is_that_of_the_loop_where_some_of_equal_arguments_fail(
        self, options: dict[str, Any], items: Any, maxsize: int | None
    ) -> None:
        def work(x: Any) -> Any:
            if type(x) is float:
                raise LookupError(repr(x))
            return types_of(x)

        how = {"max_workers": 2, "on_error": lambda failure: repr(failure.exception)}
        model = parallel_map(functools.lru_cache(maxsize)(work), **how, backend="serial")
        function = parallel_map(functools.lru_cache(maxsize)(work), **{**how, **options})
        assert function.map(items) == model.map(items)
        assert function.cache_info() == model.cache_info()


class Counted:
    """A function that notes in a file that it computes, and what; some arguments fail, some end their process.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def note(self, x: Any) -> None:
        with open(self.path, "a") as file:
            file.write(f"{x!r}\n")

    def counts(self) -> Counter[str]:
        found = Counter(Path(self.path).read_text().split("\n")[:-1])
        Path(self.path).write_text("")
        return found


FAILING = 7


class Died(LookupError):
    """What stands in the caller's process for the death of a worker."""


def compute(path: str, caller: int, x: Any) -> Any:
    """Note a computation; end the process at the first try of a text that somebody has marked in a file."""
    Counted(path).note(x)
    if x == FAILING:
        raise LookupError(x)
    if type(x) is str:
        try:
            os.unlink(f"{path}.{x}")
        except FileNotFoundError:
            return types_of(x)
        if os.getpid() != caller:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Died
    return types_of(x)


def expected_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Died, WorkerCrashedError):
        return "died"
    except LookupError as error:
        return repr(error)


def result_of(found: Any) -> Any:
    """A result, in the form of ``expected_of``."""
    if not isinstance(found, Failure):
        return found
    return "died" if isinstance(found.exception, (Died, WorkerCrashedError)) else repr(found.exception)


class CacheMachine(RuleBasedStateMachine):
    """What users do with a cached function, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.counted = Counted(os.path.join(self.folder.name, "computed"))
        Path(self.counted.path).touch()

    @initialize(
        maxsize=st.sampled_from([None, None, 0, 1, 2, 4, 8]),
        typed=st.booleans(),
        options=st.sampled_from([*OPTIONS, {"backend": "threads"}]),
    )
    def start(self, maxsize: int | None, typed: bool, options: dict[str, Any]) -> None:
        path, caller = self.counted.path, os.getpid()

        def work(x: Any) -> Any:
            return compute(path, caller, x)

        # The model computes in silence.
        self.model_path = os.path.join(self.folder.name, "model")
        self.model = functools.lru_cache(maxsize, typed)(lambda x: compute(self.model_path, caller, x))
        self.victims = 0
        self.function = parallel_map(
            functools.lru_cache(maxsize, typed)(work), **{"max_workers": 2, **options}
        )
        self.maxsize = maxsize

    def check(self) -> None:
        assert self.function.cache_info() == self.model.cache_info()
        assert kept(self.function._memory.cache.lru) == kept(self.model)  # type: ignore[union-attr]

    keys = st.integers(0, 9) | st.sampled_from([1.0, True, 3.0, 0.0, -0.0, (1,), (True,)])
    items = st.lists(keys, max_size=25)

    @rule(x=keys)
    def call(self, x: Any) -> None:
        assert expected_of(lambda: self.function(x)) == expected_of(lambda: self.model(x))
        self.check()

    @rule(xs=items, chunksize=st.sampled_from([None, 1, 3]))
    def map(self, xs: list[Any], chunksize: int | None) -> None:
        self.counted.counts()
        found = expected_of(lambda: self.function.options(chunksize=chunksize).map(xs))
        assert found == expected_of(lambda: [self.model(x) for x in xs])
        computed = self.counted.counts()
        if self.maxsize is None:
            assert all(count == 1 for x, count in computed.items() if x != repr(FAILING))
        self.check()

    @rule(xs=items)
    def collect(self, xs: list[Any]) -> None:
        self.counted.counts()
        found = self.function.options(on_error="collect").map(xs)
        assert list(map(result_of, found)) == [expected_of(lambda x=x: self.model(x)) for x in xs]  # type: ignore[misc]
        computed = self.counted.counts()
        failing = xs.count(FAILING)
        assert computed.pop(repr(FAILING), 0) == failing
        self.check()

    @rule(xs=items)
    def imap(self, xs: list[Any]) -> None:
        found = expected_of(lambda: list(self.function.imap(iter(xs))))
        assert found == expected_of(lambda: [self.model(x) for x in xs])
        self.check()

    @rule(xs=items, count=st.integers(0, 25))
    def some_of_imap(self, xs: list[Any], count: int) -> None:
        xs = [x for x in xs if x != FAILING]
        results = self.function.imap(iter(xs))
        for _, x, value in zip(range(count), xs, results, strict=False):
            assert value == self.model(x)
        results.close()  # type: ignore[attr-defined]
        if count < len(xs):
            self.check()

    @rule(xs=items)
    def submit(self, xs: list[Any]) -> None:
        for x in xs[:4]:
            found = expected_of(lambda x=x: self.function.submit(x).result())  # type: ignore[misc]
            assert found == expected_of(lambda x=x: self.model(x))  # type: ignore[misc]
        self.check()

    @rule(xs=items, place=st.integers(0, 25), times=st.integers(1, 3))
    def a_task_kills_its_worker(self, xs: list[Any], place: int, times: int) -> None:
        xs = [x for x in xs if x != FAILING]
        self.victims += 1
        victim = f"victim {self.victims}"
        for path in (self.counted.path, self.model_path):
            Path(f"{path}.{victim}").touch()
        # Without a cache, each of equal items is a task, and whichever runs first is the one that dies.
        xs[place:place] = [victim] * (1 if self.maxsize == 0 else times)
        found = self.function.options(on_error="collect").map(xs)
        assert list(map(result_of, found)) == [expected_of(lambda x=x: self.model(x)) for x in xs]  # type: ignore[misc]
        self.check()

    @rule(xs=items, place=st.integers(0, 5), lazy=st.booleans())
    def workers_are_killed_while_they_work(self, xs: list[Any], place: int, lazy: bool) -> None:
        xs = [x for x in xs if x != FAILING]
        results = []

        def on_result(value: Any) -> None:
            results.append(value)
            if len(results) == place:
                self.kill()

        function = self.function.options(retries=9, backoff=0, on_result=on_result)
        found = list(function.imap(iter(xs))) if lazy else function.map(xs)
        assert found == [self.model(x) for x in xs]
        self.check()

    @rule()
    def clear(self) -> None:
        self.function.cache_clear()
        self.model.cache_clear()
        self.check()

    @rule()
    def kill(self) -> None:
        for pid in self.function.cache_info(per_worker=True):
            if pid != os.getpid():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def teardown(self) -> None:
        shutdown()
        self.folder.cleanup()


CacheMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.skipif(sys.platform == "win32", reason="workers are killed with signals")
class TestCacheMachine(CacheMachine.TestCase):  # type: ignore[name-defined]
    """Run by pytest."""
