"""Shared memory is the same memory wherever its handle arrives, and goes when nobody has it."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest

from manyhands import ProcessPool, SharedStateError
from manyhands.shared import memory as blocks
from manyhands.shared import segments
from manyhands.shared.memory import Memory, cell
from tests.conftest import Program
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

KINDS = [segments.Nameless, segments.File] if segments.kind is segments.Nameless else [segments.kind]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """Each kind of segment that can be had here."""
    monkeypatch.setattr(segments, "kind", request.param)
    return request.param


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_it_is_zeros_of_the_size_that_was_asked_for(kind: type) -> None:
    memory = Memory(10_000)
    assert memory.size == len(memory.map) == 10_000
    assert memory.map[:] == bytes(10_000)


@pytest.mark.parametrize("size", [0, -1])
def test_no_memory_is_not_to_be_had(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        Memory(size)


def test_it_is_one_object_in_one_process(kind: type) -> None:
    memory = Memory(8)
    for pickler in (pickle, cloudpickle):
        assert pickle.loads(pickler.dumps(memory)) is memory
    assert copy.copy(memory) is memory


def test_workers_of_every_start_method_write_to_it(any_pool: ProcessPool) -> None:
    memory = Memory(5)
    any_pool.submit(sharing.write, memory, b"hands").result(PATIENCE)
    assert memory.map[:] == b"hands"


def test_a_spawned_child_of_multiprocessing_writes_to_it() -> None:
    memory = Memory(5)
    assert sharing.spawned(sharing.write, memory, b"hands") == 0
    assert memory.map[:] == b"hands"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_writes_to_it_and_can_open_what_it_is_sent(kind: type) -> None:
    memory, other = Memory(5), pickle.dumps(keep := Memory(5))

    def child() -> None:
        sharing.write(memory, b"hands")
        sharing.write(pickle.loads(other), b"heads")

    assert sharing.in_child(child) == 0
    assert (memory.map[:], keep.map[:]) == (b"hands", b"heads")


def test_one_that_was_kept_in_a_worker_outlives_its_maker_and_can_be_sent_on() -> None:
    with ProcessPool(1) as maker:
        memory = maker.submit(Memory, 4).result(PATIENCE)
    memory.map[:] = b"here"
    with ProcessPool(1) as other:
        other.submit(sharing.write, memory, b"away").result(PATIENCE)
    assert memory.map[:] == b"away"


def test_one_that_was_dropped_after_sending_can_be_opened_once(kind: type) -> None:
    before = descriptors()
    sent = pickle.dumps(Memory(8))
    assert pickle.loads(sent).map[:] == bytes(8)
    blocks._sweep()
    assert descriptors() == before
    with pytest.raises(SharedStateError, match=f"is gone: process {os.getpid()}"):
        pickle.loads(sent)


def test_one_that_nobody_opens_goes_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    monkeypatch.setattr(blocks, "PATIENCE", -1.0)
    sent = pickle.dumps(Memory(8))
    blocks._sweep()
    assert descriptors() == before
    with pytest.raises(SharedStateError, match="ended or has let go"):
        pickle.loads(sent)


def test_a_handle_that_is_opened_after_its_owner_was_killed_says_so(tmp_path: Path) -> None:
    program = """
        import os, pickle, sys
        from manyhands.shared.memory import Memory
        memory = Memory(8)
        with open("handle", "wb") as file:
            file.write(pickle.dumps(memory))
        os.kill(os.getpid(), 9)
    """
    import textwrap

    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=False)
    assert run.returncode == -signal.SIGKILL
    with pytest.raises(SharedStateError, match=r"is gone: process \d+, which had it, has ended"):
        pickle.loads((tmp_path / "handle").read_bytes())


def test_one_that_was_closed_cannot_be_sent_and_can_be_used(kind: type) -> None:
    memory = Memory(4)
    sent = pickle.dumps(memory)
    memory.close()
    memory.close()
    with pytest.raises(SharedStateError, match="taken away here"):
        pickle.dumps(memory)
    with pytest.raises(SharedStateError, match="is gone"):
        pickle.loads(sent)
    memory.map[:] = b"used"


def test_a_view_outlives_the_block() -> None:
    view = memoryview(Memory(8).map)
    view[0] = 7
    assert bytes(view) == b"\7" + bytes(7)


def test_descriptors_and_memory_are_given_back(kind: type) -> None:
    before = descriptors()
    for _ in range(300):
        memory = Memory(100_000)
        memory.map[:3] = b"abc"
    del memory
    assert descriptors() == before


def test_cells_are_apart_zero_and_never_given_twice() -> None:
    found = [cell(size) for size in (1, 64, 65, 4096)]
    places = [(memory, offset) for memory, offset in found]
    assert [second - first for (_, first), (_, second) in itertools.pairwise(places)] == [
        64,
        64,
        128,
    ]
    large, offset = cell(3 << 20)
    assert (large.size, offset) == (3 << 20, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_takes_its_cells_from_elsewhere() -> None:
    memory, offset = cell(8)

    def child() -> None:
        assert cell(8)[0] is not memory

    assert sharing.in_child(child) == 0
    assert cell(8) == (memory, offset + 64)


def test_files_where_there_is_nothing_without_a_name_go_with_the_program(run_program: Program) -> None:
    ran = run_program(
        """
        import os, pickle, stat, tempfile
        from manyhands.shared import segments
        segments.kind = segments.File
        from manyhands.shared import Lock, Value
        value, lock = Value(int, 1), Lock()
        (folder,) = os.listdir(tempfile.gettempdir())
        folder = os.path.join(tempfile.gettempdir(), folder)
        (file,) = os.listdir(folder)
        modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, os.path.join(folder, file))]
        print([oct(mode) for mode in modes], flush=True)
        pid = os.fork()
        if not pid:
            with lock:
                value.add(1)
            os._exit(0)
        os.waitpid(pid, 0)
        print(value.get())
        """
    )
    assert (ran.code, ran.out, ran.err) == (0, "['0o700', '0o600']\n2\n", "")


class TestInAWorker:
    """A worker keeps the blocks that it was given last, so that the next task need not open them again."""

    @pytest.fixture
    def worker(self) -> Iterator[ProcessPool]:
        with ProcessPool(1) as pool:
            yield pool

    def test_the_next_task_finds_them_open(self, worker: ProcessPool) -> None:
        memory = Memory(100)
        assert worker.submit(sharing.where, memory).result(PATIENCE) == worker.submit(
            sharing.where, memory
        ).result(PATIENCE)
        assert worker.submit(sharing.kept).result(PATIENCE) == [100]

    def test_what_its_maker_has_left_goes_when_another_comes(self, worker: ProcessPool) -> None:
        for size in (100, 200, 300):
            memory = Memory(size)
            worker.submit(sharing.where, memory).result(PATIENCE)
            del memory
        assert worker.submit(sharing.kept).result(PATIENCE) == [300]

    def test_what_a_task_has_kept_stays_when_its_maker_has_left_it(self, worker: ProcessPool) -> None:
        memory, other = Memory(5), Memory(6)
        memory.map[:] = b"hands"
        worker.submit(sharing.hold, memory).result(PATIENCE)
        del memory
        worker.submit(sharing.where, other).result(PATIENCE)
        assert worker.submit(sharing.held).result(PATIENCE) == b"hands"

    def test_no_more_than_so_many_are_kept(self, worker: ProcessPool) -> None:
        memories = [Memory(8) for _ in range(blocks.KEPT + 10)]
        for memory in memories:
            worker.submit(sharing.where, memory).result(PATIENCE)
        assert len(worker.submit(sharing.kept).result(PATIENCE)) == blocks.KEPT

    def test_none_stays_open_in_one_that_has_nothing_to_do(self, worker: ProcessPool) -> None:
        worker.submit(sharing.where, Memory(8)).result(PATIENCE)
        assert worker.submit(sharing.rest_and_open).result(PATIENCE) == 0

    def test_the_caller_keeps_none(self, worker: ProcessPool) -> None:
        pickle.loads(pickle.dumps(Memory(8)))
        assert not blocks.kept
