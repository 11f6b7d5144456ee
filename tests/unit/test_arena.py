"""Shared memory for large things: both ends in one process, so that every order of events can be had."""

from __future__ import annotations

import gc
import os
import pickle
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from manyhands.transport import arena as arenas
from manyhands.transport import windows
from manyhands.transport.arena import Arena, Frame, Peer, rounded
from manyhands.transport.journal import SLOTS
from manyhands.transport.mapped import KEPT, Remote
from manyhands.transport.memory import create
from manyhands.transport.serialize import THRESHOLD, Encoder, loads

try:
    import numpy as np  # noqa: F401 - with it, larger segments are seen through windows
except ImportError:
    pass

pytestmark = pytest.mark.skipif(create() is None, reason="there is no memory without a name here")

LIMIT = 64 << 20
START = 1 << 16


class Ends:
    """An arena, and one that receives from it."""

    def __init__(self, limit: int = LIMIT) -> None:
        file = create()
        assert file is not None
        token = int.from_bytes(os.urandom(8), "little")
        self.arena = Arena(file, token, limit, START)
        self.returned = memoryview(array("Q", [0]) * SLOTS)
        self.peer = Peer(self.returned)
        self.remote = Remote(os.dup(file), token, self.returned)
        self.encoder = Encoder(store=self.arena.store)

    def send(self, frame: bytes) -> Any:
        """Return what holds the segments of a frame as the body of a message would."""
        told = self.peer.lend(arenas.leases_of([frame]))
        return self.remote.receive(memoryview(array("Q", told)).cast("B"))

    def given(self) -> int:
        """The bytes of memory that the file has."""
        return os.fstat(self.arena.file).st_blocks * 512


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends."""
    both = Ends()
    yield both
    both.arena.close()


def large(mark: int = 1, size: int = THRESHOLD) -> pickle.PickleBuffer:
    return pickle.PickleBuffer(bytearray([mark]) * size)


def test_a_large_buffer_is_not_in_the_pickle_and_arrives_equal(ends: Ends) -> None:
    frame = ends.encoder.encode(("head", large(7), "tail"))
    assert type(frame) is Frame
    assert len(frame) < 1000
    assert frame.size >= THRESHOLD
    held = ends.send(frame)
    head, view, tail = loads(frame)
    assert (head, bytes(view), tail) == ("head", b"\7" * THRESHOLD, "tail")
    assert held


@pytest.mark.parametrize(
    "value", [b"x" * THRESHOLD, bytearray(THRESHOLD), "ä" * THRESHOLD, ["row"] * THRESHOLD]
)
def test_a_large_pickle_goes_the_same_way(ends: Ends, value: Any) -> None:
    frame = ends.encoder.encode(value)
    assert type(frame) is Frame
    held = ends.send(frame)
    back = loads(frame)
    assert type(back) is type(value)
    assert back == value
    assert held


def test_what_is_small_has_no_part_in_it(ends: Ends) -> None:
    assert type(ends.encoder.encode(large(size=THRESHOLD // 2))) is bytes
    assert ends.arena.total == 0


@pytest.mark.parametrize("size", [THRESHOLD, 1 << 20])
def test_writes_are_private(ends: Ends, size: int) -> None:
    frame = ends.encoder.encode(large(1, size))
    held = ends.send(frame)
    one, two = loads(frame), loads(frame)
    one[0] = 99
    assert (one[0], two[0], loads(frame)[0]) == (99, 1, 1)
    assert held


@pytest.mark.parametrize("size", [THRESHOLD, 1 << 20])
def test_what_was_written_is_not_seen_in_what_comes_next(ends: Ends, size: int) -> None:
    for mark in range(1, 6):
        frame = ends.encoder.encode(large(mark, size))
        held = ends.send(frame)
        view = loads(frame)
        assert bytes(view) == bytes([mark]) * size
        view[::5000] = bytes(len(view[::5000]))
        del frame, held, view


def test_what_was_read_only_arrives_read_only(ends: Ends) -> None:
    frame = ends.encoder.encode([pickle.PickleBuffer(b"x" * THRESHOLD), large()])
    held = ends.send(frame)
    fixed, free = loads(frame)
    assert fixed.readonly
    assert not free.readonly
    assert held


def test_a_segment_is_written_anew_when_all_is_gone_and_not_before(ends: Ends) -> None:
    frame = ends.encoder.encode(large(1))
    held = ends.send(frame)
    view = loads(frame)
    first = frame.leases[0].segment
    del frame
    assert not first.is_free()
    del held
    assert not first.is_free()
    part = view[10:20]
    del view
    assert not first.is_free()
    del part
    gc.collect()
    assert first.is_free()
    assert ends.encoder.encode(large(2)).leases[0].segment is first


def test_what_was_sent_twice_is_given_back_twice(ends: Ends) -> None:
    frame = ends.encoder.encode(large(1))
    one, two = ends.send(frame), ends.send(frame)
    segment = frame.leases[0].segment
    del frame, one
    assert not segment.is_free()
    del two
    assert segment.is_free()
    assert ends.returned[segment.slot] == 2


def test_a_peer_that_is_gone_holds_nothing(ends: Ends) -> None:
    frame = ends.encoder.encode(large(1))
    held = ends.send(frame)
    segment = frame.leases[0].segment
    del frame
    assert not segment.is_free()
    ends.peer.leave()
    assert segment.is_free()
    assert held


def test_over_the_limit_there_is_no_frame(ends: Ends) -> None:
    ends.arena.limit = 3 * rounded(THRESHOLD)
    frames = [ends.encoder.encode(large()) for _ in range(4)]
    assert [type(frame) is Frame for frame in frames] == [True, True, True, False]
    assert bytes(loads(frames[3])) == b"\1" * THRESHOLD
    del frames[0]
    assert type(ends.encoder.encode(large())) is Frame


def test_idle_segments_of_another_size_make_room(ends: Ends) -> None:
    ends.arena.limit = 1 << 20
    for size in (1 << 18, 1 << 19, 1 << 20, 1 << 17):
        assert type(ends.encoder.encode(large(size=size))) is Frame
    assert ends.arena.total <= 1 << 20


def test_idle_memory_is_given_back(ends: Ends) -> None:
    frame = ends.encoder.encode(large(size=1 << 20))
    assert ends.given() >= 1 << 20
    assert ends.arena.rest(0)
    assert ends.given() >= 1 << 20
    del frame
    assert not ends.arena.rest(0)
    assert ends.given() == 0


def test_a_result_outlives_its_arena_and_keeps_nothing_else(ends: Ends) -> None:
    frames = [ends.encoder.encode(large(mark, 1 << 20)) for mark in range(1, 6)]
    held = [ends.send(frame) for frame in frames]
    view = loads(frames[2])
    del frames
    held.clear()
    ends.remote.orphan()
    assert ends.given() <= rounded(1 << 20)
    assert bytes(view[:3]) == b"\3\3\3"
    assert view[-1] == 3
    del view
    assert ends.given() == 0


def test_a_large_thing_is_copied_where_no_more_can_be_mapped(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_most", 1)
    frame = ends.encoder.encode(large(5))
    held = ends.send(frame)
    views = [loads(frame) for _ in range(3)]
    views[1][0] = views[2][0] = 6
    assert [view[0] for view in views] == [5, 6, 6]
    assert held


def test_a_system_without_room_is_told_of_once(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.warns(RuntimeWarning, match="arena_limit"):
        assert bytes(loads(ends.encoder.encode(large(3)))) == b"\3" * THRESHOLD
    assert type(ends.encoder.encode(large())) is bytes


def test_a_forked_child_gives_nothing_back_and_sees_nothing_new(ends: Ends) -> None:
    frame = ends.encoder.encode(large(1))
    held = ends.send(frame)
    view = loads(frame)
    segment = frame.leases[0].segment
    del frame
    other = ends.encoder.encode(large(2))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            del held
            ends.remote.orphan()  # as when a pool is left behind
            os.write(writing, bytes([ends.arena.store(b"", [memoryview(b"x" * THRESHOLD)]) is None]))
            view.release()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1) == b"\1"
    assert ends.returned[segment.slot] == KEPT
    other_held = ends.send(other)
    assert loads(other) == b"\2" * THRESHOLD
    assert other_held
    del view, held
    assert not segment.is_free()  # the child could have had it yet
    ends.peer.leave()
    assert not segment.is_free()
    for end in (reading, writing):
        os.close(end)


class Traffic(RuleBasedStateMachine):
    """Whatever is stored, sent, opened, changed and dropped, in whatever order: nothing that somebody has ever changes."""

    frames = Bundle("frames")
    bodies = Bundle("bodies")
    views = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        self.ends = Ends(limit=4 << 20)
        self.mark = 0
        self.living: list[list[Any]] = []

    @rule(target=frames, size=st.sampled_from([THRESHOLD, THRESHOLD + 1, 300_000, 1 << 20]))
    def store(self, size: int) -> list[Any]:
        self.mark = self.mark % 255 + 1
        return [self.ends.encoder.encode(large(self.mark, size)), bytes([self.mark]) * size]

    @rule(target=bodies, frame=frames)
    def send(self, frame: list[Any]) -> list[Any]:
        return [*frame, self.ends.send(frame[0])] if frame else []

    @rule(target=views, body=bodies, changed=st.booleans())
    def open(self, body: list[Any], changed: bool) -> list[Any]:
        if not body:
            return []
        view = memoryview(loads(body[0]))  # where there was no room, it is a bytearray
        assert bytes(view) == body[1]
        if changed:
            view[::4096] = bytes([body[1][0] ^ 255]) * len(view[::4096])
        entry = [view, bytes(view)]
        self.living.append(entry)
        return entry

    @rule(frame=consumes(frames))
    def drop_frame(self, frame: list[Any]) -> None:
        frame.clear()

    @rule(body=consumes(bodies))
    def drop_body(self, body: list[Any]) -> None:
        body.clear()

    @rule(view=consumes(views))
    def drop_view(self, view: list[Any]) -> None:
        if view:
            self.living = [entry for entry in self.living if entry is not view]
            view.clear()

    @rule()
    def rest(self) -> None:
        self.ends.arena.rest(0)

    @invariant()
    def nothing_has_changed(self) -> None:
        for view, expected in self.living:
            assert bytes(view) == expected

    @invariant()
    def the_limit_holds(self) -> None:
        assert self.ends.arena.total <= self.ends.arena.limit

    def teardown(self) -> None:
        self.living.clear()
        self.ends.arena.close()


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
