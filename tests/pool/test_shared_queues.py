"""Queues keep what they were given, in order, and end their readers' loops; death takes nothing from anybody else."""

from __future__ import annotations

import os
import pickle
import queue as standard
import signal
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manyhands import ProcessPool, share
from manyhands.shared import Queue, ShutDown, Value, queues
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

any_kind = pytest.mark.parametrize("kind", sharing.BESIDE)

#: Items of sizes that make a small ring go round, and grow.
ITEMS = st.one_of(st.integers(), st.binary(max_size=200), st.integers(0, 600).map(bytes))


class AgainstTheStandardQueue(RuleBasedStateMachine):
    """A queue with a small ring does what ``queue.Queue`` does, as long as nobody has to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.small = queues._RING
        queues._RING = 256
        self.ours, self.theirs = Queue(6), standard.Queue(6)
        self.closed = False

    def teardown(self) -> None:
        queues._RING = self.small

    @rule(item=ITEMS)
    def put(self, item: Any) -> None:
        if self.closed:
            with pytest.raises(ShutDown, match="takes no more"):
                self.ours.put(item)
        elif self.theirs.full():
            with pytest.raises(standard.Full):
                self.ours.put_nowait(item)
        else:
            self.ours.put(item)
            self.theirs.put(item)

    @rule(timeout=st.sampled_from([None, 0]))
    def get(self, timeout: float | None) -> None:
        if self.theirs.empty():
            with pytest.raises(ShutDown if self.closed else standard.Empty):
                self.ours.get(block=timeout is not None, timeout=timeout)
        else:
            assert self.ours.get() == self.theirs.get()

    @precondition(lambda self: self.theirs.qsize() > 1)
    @rule()
    def close(self) -> None:
        self.ours.close()
        self.closed = True

    @invariant()
    def looks_alike(self) -> None:
        for name in ("qsize", "empty", "full"):
            assert getattr(self.ours, name)() == getattr(self.theirs, name)()
        assert self.ours.closed == self.closed


TestAgainstTheStandardQueue = AgainstTheStandardQueue.TestCase
TestAgainstTheStandardQueue.settings = settings(stateful_step_count=40, max_examples=60, deadline=None)


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 3))))
def test_a_ring_that_grows_and_goes_round_loses_nothing(steps: list[tuple[int, int]]) -> None:
    queue, model = Queue(), []
    queue._set(queue._get()._replace(room=128))
    for size, gets in steps:
        item = bytes([len(model) % 256]) * size
        queue.put(item)
        model.append(item)
        for _ in range(min(gets, len(model))):
            assert queue.get() == model.pop(0)
    queue.close()
    assert list(queue) == model


@any_kind
@pytest.mark.parametrize("maxsize", [0, 1, 7])
def test_many_producers_and_consumers_and_no_sentinel(kind: str, maxsize: int) -> None:
    queue, total, producers = Queue(maxsize), Value(int), Value(int, 2)

    def produce() -> None:
        for number in range(1, 101):
            queue.put(number)
        if not producers.add(-1):
            queue.close()

    def consume() -> None:
        for number in queue:
            total.add(number)

    with sharing.beside(kind, consume), sharing.beside(kind, produce), sharing.beside("thread", produce):
        consume()
    assert total.value == 2 * 5050


def test_items_of_one_producer_come_in_order(any_pool: ProcessPool) -> None:
    queue: Any = Queue(3)
    future = any_pool.submit(sharing.put_all, queue, range(200))
    assert list(queue) == list(range(200))
    future.result(PATIENCE)


def test_a_spawned_child_of_multiprocessing_puts_into_it() -> None:
    queue = Queue()
    assert sharing.spawned(sharing.put_all, queue, range(20)) == 0
    assert list(queue) == list(range(20))


def test_what_only_this_program_knows_travels() -> None:
    queue, answer = Queue(), 42
    queue.put(lambda: answer)
    assert queue.get()() == 42


def test_a_shared_array_travels_as_an_address() -> None:
    np = pytest.importorskip("numpy")
    queue = Queue()
    array = share(np.zeros(3))
    queue.put(array)
    queue.put(share(np.ones(2)))
    queue.get()[:] = 5
    assert array.tolist() == [5, 5, 5]
    assert queue.get().tolist() == [1, 1]


def test_an_item_that_cannot_be_pickled_harms_nothing() -> None:
    queue = Queue()
    with pytest.raises(TypeError, match="cannot pickle"):
        queue.put(threading.Lock())
    assert queue.empty()


@any_kind
def test_who_waits_is_told_that_it_was_closed(kind: str) -> None:
    empty, full = Queue(), Queue(1)
    full.put(1)

    def get() -> None:
        with pytest.raises(ShutDown):
            empty.get()

    def put() -> None:
        with pytest.raises(ShutDown):
            full.put(2)

    with sharing.beside(kind, get), sharing.beside(kind, put):
        for condition in (empty._not_empty, full._not_full):
            while not condition._waiting():
                pass
        empty.close()
        full.close()
    assert list(full) == [1]


def test_a_producer_and_a_consumer_that_are_killed_while_they_wait_harm_nobody() -> None:
    queue = Queue(1)
    queue.put("first")
    producer = sharing.forked(queue.put, "second")
    while not queue._not_full._waiting():
        pass
    sharing.killed(producer)
    assert queue.get() == "first"
    consumer = sharing.forked(queue.get)
    while not queue._not_empty._waiting():
        pass
    sharing.killed(consumer)
    queue.put("third")
    assert queue.get() == "third"


def test_an_item_whose_producer_dies_half_way_is_not_seen() -> None:
    queue = Queue()
    queue.put("before")

    def put_in_child() -> None:
        Queue._set = lambda self, state: sharing.die()  # type: ignore[method-assign]
        queue.put(b"lost" * 100_000)

    assert sharing.in_child(put_in_child) == -signal.SIGKILL
    queue.put("after")
    assert [queue.get(), queue.get()] == ["before", "after"]


def test_an_item_whose_consumer_dies_half_way_is_still_there() -> None:
    queue = Queue()
    queue.put("first")

    def get_in_child() -> None:
        Queue._set = lambda self, state: sharing.die()  # type: ignore[method-assign]
        queue.get()

    assert sharing.in_child(get_in_child) == -signal.SIGKILL
    assert queue.get() == "first"


def test_the_memory_of_large_items_is_given_back() -> None:
    queue = Queue()
    blocks = os.fstat(queue._data._segment.descriptor).st_blocks
    for _ in range(3):
        queue.put(bytes(5_000_000))
    assert os.fstat(queue._data._segment.descriptor).st_blocks > 20_000
    for _ in range(3):
        queue.get()
    assert os.fstat(queue._data._segment.descriptor).st_blocks <= blocks + 8
    queue.put("small")
    assert queue.get() == "small"


def test_it_is_one_object_in_one_process() -> None:
    queue = Queue(3)
    assert pickle.loads(pickle.dumps(queue)) is queue
    assert pickle.loads(pickle.dumps(queue)).maxsize == 3


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        Queue().get(timeout=-1)
    with pytest.raises(TypeError, match="a whole number of items"):
        Queue("three")  # type: ignore[arg-type]
