"""``start``: a process of its own, talked to, asked to stop, and ended if it does not."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from manyhands import UnpicklableError, WorkerCrashedError, process_task
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting
from tests.pool.streaming import obedient, stubborn

if TYPE_CHECKING:
    from tests.conftest import Program


def test_it_runs_beside_its_caller_and_has_a_result(method: str) -> None:
    task = process_task(tasks.pid, start_method=method).start()
    assert task.result(PATIENCE) == task.pid != os.getpid()
    assert task.wait(0)
    assert (task.done(), task.exitcode) == (True, 0)


def test_what_it_raises_is_raised(method: str) -> None:
    task = process_task(tasks.raising, start_method=method).start(LookupError("no"))
    with pytest.raises(LookupError, match="no"):
        task.result(PATIENCE)
    assert task.exitcode == 1


def test_while_it_runs_there_is_no_result(meeting: Meeting) -> None:
    task = process_task(tasks.hold).start(meeting.reports, meeting.gate, "value")
    assert int(meeting.next()) == task.pid
    assert (task.done(), task.exitcode, task.wait(0)) == (False, None, False)
    with pytest.raises(TimeoutError):
        task.result(0)
    meeting.let_go()
    assert task.result(PATIENCE) == "value"


def test_many_run_at_once_whatever_the_number_of_workers(meeting: Meeting) -> None:
    held = [process_task(tasks.hold, max_workers=1).start(meeting.reports, meeting.gate) for _ in range(5)]
    assert len({meeting.next() for _ in range(5)}) == 5
    assert process_task(tasks.double, max_workers=1)(2) == 4  # and calls are not kept waiting
    meeting.let_go(5)
    assert all(task.wait(PATIENCE) for task in held)


def test_crashes_are_told(method: str) -> None:
    task = process_task(os._exit, start_method=method).start(3)
    with pytest.raises(WorkerCrashedError):
        task.result(PATIENCE)
    assert task.exitcode == 3


class TestStop:
    """``stop`` asks, then terminates, then kills, and says which of them it took."""

    def test_asking_is_enough_for_one_that_listens(self, method: str) -> None:
        task = obedient.options(start_method=method).start()
        assert task.stop(grace=PATIENCE) == "stopped"
        assert (task.result(0), task.exitcode) == ("in good order", 0)
        assert task.stop() == "finished"

    def test_one_that_does_not_is_terminated(self, meeting: Meeting) -> None:
        task = process_task(stubborn).start(meeting.reports, terminate=True)
        meeting.next()
        assert task.stop(grace=0.1) == "terminated"
        assert task.exitcode == -signal.SIGTERM

    def test_one_that_ignores_that_is_killed(self, meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("manyhands.scheduling.running.TERMINATE_WITHIN", 0.1)
        task = process_task(stubborn).start(meeting.reports, terminate=False)
        meeting.next()
        assert task.stop(grace=0.1) == "killed"
        assert task.exitcode == -signal.SIGKILL
        with pytest.raises(WorkerCrashedError):
            task.result(0)

    def test_a_with_block_stops_it(self) -> None:
        with obedient.start() as task:
            assert not task.done()
        assert task.result(0) == "in good order"

    def test_a_token_can_be_polled(self, meeting: Meeting) -> None:
        def poll(reports: str, stop: Any) -> int:
            polled = 0
            while not stop:
                polled += 1
                if polled == 3:
                    tasks.report(reports, "polling")
            return polled

        task = process_task(poll).start(meeting.reports)
        meeting.next()
        assert task.stop(grace=PATIENCE) == "stopped"
        assert task.result(0) >= 3

    def test_before_it_has_begun_it_can_be_ended_as_well(self) -> None:
        task = obedient.start()
        task.kill()
        assert task.wait(PATIENCE)
        with pytest.raises(WorkerCrashedError):
            task.result(0)


class TestChannel:
    """``channel``: two ways."""

    def test_questions_and_answers(self, method: str) -> None:
        @process_task(start_method=method)
        def server(channel: Any) -> str:
            for request in channel:
                channel.send(("answer", request))
            return "closed"

        task = server.start()
        for request in [1, "two", None, {"three": [3]}, b"x" * 3_000_000]:
            assert task.channel.request(request, PATIENCE) == ("answer", request)
        task.channel.close()
        assert task.result(PATIENCE) == "closed"

    def test_everything_that_was_sent_arrives_before_the_end(self) -> None:
        @process_task
        def sender(number: int, channel: Any) -> None:
            for value in range(number):
                channel.send(value)

        task = sender.start(500)
        assert list(task.channel) == list(range(500))
        with pytest.raises(EOFError):
            task.channel.receive(0)

    def test_nothing_in_time_is_a_timeout(self) -> None:
        with obedient.start() as task, pytest.raises(TimeoutError):
            task.channel.receive(0.01)

    def test_a_task_can_wait_for_so_long_too(self) -> None:
        @process_task
        def impatient(channel: Any) -> str:
            try:
                channel.receive(0.01)
            except TimeoutError:
                return "nothing came"
            return "something came"

        assert impatient.start().result(PATIENCE) == "nothing came"

    def test_to_one_that_has_ended_nothing_can_be_sent(self) -> None:
        task = process_task(tasks.nothing).start()
        task.wait(PATIENCE)
        with pytest.raises(EOFError):
            task.channel.send(1)

    def test_what_cannot_travel_is_named(self) -> None:
        import threading

        with obedient.start() as task, pytest.raises(UnpicklableError, match="lock"):
            task.channel.send({"lock": threading.Lock()})

    def test_stop_token_and_channel_together(self) -> None:
        @process_task
        def adder(stop: Any, channel: Any) -> int:
            total = 0
            while not stop.is_set():
                try:
                    total += channel.receive(0.005)
                except TimeoutError:
                    continue
                channel.send(total)
            return total

        task = adder.start()
        assert [task.channel.request(number, PATIENCE) for number in (1, 2, 3)] == [1, 3, 6]
        assert task.stop(PATIENCE) == "stopped"
        assert task.result(0) == 6


def test_what_it_prints_is_seen_before_its_result(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    process_task(print, start_method=method).start("from a task").result(PATIENCE)
    assert capsys.readouterr().out == "from a task\n"

    @process_task(start_method=method)
    def chatty() -> Any:
        for number in range(3):
            print("making", number)
            yield number

    for number in chatty():
        assert f"making {number}\n" in capsys.readouterr().out or number


def test_a_generator_function_is_called_not_started() -> None:
    @process_task
    def items() -> Any:
        yield 1

    with pytest.raises(TypeError, match="call it"):
        items.start()


def test_the_end_of_the_program_ends_it(run_program: Program) -> None:
    ran = run_program(
        """
        import time
        from manyhands import process_task

        task = process_task(time.sleep).start(3600)
        print(task.pid > 0)
        """
    )
    assert (ran.out, ran.err, ran.code) == ("True\n", "", 0)
