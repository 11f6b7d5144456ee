"""Generator functions of ``process_task``: items as they come, bounded read-ahead, pipelines, and an end in good order."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import TaskTimeoutError, UnpicklableError, WorkerCrashedError, process_task
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting
from tests.pool.streaming import doubled, endless, failing, large, lengths, total, up_to


def appears(path: str) -> bool:
    """Wait for a file that another process is about to make."""
    for _ in range(int(PATIENCE / 0.01)):
        if os.path.exists(path):
            return True
        time.sleep(0.01)  # between two looks; the file is the signal
    return False


@pytest.mark.parametrize("number", [0, 1, 5, 1_000, 20_000])
def test_the_items_are_those_of_the_generator(method: str, number: int) -> None:
    assert list(up_to.options(start_method=method)(number)) == list(range(number))


def test_items_arrive_as_they_are_made(meeting: Meeting) -> None:
    """Each item arrives while the generator waits to make the next."""

    @process_task
    def held(reports: str, gate: str) -> Iterator[str]:
        for number in range(3):
            yield tasks.hold(reports, gate, f"item {number}")

    stream = held(meeting.reports, meeting.gate)
    for number in range(3):
        meeting.next()
        meeting.let_go()
        assert next(stream) == f"item {number}"
    assert list(stream) == []


@pytest.mark.parametrize("ahead", [1, 2, 50])
def test_it_is_no_further_ahead_than_asked(tmp_path: Path, ahead: int) -> None:
    path = str(tmp_path / "made")
    stream = endless.options(buffersize=ahead)(path)
    assert [next(stream) for _ in range(10)] == list(range(10))
    stream.close()
    assert len(Path(path).read_text()) <= 10 + 2 * ahead + 1


def test_closing_runs_the_finally_block_first(method: str, tmp_path: Path) -> None:
    path = str(tmp_path / "made")
    stream = endless.options(start_method=method)(path)
    assert next(stream) == 0
    stream.close()
    assert Path(path + ".closed").read_text() == "closed"
    with pytest.raises(StopIteration):
        next(stream)
    stream.close()


def test_dropping_it_does_so_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "made")
    stream = endless(path)
    assert next(stream) == 0
    del stream
    gc.collect()
    assert appears(path + ".closed")


def test_leaving_a_with_block_does_so_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "made")
    with endless(path) as stream:
        assert next(stream) == 0
    assert Path(path + ".closed").exists()


def test_what_the_generator_returns_is_the_value_of_the_end() -> None:
    @process_task
    def ends() -> Iterator[int]:
        yield 1
        return "the end"

    stream = ends()
    assert next(stream) == 1
    with pytest.raises(StopIteration) as caught:
        next(stream)
    assert caught.value.value == "the end"


def test_an_exception_comes_after_the_items_before_it(method: str) -> None:
    @process_task(start_method=method)
    def fails(number: int) -> Iterator[int]:
        yield from range(number)
        raise LookupError("half way")

    stream = fails(300)
    assert list(itertools.islice(stream, 300)) == list(range(300))
    with pytest.raises(LookupError, match="half way") as caught:
        next(stream)
    assert any("fails(300)" in note for note in caught.value.__notes__)
    assert list(stream) == []


def test_an_exception_that_nobody_came_to_is_nobodys() -> None:
    @process_task
    def fails() -> Iterator[int]:
        yield 1
        raise LookupError("further on")

    stream = fails()
    assert next(stream) == 1
    stream.close()


def test_what_closing_raises_is_raised() -> None:
    @process_task(buffersize=1)
    def refuses() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise LookupError("cannot close")

    stream = refuses()
    assert next(stream) == 1
    with pytest.raises(LookupError, match="cannot close"):
        stream.close()


def test_a_crash_comes_after_the_items_before_it(method: str) -> None:
    @process_task(start_method=method)
    def dies() -> Iterator[int]:
        yield 1
        time.sleep(0.05)  # what is on its way may be lost with the worker
        os.kill(os.getpid(), signal.SIGKILL)

    stream = dies()
    assert next(stream) == 1
    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        next(stream)


def test_an_item_that_cannot_travel_is_named() -> None:
    @process_task
    def locks() -> Iterator[Any]:
        yield 1
        yield {"lock": threading.Lock()}

    stream = locks()
    assert next(stream) == 1
    with pytest.raises(UnpicklableError, match=r"item\['lock'\]"):
        next(stream)


def test_the_time_of_the_whole_stream_is_limited() -> None:
    @process_task(timeout=0.3)
    def stuck() -> Iterator[int]:
        yield 1
        time.sleep(3600)

    stream = stuck()
    assert next(stream) == 1
    with pytest.raises(TaskTimeoutError):
        next(stream)


def test_more_streams_than_workers_run_side_by_side() -> None:
    streams = [up_to(100) for _ in range(6)]
    assert [sum(items) for items in zip(*streams, strict=True)] == [6 * number for number in range(100)]


def test_submit_gives_all_items_together() -> None:
    assert up_to.submit(5).result(PATIENCE) == [0, 1, 2, 3, 4]


class TestPipelines:
    """A stream given to another task."""

    def test_two_processes(self, method: str) -> None:
        options = {"start_method": method}
        assert total.options(**options)(up_to.options(**options)(1_000)) == sum(range(1_000))

    @pytest.mark.parametrize("stages", [1, 3, 6])
    def test_any_number_of_stages(self, stages: int) -> None:
        """More processes than the pool has workers: none waits for another's worker."""
        stream: Any = up_to(500)
        for _ in range(stages):
            stream = doubled(stream)
        assert list(stream) == [number << stages for number in range(500)]

    def test_with_back_pressure_all_the_way(self, tmp_path: Path) -> None:
        path = str(tmp_path / "made")
        stream = doubled.options(buffersize=2)(
            doubled.options(buffersize=2)(endless.options(buffersize=2)(path))
        )
        assert [next(stream) for _ in range(5)] == [0, 4, 8, 12, 16]
        stream.close()
        assert appears(path + ".closed")
        assert len(Path(path).read_text()) < 40

    def test_what_was_taken_before_is_not_there_again(self) -> None:
        stream = up_to(300)
        assert [next(stream) for _ in range(100)] == list(range(100))
        assert total(stream) == sum(range(100, 300))

    def test_several_streams_in_one_call(self) -> None:
        @process_task
        def pairs(first: Iterable[int], *, second: Iterable[int]) -> int:
            return sum(left * right for left, right in zip(first, second, strict=True))

        assert pairs(up_to(50), second=doubled(up_to(50))) == sum(2 * number**2 for number in range(50))

    def test_an_exception_goes_all_the_way(self) -> None:
        @process_task
        def fails() -> Iterator[int]:
            yield 1
            raise LookupError("at the source")

        with pytest.raises(LookupError, match="at the source"):
            total(doubled(fails()))

    def test_a_crash_goes_all_the_way(self) -> None:
        @process_task
        def dies() -> Iterator[int]:
            yield 1
            os._exit(3)

        with pytest.raises(WorkerCrashedError, match="exit code 3"):
            total(doubled(dies()))

    def test_the_producer_is_closed_when_its_consumer_ends(self, tmp_path: Path) -> None:
        path = str(tmp_path / "made")

        @process_task
        def first(items: Iterable[int]) -> int:
            return next(iter(items))

        assert first(endless(path)) == 0
        assert appears(path + ".closed")

    def test_a_stream_in_a_future(self) -> None:
        assert total.submit(doubled(up_to(10))).result(PATIENCE) == 90

    def test_to_anything_else_a_stream_cannot_be_given(self) -> None:
        import pickle

        stream = up_to(3)
        with pytest.raises(TypeError, match="process_task"):
            pickle.dumps(stream)
        stream.close()


def test_inside_a_worker_a_generator_is_a_generator() -> None:
    @process_task
    def outer() -> int:
        return sum(up_to(10))

    assert outer() == 45


@pytest.mark.parametrize(("count", "size"), [(70, 300_000), (3, 17_000_000)])
def test_items_of_any_size_keep_coming(count: int, size: int) -> None:
    """The bytes that are on their way are bounded: who takes items says so by their size, too, not only by their number."""
    assert [(item[0], len(item)) for item in large(count, size)] == [
        (number, size) for number in range(count)
    ]
    assert process_task(lengths)(large(count, size)) == [size] * count


def test_a_stream_that_is_over_is_empty_for_the_next_task() -> None:
    stream = up_to(3)
    assert list(stream) == [0, 1, 2]
    assert total(stream) == 0


def test_a_stream_that_has_failed_fails_the_next_task() -> None:
    stream = failing()
    with pytest.raises(LookupError):
        list(stream)
    with pytest.raises(LookupError):
        total(stream)


def test_a_stream_goes_to_one_task_only() -> None:
    stream = up_to(1000)
    assert total(stream) == sum(range(1000))
    with pytest.raises(UnpicklableError, match="cannot go to two"):
        total(stream)
    with pytest.raises(RuntimeError, match="given to a task"):
        next(stream)


def test_threads_that_share_a_stream_all_come_to_its_end() -> None:
    stream, found = up_to(500), []

    def consume() -> None:
        for item in stream:
            found.append(item)

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(found) == list(range(500))
