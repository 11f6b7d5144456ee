"""Workers are guests of their caller: what tasks print, log and warn of is seen as if they ran in the caller.

And what tasks get from it: its context variables, random streams of their own, a fair share of the cores.
"""

from __future__ import annotations

import contextlib
import decimal
import io
import logging
import os
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np  # noqa: F401 - so that no test is the one that starts its threads
import pytest

from manyhands import LostUpdateWarning, ProcessPool, WorkerCrashedError, cpu_count, parallel_map
from tests.conftest import Program
from tests.pool import guests
from tests.pool.conftest import METHODS

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, locks and signals of POSIX")


def away(function: Any, method: str | None = None, **options: Any) -> Any:
    """The function with two workers; an initializer keeps its tasks out of this process."""
    return parallel_map(function, max_workers=2, start_method=method, initializer=int, **options)


def expected(lines: int) -> Counter[str]:
    return Counter(f"item {number}" for number in range(lines))


class TestOutput:
    def test_under_capsys_each_line_appears_once_in_the_right_stream(
        self, method: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert away(guests.say, method).map(range(20)) == list(range(20))
        captured = capsys.readouterr()
        assert Counter(captured.out.splitlines()) == expected(20)
        assert Counter(captured.err.splitlines()) == Counter(f"error {number}" for number in range(20))

    def test_under_capfd_each_line_appears_once(self, method: str, capfd: pytest.CaptureFixture[str]) -> None:
        away(guests.say, method).map(range(20))
        assert Counter(capfd.readouterr().out.splitlines()) == expected(20)

    def test_capture_may_begin_when_the_workers_are_there(self, any_pool: ProcessPool) -> None:
        any_pool.submit(guests.say, 0).result()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            any_pool.submit(guests.say, 1).result()
        any_pool.submit(guests.say, 2).result()
        assert (out.getvalue(), err.getvalue()) == ("item 1\n", "error 1\n")

    def test_text_is_there_before_the_result_of_its_task(self, pool: ProcessPool) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            for number in range(50):
                pool.submit(guests.say, number).result()
                assert out.getvalue().endswith(f"item {number}\n")

    def test_the_lines_of_one_task_stay_in_order(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            away(guests.chatter).map(range(4))
        lines = out.getvalue().splitlines()
        assert len(lines) == 4 * 3000
        for number in range(4):
            own = [line for line in lines if line.startswith(f"<{number}.")]
            assert own == [f"<{number}.{line}>" for line in range(3000)]

    def test_what_the_initializer_prints_appears(
        self, method: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with ProcessPool(1, initializer=guests.say, initargs=(99,), start_method=method) as pool:
            pool.submit(abs, 1).result()
        assert capsys.readouterr().out == "item 99\n"

    def test_finished_lines_of_a_worker_that_dies_are_not_lost(
        self, any_pool: ProcessPool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(WorkerCrashedError):
            any_pool.submit(guests.say_and_die, 1).result()
        assert capsys.readouterr().out.splitlines() == [
            *(f"line {line}" for line in range(500)),
            "finished before the end 1",
        ]

    def test_threads_of_a_task_may_print(self, pool: ProcessPool, capsys: pytest.CaptureFixture[str]) -> None:
        assert list(pool.map(guests.say_from_threads, range(4))) == list(range(4))
        out = capsys.readouterr().out
        assert all(out.count(f"<{thread}.{line}>") == 4 for thread in range(4) for line in range(200))

    def test_unfinished_lines_lone_surrogates_and_bytes_arrive(self, pool: ProcessPool) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            pool.submit(guests.say_oddly, 0).result()
        assert out.getvalue().startswith("no end of line, \N{EURO SIGN} ")
        assert out.getvalue().endswith("\ntwo\nlines\n")

    @posix
    def test_a_child_that_a_task_forks_disturbs_nobody(
        self, pool: ProcessPool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert list(pool.map(guests.say_in_a_child, range(4))) == [0] * 4

    def test_a_stream_that_cannot_be_written_to_costs_no_task(self, pool: ProcessPool) -> None:
        class Broken(io.StringIO):
            def write(self, _: str) -> int:
                raise OSError("no space")

        with contextlib.redirect_stdout(Broken()):
            assert list(pool.map(guests.say, range(5))) == list(range(5))

    @posix
    @pytest.mark.parametrize("method", METHODS)
    def test_long_lines_of_several_workers_stay_whole_in_a_pipe(
        self, run_program: Program, method: str
    ) -> None:
        ran = run_program(
            f"""
            from manyhands import parallel_map

            def shout(number):
                for line in range(30):
                    print(f"{{number:02}}.{{line:02}}", chr(97 + number) * 9000)

            parallel_map(shout, max_workers=4, start_method={method!r}, initializer=int, chunksize=1).map(range(8))
            """
        )
        lines = ran.out.splitlines()
        wanted = {
            f"{number:02}.{line:02} " + chr(97 + number) * 9000 for number in range(8) for line in range(30)
        }
        assert (len(lines), set(lines) == wanted, ran.err) == (240, True, "")

    @posix
    @pytest.mark.parametrize("method", METHODS)
    def test_a_killed_worker_leaves_its_finished_lines_in_a_pipe(
        self, run_program: Program, method: str
    ) -> None:
        ran = run_program(
            f"""
            import os, signal
            from manyhands import ProcessPool

            def die(_):
                for line in range(300):
                    print("line", line)
                os.kill(os.getpid(), signal.SIGKILL)

            with ProcessPool(1, start_method={method!r}) as pool:
                print(type(pool.submit(die, 0).exception()).__name__)
            """
        )
        assert sorted(ran.out.splitlines()) == sorted(
            [*(f"line {n}" for n in range(300)), "WorkerCrashedError"]
        )


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What reaches a handler of the root logger."""
    found: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.format(record)
            found.append(record)

    keeper = Keeper()
    logging.getLogger().addHandler(keeper)
    yield found
    logging.getLogger().removeHandler(keeper)


class TestLogging:
    def test_records_reach_the_callers_handlers_once(
        self, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "tests.guests"):
            away(guests.note, method).map(range(10))
        assert sorted(caplog.messages) == [f"info {number}" for number in range(10)]
        assert os.getpid() not in {record.process for record in caplog.records}

    def test_levels_that_change_between_calls_count(self, records: list[logging.LogRecord]) -> None:
        function, logger = away(guests.note), guests.log
        try:
            for level, wanted in (
                (logging.DEBUG, 2),
                (logging.INFO, 1),
                (logging.ERROR, 0),
                (logging.DEBUG, 2),
            ):
                logger.setLevel(level)
                records.clear()
                function.map([1])
                assert len(records) == wanted
        finally:
            logger.setLevel(logging.NOTSET)

    def test_what_cannot_be_pickled_arrives_as_its_text(
        self, pool: ProcessPool, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "tests.guests"):
            pool.submit(guests.note, 7).result()
        (record,) = caplog.records
        assert (record.__dict__["item"], record.name) == ([7], "tests.guests")

    def test_the_traceback_of_an_exception_arrives_as_text(
        self, pool: ProcessPool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool.submit(guests.note_failure, 0).result()
        assert "ZeroDivisionError" in caplog.text

    def test_a_record_whose_arguments_do_not_fit_costs_no_task(
        self, pool: ProcessPool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert pool.submit(guests.note_badly, 0).result() is None
        assert "Logging error" in capsys.readouterr().err

    @posix
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("where", ["module", "program", "task", "nowhere"])
    def test_each_record_is_shown_once_wherever_logging_is_set_up(
        self, run_program: Program, method: str, where: str
    ) -> None:
        setup = "logging.basicConfig(level=logging.INFO, format='%(message)s')"
        ran = run_program(
            f"""
            import logging, working
            from manyhands import parallel_map
            {setup if where == "program" else ""}
            parallel_map(working.work, max_workers=2, start_method={method!r}, initializer=int).map(range(6))
            """,
            files={
                "working.py": f"""
                import logging
                {setup if where == "module" else ""}
                def work(number):
                    {setup if where == "task" else ""}
                    logging.getLogger("some.where").warning("record %d", number)
                """
            },
        )
        assert sorted(ran.err.splitlines()) == [f"record {number}" for number in range(6)]

    @posix
    def test_a_task_that_is_first_to_load_logging_is_heard(self, run_program: Program) -> None:
        ran = run_program(
            """
            import logging
            from manyhands import ProcessPool

            def work(number):
                import sys
                fresh = "logging" not in sys.modules
                import logging as there
                there.getLogger("deep").info("told")
                return fresh

            logging.basicConfig(level=logging.INFO, format="caller: %(message)s")
            with ProcessPool(1) as pool:
                pool.submit(work, 1).result()
            """
        )
        assert ran.err == "caller: told\n"


class TestWarnings:
    def test_a_place_is_shown_once_by_several_workers(self, run_program: Program, method: str) -> None:
        ran = run_program(
            f"""
            import warnings
            from manyhands import parallel_map

            def work(number):
                warnings.warn("careful")

            f = parallel_map(work, max_workers=2, start_method={method!r}, initializer=int, chunksize=2)
            f.map(range(10))
            f.map(range(10))
            work(1)
            """
        )
        assert ran.err.count("UserWarning: careful") == 1
        assert 'warnings.warn("careful")' in ran.err  # the line, as ever

    def test_pytest_warns_sees_them_each_time(self, any_pool: ProcessPool) -> None:
        for _ in range(2):
            with pytest.warns(UserWarning, match="careful") as caught:
                any_pool.submit(guests.warn, 1).result()
            assert [warning.filename for warning in caught] == [guests.__file__]

    def test_the_callers_filters_count(self, pool: ProcessPool) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            pool.submit(guests.warn, 1).result()
            warnings.simplefilter("always", DeprecationWarning)
            pool.submit(guests.deprecated, 1).result()
        assert [str(warning.message) for warning in caught] == ["old"]

    def test_a_warning_that_is_an_error_to_the_caller_is_the_tasks_exception(self, method: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="careful"):
                away(guests.warn, method).map(range(3))

    def test_an_odd_warning_arrives_with_its_category_or_its_name(self, pool: ProcessPool) -> None:
        with pytest.warns(UserWarning, match="this and that"):
            pool.submit(guests.warn_oddly, 1).result()


class TestSeed:
    def test_an_index_has_the_same_stream_wherever_and_however_it_runs(self, method: str) -> None:
        wanted = parallel_map(guests.draw, backend="serial", seed=5).map(range(20))
        assert len(set(wanted)) == 20
        for options in ({"chunksize": 1}, {"chunksize": 7}, {}):
            function = away(guests.draw, method, seed=5, **options)
            assert function.map(range(20)) == wanted
            assert list(function.imap(range(20))) == wanted
            assert sorted(function.imap_unordered(iter(range(20)))) == sorted(wanted)
            assert function.starmap([(number,) for number in range(20)]) == wanted
            assert [future.result() for future in [function.submit() for _ in range(20)]] == wanted
            assert function.map([1]) == wanted[:1]

    def test_other_seeds_are_other_streams(self) -> None:
        one, two = (parallel_map(guests.draw, backend="serial", seed=seed).map([0, 0]) for seed in (1, 2))
        assert len({*one, *two}) == 4

    def test_the_callers_own_random_state_stays_as_it_was(self) -> None:
        before = random.getstate()
        function = parallel_map(guests.draw, seed=5)
        function.map(range(200))
        function.options(backend="serial").submit().result()
        assert random.getstate() == before

    def test_a_retry_has_the_stream_of_its_item(self, tmp_path: Path) -> None:
        wanted = parallel_map(guests.draw, backend="serial", seed=3).map(range(4))
        paths = [str(tmp_path / str(number)) for number in range(4)]
        assert away(guests.fail_first, seed=3, retries=1, backoff=0).map(paths) == wanted

    def test_numpy_that_a_task_loads_itself_is_seeded_as_well(self, method: str) -> None:
        first, second = (
            away(guests.draw_from_numpy, method, seed=8, chunksize=size).map(range(6)) for size in (1, 3)
        )
        assert first == second == parallel_map(guests.draw_from_numpy, backend="serial", seed=8).map(range(6))
        assert len(set(first)) == 6

    def test_so_it_is_when_a_task_in_the_program_itself_loads_it(self, run_program: Program) -> None:
        ran = run_program(
            """
            import sys
            from manyhands import parallel_map

            def draw(_):
                import numpy
                return float(numpy.random.random())

            assert "numpy" not in sys.modules
            here = parallel_map(draw, backend="serial", seed=8).map(range(6))
            print(here == parallel_map(draw, max_workers=2, initializer=int, seed=8).map(range(6)), len(set(here)))
            """
        )
        assert ran.out == "True 6\n", ran

    def test_a_check_draws_the_same_here_and_there(self) -> None:
        token = guests.user.set("me")
        try:
            assert parallel_map(guests.draw, seed=4).check(range(5))
            assert not parallel_map(guests.draw).check(range(5))
            assert parallel_map(guests.who, context=True).check(["a", "b"])
        finally:
            guests.user.reset(token)

    def test_without_a_seed_streams_differ(self) -> None:
        function = away(guests.draw)
        assert len({*function.map(range(20)), *function.map(range(20))}) == 40


class TestContext:
    def test_tasks_see_the_callers_values_and_each_begins_with_them(self, method: str) -> None:
        token = guests.user.set("me")
        try:
            function = away(guests.who, method, context=True)
            assert function.map(["a", "b", "c"]) == ["me"] * 3
            assert function.submit("d").result() == "me"
            guests.user.set("you")
            assert function.map(["a", "b"]) == ["you"] * 2
            assert guests.user.get() == "you"
        finally:
            guests.user.reset(token)

    @pytest.mark.parametrize("backend", ["serial", "threads"])
    def test_so_they_do_in_this_process(self, backend: str) -> None:
        token = guests.user.set("me")
        try:
            function = parallel_map(guests.who, backend=backend, context=True)
            assert function.map(["a", "b", "c"]) == ["me"] * 3
            assert function.submit("d").result() == "me"
            assert guests.user.get() == "me"
        finally:
            guests.user.reset(token)

    def test_unless_asked_for_they_do_not(self) -> None:
        token = guests.user.set("me")
        try:
            assert away(guests.who, "spawn").map(["a"]) == ["nobody"]
        finally:
            guests.user.reset(token)

    def test_a_variable_of_a_function_that_comes_by_value_is_the_same_variable(self, method: str) -> None:
        variable: ContextVar[str] = ContextVar("local", default="unset")
        function = away(lambda _: variable.get(), method, context=True)
        assert function.map([1]) == ["unset"]
        token = variable.set("set")
        try:
            assert function.map([1, 2]) == ["set"] * 2
        finally:
            variable.reset(token)

    @posix
    def test_variables_of_a_program_travel(self, run_program: Program, method: str) -> None:
        ran = run_program(
            f"""
            from contextvars import ContextVar
            from manyhands import parallel_map

            user = ContextVar("user")
            other = ContextVar("user")  # of the same name

            def work(_):
                return user.get(), other.get()

            user.set("me")
            other.set("you")
            print(parallel_map(work, max_workers=2, start_method={method!r}, initializer=int, context=True).map([1, 2]))
            """
        )
        assert (ran.out, ran.err) == ("[('me', 'you'), ('me', 'you')]\n", "")

    def test_the_context_of_decimal_is_among_them(self) -> None:
        with decimal.localcontext(prec=5):
            assert away(guests.third, context=True).map([1]) == ["0.33333"]

    def test_what_cannot_travel_is_left_out_and_named_once(self) -> None:
        variable: ContextVar[Any] = ContextVar("a_lock")
        token = variable.set(io.open(os.devnull))  # noqa: SIM115, UP020
        try:
            function = away(guests.who, context=True)
            with pytest.warns(LostUpdateWarning, match="'a_lock' is left out"):
                assert function.map(["a"]) == ["nobody"]
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert function.map(["a"]) == ["nobody"]
        finally:
            variable.get().close()
            variable.reset(token)


class TestThreads:
    def test_workers_share_the_cores(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        with ProcessPool(2, start_method=method) as pool:
            assert pool.submit(guests.threads, 0).result() == str(max(1, cpu_count() // 2))
        assert "OMP_NUM_THREADS" not in os.environ

    def test_what_the_user_has_set_stays(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        with ProcessPool(2, start_method=method) as pool:
            assert pool.submit(guests.threads, 0).result() == "7"

    @pytest.mark.skipif("fork" not in METHODS, reason="there is no fork")
    def test_threadpoolctl_limits_what_a_forked_worker_has_inherited(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setitem(sys.modules, "threadpoolctl", SimpleNamespace(threadpool_limits=guests.limit))  # type: ignore[arg-type]
        with ProcessPool(2, start_method="fork") as pool:
            assert pool.submit(guests.limited, 0).result() == str(max(1, cpu_count() // 2))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "fork"])
def test_a_worker_loads_logging_warnings_and_random_only_with_its_tasks(
    run_program: Program, method: str
) -> None:
    ran = run_program(
        f"""
        import logging, random, warnings
        import plain
        from manyhands import ProcessPool

        with ProcessPool(1, start_method={method!r}) as pool:
            print(pool.submit(plain.loaded).result())
        """,
        files={
            "plain.py": """
            import sys

            def loaded():
                return sorted({"logging", "random", "decimal"} & set(sys.modules))
            """
        },
    )
    assert ran.out == "[]\n", ran
