"""Pools of each start method, and ways to meet a task at a known moment without sleeping."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands import ProcessPool
from tests.pool.tasks import PATIENCE

#: All that there are here, or those that ``MANYHANDS_METHODS`` names.
METHODS = tuple(
    os.environ.get("MANYHANDS_METHODS", "template spawn fork" if hasattr(os, "fork") else "spawn").split()
)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Each start method in turn."""
    return str(request.param)


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    """A pool of two workers."""
    with ProcessPool(2) as pool:
        yield pool


@pytest.fixture
def any_pool(method: str) -> Iterator[ProcessPool]:
    """A pool of two workers, for each start method."""
    with ProcessPool(2, start_method=method) as pool:
        yield pool


class Meeting:
    """Two named pipes: tasks report there, and wait there until they are let go.

    Args:
        folder: where the pipes are made.
    """

    def __init__(self, folder: Path) -> None:
        self.reports, self.gate = str(folder / "reports"), str(folder / "gate")
        for path in (self.reports, self.gate):
            os.mkfifo(path)
        # Open for both ways, so that neither side waits for the other to open its end.
        self._reports, self._gate = (os.open(path, os.O_RDWR) for path in (self.reports, self.gate))
        self._rest = b""

    def next(self) -> str:
        """Wait for the next report of a task, and return it."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._reports], [], [], PATIENCE)
            assert ready, "no task has reported"
            self._rest += os.read(self._reports, 4096)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def let_go(self, tasks: int = 1) -> None:
        """Let so many of the waiting tasks go on."""
        os.write(self._gate, b"." * tasks)

    def close(self) -> None:
        os.close(self._reports)
        os.close(self._gate)


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Meeting]:
    """Return what ``tasks.report`` and ``tasks.hold`` meet at."""
    meeting = Meeting(tmp_path)
    yield meeting
    meeting.close()
