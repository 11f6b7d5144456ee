"""A rogues' gallery: objects that crash, exit, raise, hang or lie, at every point of a task's life, with every start method.

After each of them the same pool still answers. What can only hit the caller's own process, such as ``os._exit`` while an
argument is pickled, happens in a program that may end of it, but may leave nothing behind.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import pytest

from manyhands import (
    InitializerError,
    ProcessPool,
    TaskTimeoutError,
    UnpicklableError,
    WorkerCrashedError,
    parallel_map,
)
from manyhands.engine import workers
from tests.conftest import PROC, Program
from tests.pool import rogues, tasks
from tests.pool.conftest import METHODS, PATIENCE
from tests.pool.rogues import CRASHES, RAISES

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="rogues die in the ways of POSIX"),
    pytest.mark.skipif(not PROC, reason="looks into /proc"),
]

HOWS = [*CRASHES, *RAISES, "lie"]


def check_healthy(pool: ProcessPool) -> None:
    assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


def check_outcome(point: str, how: str, error: BaseException | None, value: Any) -> None:
    """What is told of a rogue that misbehaves in a worker."""
    if how in CRASHES:
        assert isinstance(error, WorkerCrashedError)
        assert error.exitcode == CRASHES[how]
    elif how == "hang":
        assert isinstance(error, TaskTimeoutError)
    elif how == "lie" and point != "result out":
        assert error is None
        assert value == point
    elif point == "result out":
        assert isinstance(error, UnpicklableError)
        assert "result" in str(error)
        assert how == "lie" or RAISES[how].__name__ in str(error)
    else:
        assert type(error) is RAISES[how]
        assert error.args == ("a rogue",)


# in a worker


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("point", ["argument in", "running", "result out"])
def test_a_rogue_in_a_worker_is_its_own_futures_affair(any_pool: ProcessPool, point: str, how: str) -> None:
    others = [any_pool.submit(rogues.run, "well", "well", [number]) for number in range(5)]
    future = any_pool.submit(rogues.run, point, how, rogues.argument(point, how))
    others += [any_pool.submit(rogues.run, "well", "well", [number]) for number in range(5)]
    error = future.exception(PATIENCE)
    check_outcome(point, how, error, None if error else future.result())
    assert [other.result(PATIENCE) for other in others] == ["well"] * 10
    check_healthy(any_pool)


@pytest.mark.parametrize("how", ["SIGKILL", "SystemExit", "raise", "lie", "hang"])
@pytest.mark.parametrize("point", ["argument in", "running", "result out"])
def test_a_rogue_in_a_map_is_its_own_items_affair(
    method: str, point: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it hangs, with a limit of time: that of the task, and that of what is loaded before it begins."""
    monkeypatch.setattr(workers, "LOADING", 0.2)
    function = parallel_map(
        rogues.run_item,
        max_workers=2,
        start_method=method,
        timeout=0.3 if how == "hang" else PATIENCE,
        on_error="collect",
        chunksize=2,
    )
    items: list[Any] = [("well", "well", [number]) for number in range(6)]
    items[2] = (point, how, rogues.argument(point, how))
    results = function.map(items)
    if how == "lie" and point != "result out":
        assert results == ["well", "well", point, "well", "well", "well"]
    else:
        assert [failure.index for failure in results.errors] == [2]
        check_outcome(point, how, results.errors[0].exception, None)
        assert results.values == ["well"] * 5
    assert function.map([("well", "well", number) for number in range(6)]) == ["well"] * 6


@pytest.mark.parametrize("how", [*CRASHES, "SystemExit", "raise"])
@pytest.mark.parametrize("point", ["argument in", "running"])
def test_a_rogue_of_an_initializer_is_told_by_every_future(method: str, point: str, how: str) -> None:
    """The pool is of no use then; the next one is."""
    with ProcessPool(
        2,
        initializer=rogues.behave if point == "argument in" else rogues.misbehave,
        initargs=(rogues.argument(point, how),),
        start_method=method,
    ) as pool:
        future = pool.submit(tasks.double, 1)
        with pytest.raises(InitializerError) as caught:
            future.result(PATIENCE)
        with pytest.raises(InitializerError):
            pool.submit(tasks.double, 1)
    if how in CRASHES:
        assert "initializer" in str(caught.value)
    else:
        assert RAISES[how].__name__ in str(caught.value)
    with ProcessPool(1, start_method=method) as pool:
        check_healthy(pool)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV"])
def test_the_signal_that_ends_an_initializer_is_named(method: str, how: str) -> None:
    with ProcessPool(1, initializer=rogues.misbehave, initargs=(how,), start_method=method) as pool:
        error = pool.submit(tasks.double, 1).exception(PATIENCE)
    assert isinstance(error, InitializerError)
    assert how in str(error)


def test_an_initializer_that_lies_about_its_argument_is_none_the_worse(method: str) -> None:
    with ProcessPool(
        1, initializer=rogues.behave, initargs=(rogues.WhenUnpickled("lie"),), start_method=method
    ) as pool:
        check_healthy(pool)


def test_a_pool_with_an_initializer_that_hangs_can_be_ended(method: str) -> None:
    pool = ProcessPool(2, initializer=rogues.misbehave, initargs=("hang",), start_method=method)
    future = pool.submit(tasks.double, 1)
    with pytest.raises(TimeoutError):
        future.result(0.2)
    pool.kill_workers()
    assert future.done()


# in the caller


@pytest.mark.parametrize("how", [*RAISES, "lie"])
def test_an_argument_that_misbehaves_on_its_way_out_is_refused(any_pool: ProcessPool, how: str) -> None:
    others = [any_pool.submit(tasks.identity, [number]) for number in range(5)]
    error: BaseException | None
    try:
        error = any_pool.submit(tasks.identity, rogues.WhenPickled(how)).exception(PATIENCE)
    except (
        KeyboardInterrupt
    ) as interrupt:  # whoever presses Ctrl-C while an argument is pickled means the program
        error = interrupt
    if how == "KeyboardInterrupt":
        assert type(error) is KeyboardInterrupt
    else:
        assert isinstance(error, UnpicklableError)
        assert how == "lie" or RAISES[how].__name__ in str(error)
    assert [other.result(PATIENCE) for other in others] == [[number] for number in range(5)]
    check_healthy(any_pool)


@pytest.mark.parametrize("how", [*RAISES, "lie"])
def test_a_result_that_misbehaves_on_its_way_in_is_its_futures_affair(
    any_pool: ProcessPool, how: str
) -> None:
    others = [any_pool.submit(tasks.identity, [number]) for number in range(5)]
    future = any_pool.submit(rogues.run, "result in", how)
    error = future.exception(PATIENCE)
    if how == "lie":
        assert future.result() == 42
    else:
        assert type(error) is RAISES[how]
    assert [other.result(PATIENCE) for other in others] == [[number] for number in range(5)]
    check_healthy(any_pool)


@pytest.mark.parametrize("how", [*RAISES, "lie"])
def test_a_result_that_misbehaves_on_its_way_in_is_its_items_affair_in_a_map(method: str, how: str) -> None:
    function = parallel_map(
        rogues.run_item,
        max_workers=2,
        start_method=method,
        timeout=PATIENCE,
        on_error="collect",
        chunksize=2,
    )
    items = [("well", "well", None)] * 2 + [("result in", how, None)] + [("well", "well", None)] * 2
    try:
        results = function.map(items)
    except KeyboardInterrupt:  # as if it had been pressed
        assert how == "KeyboardInterrupt"
    else:
        if how == "lie":
            assert results == ["well", "well", 42, "well", "well"]
        else:
            assert [type(failure.exception) for failure in results.errors] == [RAISES[how]]
            assert results.values == ["well"] * 4
    assert function.map([("well", "well", None)] * 4) == ["well"] * 4


@pytest.mark.parametrize("how", [*RAISES, "lie"])
def test_a_callback_that_misbehaves_is_heard_by_nobody(any_pool: ProcessPool, how: str) -> None:
    called = threading.Event()

    def callback(_: Any) -> Any:
        called.set()
        return rogues.misbehave(how)

    any_pool.submit(rogues.take, 0.05).add_done_callback(callback)
    assert called.wait(PATIENCE)
    check_healthy(any_pool)


PROGRAM = """
import os, sys, threading
from manyhands import ProcessPool, parallel_map

{source}

pool = ProcessPool(2, start_method={method!r})
assert list(pool.map(abs, range(4))) == [0, 1, 2, 3]
running = [pool.submit(busy) for _ in range({busy})]
print("ready", flush=True)
{statement}
print("went on", flush=True)
"""

#: A rogue that hangs says so before.
SAYING = """

plain = misbehave


def misbehave(how):
    if how == "hang":
        os.write(1, b"hanging\\n")
    return plain(how)

"""

#: What the program does at each point; the objects are its own, so that nothing else has to be importable.
POINTS = {
    "argument out": "pool.submit(str, WhenPickled({how!r})).result()",
    "result in": "pool.submit(WhenUnpickled, {how!r}).result()",
    "map, argument out": "parallel_map(str, max_workers=2, start_method={method!r}, initializer=int)"
    ".map([WhenPickled({how!r})] * 4)",
    "callback": "pool.submit(time.sleep, 0.1).add_done_callback(lambda _: misbehave({how!r})); running[0].result()",
}


def program(point: str, how: str, method: str) -> str:
    source = (
        "import signal, threading, time\nfrom typing import Any\n"
        f"CRASHES = { ({name: int(code) for name, code in CRASHES.items()})!r}\nRAISES = {{}}\n"
        "def busy():\n    time.sleep(1000)\n"
    )
    import inspect

    for each in (rogues.misbehave, rogues.WhenPickled, rogues.WhenUnpickled):
        source += "\n\n" + inspect.getsource(each)
    source += SAYING
    statement = POINTS[point].replace("{how!r}", repr(how)).replace("{method!r}", repr(method))
    text = PROGRAM.replace("{source}", source).replace("{method!r}", repr(method))
    return text.replace("{statement}", statement).replace("{busy}", "1")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", CRASHES)
@pytest.mark.parametrize("point", POINTS)
def test_a_rogue_that_ends_the_caller_takes_the_workers_along(
    run_program: Program, point: str, how: str, method: str
) -> None:
    ran = run_program(program(point, how, method))
    assert (ran.code, ran.out) == (CRASHES[how], "ready\n"), ran


def check_interruptible(run_program: Program, point: str, method: str, patience: float) -> None:
    ran = run_program(
        program(point, "hang", method), send_signal=signal.SIGINT, after="hanging", timeout=patience
    )
    assert ran.code in {-signal.SIGINT, 130}, ran
    assert ran.out == "ready\nhanging\n"
    assert "KeyboardInterrupt" in ran.err


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("point", ["argument out", "map, argument out"])
def test_a_rogue_that_hangs_in_the_caller_can_be_interrupted(
    run_program: Program, point: str, method: str
) -> None:
    check_interruptible(run_program, point, method, PATIENCE)


@pytest.mark.parametrize("point", ["result in", "callback"])
def test_a_rogue_that_hangs_in_the_thread_of_the_pool_can_be_interrupted(
    run_program: Program, point: str
) -> None:
    """It is the same with every start method; one is enough, for each takes some seconds."""
    check_interruptible(run_program, point, "template", PATIENCE)
