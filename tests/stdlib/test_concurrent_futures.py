"""The standard library's own tests of process pools pass with ``ProcessPool`` in place of ``ProcessPoolExecutor``.

They are the interpreter's, ``test.test_concurrent_futures``, and nothing of them is copied: every class there that tests a
process pool gets a subclass here, of the same name, whose ``executor_type`` is ours. So a newer interpreter brings its newer
tests along. Many distributions ship Python without its tests; there is nothing to run then.

What cannot pass stands in one of three tables, by name and with the reason, and an entry that is not true any more fails:

- ``PRIVATE``: the test reads attributes of ``ProcessPoolExecutor`` that are its own business. It does not run; that it does
  read them is checked.
- ``DIFFERENT``: ours behaves otherwise on purpose. It runs, and must fail.
- ``KNOWN``: a defect of ours. It runs, and must fail.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import multiprocessing
import os
import pkgutil
import sys
import unittest
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest

from manyhands import ProcessPool

suite = pytest.importorskip("test.test_concurrent_futures", reason="this Python comes without its own tests")
support = importlib.import_module("test.support")

pytestmark = [
    pytest.mark.stdlib,
    # The tests fork managers of their own (multiprocessing's) while the pool's thread runs; the pool itself does not.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


METHODS = ("Forkserver", "Fork", "Spawn")  # as they stand in the names of the classes


class Entry(NamedTuple):
    """Why a test is in a table.

    Args:
        reason: why; in ``PRIVATE`` the attribute, or how the names of several begin.
        since: the first Python that certainly has the test, in the form that fails.
        until: the first Python whose test is certainly another one.
        methods: the start methods with which it fails.
        run: whether it runs; one that would leave a process behind when it fails does not.
    """

    reason: str
    since: tuple[int, ...] = (3, 11)
    until: tuple[int, ...] = ()
    methods: tuple[str, ...] = METHODS
    run: bool = True

    def sure(self) -> bool:
        """Whether the test is there, and fails."""
        return self.since <= sys.version_info[:3] and not self.until

    def over(self) -> bool:
        return bool(self.until) and self.until <= sys.version_info[:3]


#: Seconds until a deadlock is one; theirs is longer than pytest's ``faulthandler_timeout``.
PATIENCE = 30.0
#: A test that must fail by waiting in vain need not wait for long.
IN_VAIN = 3.0
RECENT = (3, 14, 7)  # in older ones, a test may have come with any patch release
PROCESSES, THREAD = "_processes", "_executor_manager_thread"

#: The names are those of the classes without the start method.
PRIVATE = {
    "ExecutorDeadlock.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": Entry(
        "_ThreadWakeup", (3, 12, 1)
    ),
    "ExecutorDeadlock.test_shutdown_deadlock_pickle": Entry(THREAD),
    "FailingInitializer.test_initializer": Entry("_broken"),
    "ProcessPoolExecutor.test_broken_process_pool_traceback": Entry(PROCESSES, RECENT),
    "ProcessPoolExecutor.test_failed_worker_replacement_breaks_pool": Entry(THREAD, RECENT),
    "ProcessPoolExecutor.test_force_shutdown_during_max_tasks_worker_exit": Entry(THREAD, RECENT),
    "ProcessPoolExecutor.test_force_shutdown_workers": Entry(PROCESSES, RECENT),
    "ProcessPoolExecutor.test_force_shutdown_workers_invalid_op": Entry("_force_shutdown", RECENT),
    "ProcessPoolExecutor.test_force_shutdown_workers_stops_pool": Entry(PROCESSES, RECENT),
    "ProcessPoolExecutor.test_gc_during_max_tasks_worker_exit_gh152967": Entry(THREAD, RECENT),
    "ProcessPoolExecutor.test_idle_process_reuse_multiple": Entry(PROCESSES),
    "ProcessPoolExecutor.test_idle_process_reuse_one": Entry(PROCESSES),
    "ProcessPoolExecutor.test_kill_workers": Entry("_force_shutdown", RECENT),
    "ProcessPoolExecutor.test_killed_child": Entry(PROCESSES),
    "ProcessPoolExecutor.test_max_tasks_per_child": Entry(PROCESSES),
    "ProcessPoolExecutor.test_max_tasks_per_child_defaults_to_spawn_context": Entry("_mp_context"),
    "ProcessPoolExecutor.test_python_finalization_error": Entry("_start_", (3, 12, 1)),
    "ProcessPoolExecutor.test_saturation": Entry(PROCESSES),
    "ProcessPoolExecutor.test_shutdown_no_wait_max_tasks_gh119592": Entry(THREAD, RECENT),
    "ProcessPoolExecutor.test_terminate_workers": Entry("_force_shutdown", RECENT),
    "ProcessPoolExecutor.test_traceback": Entry("_RemoteTraceback"),
    "ProcessPoolShutdown.test_context_manager_shutdown": Entry(PROCESSES),
    "ProcessPoolShutdown.test_del_shutdown": Entry(THREAD),
    "ProcessPoolShutdown.test_processes_terminate": Entry(PROCESSES),
    "ProcessPoolShutdown.test_shutdown_gh_132969_case_1": Entry(THREAD, RECENT),
    "ProcessPoolShutdown.test_shutdown_gh_132969_case_2": Entry(THREAD, RECENT),
    "ProcessPoolShutdown.test_shutdown_no_wait": Entry(THREAD),
}

ALONE = "what unpickling raises is the exception of that one task, and the pool goes on; theirs breaks"
WORDING = "the test asks for the words of a message, and ours says more; kind and occasion of the exception are the same"

DIFFERENT = {
    "ExecutorDeadlock.test_error_at_task_unpickle": Entry(ALONE),
    "ExecutorDeadlock.test_error_during_result_unpickle_in_result_handler": Entry(ALONE),
    "ExecutorDeadlock.test_exit_at_task_unpickle": Entry(ALONE),
    "ExecutorDeadlock.test_exit_during_result_pickle_on_worker": Entry(
        "UnpicklableError says which result could not be pickled; theirs is the SystemExit of its __reduce__"
    ),
    "ExecutorDeadlock.test_exit_during_result_unpickle_in_result_handler": Entry(ALONE),
    "ProcessPoolExecutor.test_map_buffersize_type_validation": Entry(WORDING, RECENT),
    "ProcessPoolExecutor.test_map_buffersize_value_validation": Entry(WORDING, RECENT),
    "ProcessPoolExecutor.test_max_workers_negative": Entry(WORDING),
    "ProcessPoolShutdown.test_hang_gh83386": Entry(
        "its program lacks an import, which theirs never sees: it hangs and is skipped", until=RECENT
    ),
}

AUTHKEY = Entry(
    "multiprocessing.current_process().authkey is another one in a worker that was not forked from here, so that managers "
    "refuse it",
    since=RECENT,
    methods=("Forkserver", "Spawn"),
)

KNOWN = {
    "ProcessPoolExecutor.test_force_shutdown_workers_dead_workers": Entry("no terminate_workers()", RECENT),
    "ProcessPoolExecutor.test_force_shutdown_workers_not_started_yet": Entry(
        "no terminate_workers()", RECENT
    ),
    "ProcessPoolExecutor.test_free_reference": Entry("the iterator of map() holds the result it gave last"),
    "ProcessPoolExecutor.test_ressources_gced_in_workers": AUTHKEY._replace(since=(3, 11), run=False),
    "Wait.test_first_completed": AUTHKEY,
    "Wait.test_first_completed_some_already_completed": AUTHKEY,
    "Wait.test_first_exception": AUTHKEY,
    "Wait.test_first_exception_one_already_failed": AUTHKEY,
    "Wait.test_first_exception_some_already_complete": AUTHKEY,
    "Wait.test_timeout": AUTHKEY,
}


THEIR_IMPORT = "from concurrent.futures import ProcessPool\n"  # they take the name from ``executor_type``


class OnProcessPool:
    """What makes a test of ``ProcessPoolExecutor`` one of ours."""

    executor_type = ProcessPool
    TIMEOUT = PATIENCE  # in test_deadlock


def modules() -> Iterator[Any]:
    """The modules with the tests: those of a package, or the only one (in Python 3.11)."""
    if not hasattr(suite, "__path__"):
        yield suite
        return
    for module in pkgutil.iter_modules(suite.__path__):
        if module.name.startswith("test_"):
            yield importlib.import_module(f"{suite.__name__}.{module.name}")


def names_of_tests(cls: type) -> list[str]:
    return [name for name in dir(cls) if name.startswith("test") and callable(getattr(cls, name))]


def bound(name: str, theirs: type) -> type:
    """Return the subclass that tests ``ProcessPool``."""
    method, stem = method_and_stem(name)
    changed: dict[str, Any] = {"__module__": __name__}
    for test in names_of_tests(theirs):
        key = f"{stem}.{test}"
        if key in PRIVATE:
            changed[test] = None  # what cannot be called is not collected
            continue
        entry = DIFFERENT.get(key) or KNOWN.get(key)
        if entry is not None and method in entry.methods and not entry.over():
            changed[test] = must_fail(getattr(theirs, test), entry)
    return type(name, (OnProcessPool, theirs), changed)


def must_fail(test: Any, entry: Entry) -> Any:
    """A copy of a test: a mark would stay on the original, which other classes have, too."""

    @functools.wraps(test)
    def copy(self: Any) -> Any:
        self.subTest = lambda *_, **__: contextlib.nullcontext()  # one that fails is the failure of the test
        return test(self)

    return pytest.mark.xfail(reason=entry.reason, run=entry.run, strict=entry.sure())(copy)


def method_and_stem(name: str) -> tuple[str, str]:
    """Return the two parts of the name of a class that ``create_executor_tests`` of the suite has made."""
    for method in METHODS:
        if name.startswith(f"ProcessPool{method}"):
            return method, name.removeprefix(f"ProcessPool{method}").removesuffix("Test")
    raise AssertionError(f"{name} names no start method")


THEIRS = {
    name: cls
    for module in modules()
    for name, cls in vars(module).items()
    if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and hasattr(cls, "ctx")
}
globals().update({name: bound(name, cls) for name, cls in THEIRS.items()})


@pytest.fixture(autouse=True, scope="module")
def helpers_of_multiprocessing() -> Iterator[None]:
    """Processes and the folder that ``multiprocessing`` starts once and keeps are there before the first test."""
    from multiprocessing import forkserver, resource_tracker, util

    resource_tracker.ensure_running()
    util.get_temp_dir()
    if "forkserver" in multiprocessing.get_all_start_methods():
        forkserver.ensure_running()
    yield
    util._cleanup_tests()


@pytest.fixture(autouse=True)
def undisturbed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The suite notes a thread or process that a test has left, but leaves failing to its runner."""
    must_pass = request.node.get_closest_marker("xfail") is None
    support.environment_altered = False
    if not must_pass:
        monkeypatch.setattr(support, "SHORT_TIMEOUT", IN_VAIN)
    yield
    if must_pass:  # the traceback of a failure may hold its pool
        assert not support.environment_altered


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the tests run import ``ProcessPool`` from us, and find us where this process does."""
    for module in modules():
        if not hasattr(module, "assert_python_ok"):
            continue

        def run(*args: str, original: Any = module.assert_python_ok, **variables: str) -> Any:
            ours = [each.replace(THEIR_IMPORT, "from manyhands import ProcessPool\n") for each in args]
            return original(*ours, **{"PYTHONPATH": os.pathsep.join(sys.path), **variables})

        monkeypatch.setattr(module, "assert_python_ok", run)


def reached(cls: type, test: str) -> set[str]:
    """The names that are used by a test and by the methods of its class that it calls."""
    names: set[str] = set()
    todo: list[Any] = [inspect.unwrap(getattr(cls, test)).__code__]
    while todo:
        code = todo.pop()
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for name in set(code.co_names) - names:
            names.add(name)
            todo += [
                method.__code__ for method in [getattr(cls, name, None)] if isinstance(method, FunctionType)
            ]
    return names


def offered() -> dict[str, list[tuple[type, str]]]:
    """The tests of this interpreter: as the tables name them, with their classes."""
    found: dict[str, list[tuple[type, str]]] = {}
    for name, cls in THEIRS.items():
        for test in names_of_tests(cls):
            found.setdefault(f"{method_and_stem(name)[1]}.{test}", []).append((cls, test))
    return found


def test_every_entry_of_the_tables_names_a_test() -> None:
    wanted = {key for key, entry in {**PRIVATE, **DIFFERENT, **KNOWN}.items() if entry.sure()}
    assert not wanted - offered().keys()
    assert len({*PRIVATE, *DIFFERENT, *KNOWN}) == len(PRIVATE) + len(DIFFERENT) + len(KNOWN)


def test_what_does_not_run_reaches_into_private_attributes() -> None:
    for key, places in offered().items():
        for cls, test in places if key in PRIVATE else ():
            private = PRIVATE[key].reason
            assert any(name.startswith(private) for name in reached(cls, test)), (
                f"{key} does not use {private}"
            )
