"""Bad input gets a clear error before any work starts; and which of several options wins."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import manyhands
from manyhands import Options, OptionsError, ParallelFunction, ProcessPool, parallel_map


@pytest.fixture(autouse=True)
def nothing_starts() -> Iterator[None]:
    """No test of this file starts a pool: each has a thread of its own."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture(autouse=True)
def defaults_come_back() -> Iterator[None]:
    before = manyhands.configure()
    yield
    manyhands.configure(**{name: getattr(before, name) for name in OPTIONS})


OPTIONS = (
    "max_workers",
    "chunksize",
    "buffersize",
    "backend",
    "start_method",
    "initializer",
    "initargs",
    "max_tasks_per_child",
    "affinity",
    "warm_cache",
)

calls: list[object] = []


def work(x: object, *_: object) -> object:
    calls.append(x)
    return x


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    """No test of this file runs a task, unless it takes the calls out itself."""
    calls.clear()
    yield
    assert calls == []


#: Where options can be given: decorator, decorator with parentheses, copy, defaults.
GIVE: dict[str, Callable[..., Any]] = {
    "parallel_map(function, ...)": lambda **options: parallel_map(work, **options),
    "@parallel_map(...)": parallel_map,
    ".options(...)": lambda **options: parallel_map(work).options(**options),
    "configure(...)": manyhands.configure,
}

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_workers": 0}, OptionsError, "max_workers must be at least 1, not 0"),
    ({"max_workers": -3}, OptionsError, "max_workers must be at least 1, not -3"),
    ({"max_workers": 2.5}, TypeError, r"max_workers must be a whole number, not 2\.5 \(a float\)"),
    ({"max_workers": "2"}, TypeError, r"max_workers must be a whole number, not '2' \(a str\)"),
    ({"max_workers": True}, TypeError, "max_workers must be a whole number, not True"),
    ({"chunksize": 0}, OptionsError, "chunksize must be at least 1, not 0"),
    ({"chunksize": -1}, OptionsError, "chunksize must be at least 1, not -1"),
    ({"chunksize": "many"}, TypeError, "chunksize must be a whole number"),
    ({"buffersize": 0}, OptionsError, "buffersize must be at least 1, not 0"),
    ({"max_tasks_per_child": 0}, OptionsError, "max_tasks_per_child must be at least 1, not 0"),
    ({"backend": "process"}, OptionsError, r"backend must be one of .*'process'.*did you mean 'processes'\?"),
    ({"start_method": "forkserve"}, OptionsError, r"did you mean 'forkserver'\?"),
    ({"mp_context": "thread"}, OptionsError, "start_method must be one of"),
    ({"initializer": 3}, TypeError, r"initializer must be a function, not 3 \(an? int\)"),
    ({"initargs": [1]}, TypeError, r"initargs must be a tuple of arguments, not \[1\] \(a list\)"),
    (
        {"affinity": "arg"},
        OptionsError,
        r"affinity must be \"args\", or a function .* not 'arg' \(did you mean 'args'\?\)",
    ),
    (
        {"affinity": 3},
        OptionsError,
        'affinity must be "args", or a function that returns the key of an item, not 3',
    ),
    (
        {"warm_cache": 0},
        OptionsError,
        "warm_cache must be at least 1, not 0; leave it out to begin with none",
    ),
    ({"warm_cache": True}, TypeError, "warm_cache must be a whole number, not True"),
    ({"max_worker": 2}, OptionsError, r"no option 'max_worker' \(did you mean 'max_workers'\?\)"),
    ({"chunk_size": 2}, OptionsError, r"no option 'chunk_size' \(did you mean 'chunksize'\?\)"),
    ({"zzz": 2}, OptionsError, "no option 'zzz'.*the options are max_workers, chunksize"),
]


@pytest.mark.parametrize("how", GIVE)
@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=[str(options) for options, _, _ in BAD])
def test_a_bad_option_is_refused_where_it_is_given(
    how: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = manyhands.configure()
    with pytest.raises(error, match=message):
        GIVE[how](**options)
    assert manyhands.configure() == before


@pytest.mark.parametrize("name", ["max_workers", "max_tasks_per_child"])
def test_a_process_pool_refuses_bad_numbers(name: str) -> None:
    with pytest.raises(OptionsError, match=f"{name} must be at least 1, not 0"):
        ProcessPool(**{name: 0})


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
@pytest.mark.parametrize("value", [0, -1])
def test_the_map_of_a_process_pool_refuses_bad_numbers(name: str, value: int) -> None:
    with ProcessPool(1) as pool, pytest.raises(ValueError, match=f"{name} must be at least 1, not {value}"):
        pool.map(work, [1], **{name: value})  # type: ignore[arg-type]


def test_options_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        parallel_map(work, max_workers=0)


# what cannot be mapped


async def coroutine(x: int) -> int:
    return x


async def async_generator(x: int) -> Any:
    yield x


def generator(x: int) -> Any:
    yield x


@pytest.mark.parametrize(
    "decorate", [parallel_map, parallel_map(max_workers=2)], ids=["bare", "with options"]
)
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (3, r"parallel_map needs a function, not 3 \(an? int\)"),
        ("work", r"needs a function, not 'work' \(a str\)"),
        (coroutine, "coroutine is a coroutine function.*asyncio.gather"),
        (async_generator, "async_generator is a coroutine function"),
        (generator, "generator is a generator function.*return a list"),
    ],
    ids=["number", "string", "coroutine", "async generator", "generator"],
)
def test_what_is_no_function_is_refused_when_it_is_decorated(
    decorate: Any, function: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        decorate(function)


@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered", "starmap"])
@pytest.mark.parametrize("iterable", [3, None, work], ids=["a number", "None", "a function"])
def test_what_is_not_iterable_is_refused_at_the_call(backend: str, method: str, iterable: Any) -> None:
    function = parallel_map(work, backend=backend)
    with pytest.raises(
        TypeError, match=r"argument 0 is .*a value that is the same for every call goes in as a keyword"
    ):
        getattr(function, method)(iterable)


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
def test_the_second_iterable_is_named_too(method: str) -> None:
    with pytest.raises(TypeError, match="argument 1 is 5"):
        getattr(parallel_map(work), method)([1], 5)


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered", "check"])
def test_no_iterable_at_all_is_refused_at_the_call(method: str) -> None:
    with pytest.raises(TypeError, match=rf"work\.{method}\(\) needs at least one iterable"):
        getattr(parallel_map(work), method)()


def test_amap_without_an_iterable_is_refused() -> None:
    waiting = parallel_map(work).amap()
    with pytest.raises(TypeError, match=r"work\.amap\(\) needs at least one iterable"):
        waiting.send(None)


def test_a_check_of_no_items_is_refused() -> None:
    with pytest.raises(OptionsError, match="sample must be at least 1, not 0"):
        parallel_map(work).check([1], sample=0)


def test_replacing_threads_is_refused() -> None:
    with pytest.raises(OptionsError, match=r"max_tasks_per_child.*backend='processes'"):
        parallel_map(work, backend="threads", max_tasks_per_child=1).map([1, 2])


# which option wins


def test_options_win_over_the_decorator_which_wins_over_the_defaults() -> None:
    function = parallel_map(work, chunksize=2)
    manyhands.configure(chunksize=1, max_workers=1)
    assert (function.settings.chunksize, function.settings.max_workers) == (2, 1)
    copy = function.options(chunksize=3)
    assert (copy.settings.chunksize, copy.settings.max_workers) == (3, 1)
    assert function.settings.chunksize == 2


def test_configure_reaches_functions_that_were_decorated_and_used_before() -> None:
    function = parallel_map(work)
    assert function.settings.chunksize is None
    manyhands.configure(chunksize=7)
    assert function.settings.chunksize == 7


def test_an_option_can_be_set_back_to_its_default() -> None:
    function = parallel_map(work, chunksize=5, max_workers=2)
    assert function.options(chunksize=None).settings.chunksize is None
    assert function.options(chunksize=None).settings.max_workers == 2


def test_a_default_given_by_name_wins_over_configure() -> None:
    manyhands.configure(backend="serial")
    assert parallel_map(work, backend="processes").settings.backend == "processes"


def test_mp_context_is_taken_for_its_start_method() -> None:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    assert parallel_map(work, mp_context=context).settings.start_method == "spawn"
    assert parallel_map(work).options(mp_context="spawn").settings.start_method == "spawn"
    assert parallel_map(work, mp_context=None).settings.start_method is None


def test_decorating_twice_adds_options() -> None:
    once = parallel_map(work, chunksize=2)
    twice = parallel_map(once, max_workers=3)
    assert isinstance(twice, ParallelFunction)
    assert (twice.settings.chunksize, twice.settings.max_workers) == (2, 3)
    assert twice.__wrapped__ is work


def test_options_never_change() -> None:
    options = parallel_map(work).settings
    with pytest.raises(AttributeError):
        options.chunksize = 3


def test_options_travel() -> None:
    options = parallel_map(work, chunksize=3, initializer=print, initargs=(1,)).settings
    assert pickle.loads(pickle.dumps(options)) == options
    assert isinstance(options, Options)


def test_a_context_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="mp_context must be a multiprocessing context"):
        ProcessPool(mp_context=5)
