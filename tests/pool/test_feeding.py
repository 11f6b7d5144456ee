"""The workers of a stream have something to do while its consumer is busy, and results do not pile up."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from manyhands import parallel_map
from manyhands.scheduling import feeding
from manyhands.shared import Semaphore
from tests.pool.conftest import PATIENCE


def release(item: int, *, begun: Semaphore) -> int:
    begun.release()
    return item


@pytest.mark.parametrize("items", [range(10), iter(range(10))], ids=["of a range", "of an iterator"])
def test_while_the_consumer_is_busy_with_a_result_every_worker_has_a_task(items: Iterable[int]) -> None:
    begun = Semaphore(0)
    stream = parallel_map(release, max_workers=2, chunksize=1, timeout=PATIENCE).imap(items, begun=begun)
    assert next(stream) == 0
    for _ in range(4):  # the one that is done, one for each worker, and one to follow
        assert begun.acquire(timeout=PATIENCE)
    assert list(stream) == list(range(1, 10))


def large(item: int, *, begun: Semaphore) -> bytes:
    begun.release()
    return bytes(1 << 20)


def test_results_in_shared_memory_count_for_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "WINDOW_BYTES", 8 << 20)
    begun = Semaphore(0)
    stream = parallel_map(large, max_workers=2, timeout=PATIENCE).imap(range(60), begun=begun)
    count = 0
    for number, result in enumerate(stream, 1):
        assert len(result) == 1 << 20
        while begun.acquire(timeout=0):
            count += 1
        if number > 10:  # until then nobody knows how large they are
            assert count - number <= 9
