"""Fields that are shared objects, and the process that holds managed ones."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from manyhands import SharedStateError, managed, parallel_map, shared_state
from tests.conftest import Program
from tests.pool.managing import (
    Account,
    State,
    count_in_steps,
    die_while_it_is_locked,
    module_state,
    set_default,
    use,
    use_global,
)

METHODS = ["spawn", *(["template", "fork"] if hasattr(os, "fork") else [])]


def away(function: Any, **options: Any) -> Any:
    return parallel_map(function, max_workers=2, max_tasks_per_child=10_000, **options)


@pytest.mark.parametrize("method", METHODS)
def test_fields_are_the_same_objects_in_every_process(method: str) -> None:
    state = State()
    away(use, start_method=method).map(range(20), [state] * 20)
    assert state.best.value == 20.5
    assert state.grid.sum() == sum(range(20))
    assert state.ready.is_set()
    assert state.jobs.qsize() == 20
    assert state.seen["n"] == sum(range(20))
    assert len(state.seen) == 21
    assert sorted(state.items) == sorted([1, 2, *range(20)])
    assert state.kinds == {0, 1, 2, 3}
    assert state.account.balance == 10 + sum(range(20))


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_fields_in_one_process(backend: str) -> None:
    state = State()
    parallel_map(use, backend=backend).map(range(20), [state] * 20)
    assert (state.best.value, state.seen["n"], state.account.balance) == (20.5, 190, 200)


@pytest.mark.parametrize("method", METHODS)
def test_a_state_of_a_module_is_connected_where_a_function_reads_it(method: str) -> None:
    module_state.reset()
    away(use_global, start_method=method).map([1] * 10)
    assert module_state.best.value == 10.5
    assert module_state.grid[1] > 0


def test_a_state_can_be_reset() -> None:
    state = State()
    use(3, state)
    state.reset()
    assert (state.best.value, state.grid.sum(), dict(state.seen.items())) == (0.5, 0, {})
    assert (state.items, state.account.balance) == ([1, 2], 10)


def test_fields_take_what_they_can_hold() -> None:
    state = State()
    state.best = 3
    state.grid = 7
    state.seen = {"a": 1}
    assert (state.best.value, state.grid.tolist(), state.seen["a"]) == (3.0, [[7] * 3] * 2, 1)
    state.grid += 1
    state.items += [3]
    assert (state.grid.sum(), list(state.items)) == (48, [1, 2, 3])
    with pytest.raises(SharedStateError, match=r"State\.gate cannot be assigned"):
        state.gate = 3  # type: ignore[assignment]
    with pytest.raises(SharedStateError, match=r"State\.best cannot hold 'high'"):
        state.best = "high"
    with pytest.raises(SharedStateError, match=r"it has the shape \(2, 3\), not \(4,\)"):
        state.grid = state.grid.ravel()[:4]


class TestManaged:
    def test_is_used_as_what_it_is(self) -> None:
        state = State()
        seen, items = state.seen, state.items
        seen.update({"a": 1}, b=2)
        assert (seen["a"], "b" in seen, len(seen), list(seen), bool(seen)) == (1, True, 2, ["a", "b"], True)
        assert (seen == {"a": 1, "b": 2}, str(seen), repr(seen)) == (
            True,
            "{'a': 1, 'b': 2}",
            "<managed {'a': 1, 'b': 2}>",
        )
        del seen["a"]
        assert list(seen.items()) == [("b", 2)]
        items[0] = 5
        items.sort(reverse=True)
        assert items[:] == [5, 2]
        assert (state.account.itself() is state.account, state.account.balance) == (True, 10)
        state.account.balance = 3
        assert state.account.deposit(1) == 4
        assert {"deposit", "increment", "locked"} <= set(dir(state.account))

    def test_raises_what_the_object_raises(self) -> None:
        state = State()
        with pytest.raises(KeyError, match="nothing"):
            _ = state.seen["nothing"]
        with pytest.raises(LookupError, match="no such account"):
            state.account.fail()
        with pytest.raises(AttributeError):
            _ = state.account.nothing
        with pytest.raises(SharedStateError, match="managed"):
            managed(3)

    def test_one_that_cannot_be_made_says_why(self) -> None:
        @shared_state
        class Wrong:
            account: Any = managed(Account)

        with pytest.raises(SharedStateError, match="missing 1 required positional argument"):
            _ = Wrong().account.balance

    def test_a_class_of_a_function_travels_by_value(self) -> None:
        class Stack:
            def __init__(self) -> None:
                self.items: list[int] = []

            def push(self, x: int) -> int:
                self.items.append(x)
                return len(self.items)

        @shared_state
        class Inner:
            stack: Any = managed(Stack)

        inner = Inner()
        assert sorted(away(inner.stack.push).map(range(5))) == [1, 2, 3, 4, 5]

    def test_a_block_keeps_the_others_out(self) -> None:
        state = State()
        away(count_in_steps).map(range(60), [state] * 60)
        assert state.seen["n"] == 60

    def test_so_it_does_between_threads(self) -> None:
        state = State()
        threads = [threading.Thread(target=count_in_steps, args=(x, state)) for x in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.seen["n"] == 10

    def test_a_method_is_one_step(self) -> None:
        state = State()
        assert len(set(away(set_default, chunksize=1).map(range(20), [state] * 20))) == 1

    @pytest.mark.skipif(os.name == "nt", reason="there is no kill -9 here")
    def test_a_lock_is_released_when_its_holder_dies(self) -> None:
        state = State()
        away(die_while_it_is_locked, on_error="skip").map(range(10), [state] * 10)
        assert state.seen["done"] == 9

    def test_a_copy_is_the_same_object(self) -> None:
        state = State()
        assert pickle.loads(pickle.dumps(state.seen)) is state.seen


PROGRAM = """
    import os, sys, signal
    from manyhands import managed, parallel_map, shared_state

    class Box:  # of the main module, which the server never runs
        def __init__(self):
            self.n = 0
        def add(self, n):
            self.n += n
            return self.n

    @shared_state
    class State:
        box = managed(Box)
        seen = managed(dict)

    state = State()

    @parallel_map(max_workers=2, max_tasks_per_child=100)
    def add(x):
        return state.box.add(x)

    add.map(range(10))
    print(state.box.n, flush=True)
"""


class TestTheProcessThatHoldsThem:
    @pytest.mark.parametrize("how", ["file", "-c", "stdin", "module"])
    def test_goes_with_its_program(self, run_program: Program, how: str) -> None:
        ran = run_program(PROGRAM, how=how)
        assert (ran.out, ran.err, ran.code) == ("45\n", "", 0)

    @pytest.mark.parametrize(
        "end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(3)", "1 / 0"]
    )
    def test_goes_however_its_program_ends(self, run_program: Program, end: str) -> None:
        ran = run_program(PROGRAM + f"\n    {end}\n")
        assert ran.out == "45\n"
        assert list((ran.folder / "tmp").iterdir()) == []

    def test_is_not_ended_by_ctrl_c_before_its_program(self, run_program: Program) -> None:
        source = (
            PROGRAM
            + """
    import time
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        state.seen["after"] = 1
        print(state.seen["after"], state.box.n)
"""
        )
        assert run_program(source, send_signal=signal.SIGINT).out == "45\nready\n1 45\n"

    def test_survives_its_workers(self) -> None:
        state = State()
        state.seen["kept"] = 1
        away(use).map(range(4), [state] * 4)
        import manyhands

        manyhands.shutdown()
        assert state.seen["kept"] == 1
        away(use).map(range(4), [state] * 4)
        assert state.seen["n"] == 12

    def test_whose_death_is_an_error_that_says_so(self) -> None:
        from manyhands.shared import managed as module

        state = State()
        state.seen["a"] = 1
        server = module._server
        assert server is not None
        server.process.kill()
        server.process.wait()
        with pytest.raises(SharedStateError, match="the process that holds managed objects is gone"):
            _ = state.seen["a"]
        folder = Path(server.address).parent
        module.shutdown()
        assert not folder.exists()

    @pytest.mark.skipif(os.name != "posix", reason="other systems keep no folder for it")
    def test_is_reachable_by_this_user_alone_and_with_its_key(self) -> None:
        from multiprocessing import AuthenticationError
        from multiprocessing.connection import Client

        state = State()
        state.seen["a"] = 1
        address, key, _ = state.seen._where()
        assert Path(address).parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(AuthenticationError):
            Client(address, authkey=b"another")
        Client(address, authkey=key).close()

    def test_is_one_for_all_and_goes_with_the_last(self) -> None:
        from manyhands.shared import managed as module

        one, two = State(), State()
        one.seen["a"] = two.seen["a"] = 1
        assert one.seen._where()[0] == two.seen._where()[0]
        del one
        assert two.seen["a"] == 1
        assert module._server is not None
        del two
        assert module._server is None
