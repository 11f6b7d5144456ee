"""Whatever is done to large constants between calls, what is sent of them is what they are at the moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import pack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from manyhands.transport import constants as module
from manyhands.transport import memory
from manyhands.transport.arena import Arena, Peer
from manyhands.transport.constants import Constants
from manyhands.transport.journal import SLOTS
from manyhands.transport.mapped import Body, Remote
from manyhands.transport.serialize import Encoder, loads
from tests.properties.functions import examples

np = pytest.importorskip("numpy")

#: Numbers of 8 bytes in each array, so that many pages and parts of pages are theirs.
NUMBERS = 24_000
WHICH = st.integers(0, 1)
PLACE = st.one_of(st.sampled_from([0, NUMBERS - 1]), st.integers(0, NUMBERS - 1))


class Sending(RuleBasedStateMachine):
    """Arrays that are changed and sent, again and again, as the constants of calls are."""

    def __init__(self) -> None:
        super().__init__()
        file = memory.create()
        assert file is not None
        returned = memoryview(bytearray(8 * SLOTS)).cast("Q")
        self.arrays: list[Any] = []
        self.arena = Arena(file, 4711, 64 << 20)
        self.constants = Constants(self.arena)
        self.peer = Peer(returned)
        self.remote = Remote(os.dup(file), 4711, returned)
        self.encoder = Encoder(store=self.constants.store)
        self.number = 0

    @initialize()
    def make(self) -> None:
        self.arrays = [np.zeros(NUMBERS), np.zeros(NUMBERS)]
        self.send(0)

    def teardown(self) -> None:
        self.constants.close()
        self.arena.close()
        self.remote.disown()

    def arrive(self, value: Any) -> Any:
        """Send it as a constant, and return what a worker would have."""
        frame: Any = self.encoder.encode(value)
        told = self.peer.lend(frame.leases)
        body = Body(bytes(frame), self.remote.receive(memoryview(pack(f"{len(told)}Q", *told))))
        return loads(memoryview(body))

    def send(self, which: int, start: int = 0, stop: int = NUMBERS) -> None:
        array = self.arrays[which][start:stop]
        assert np.array_equal(self.arrive(array), array)

    @rule(which=WHICH)
    def send_again(self, which: int) -> None:
        self.send(which)

    @rule(which=WHICH, start=st.sampled_from([0, 1, 513, 4096]), stop=st.sampled_from([0, 1, 700]))
    def send_a_part(self, which: int, start: int, stop: int) -> None:
        self.send(which, start, NUMBERS - stop)

    @rule(which=WHICH, place=PLACE, at_once=st.booleans())
    def change(self, which: int, place: int, at_once: bool) -> None:
        self.number += 1
        self.arrays[which][place] = self.number
        if at_once:
            self.send(which)

    @rule(which=WHICH, place=PLACE)
    def change_and_change_back(self, which: int, place: int) -> None:
        array = self.arrays[which]
        array[place], array[place] = -1, array[place]
        self.send(which)

    @rule(which=WHICH)
    def fill(self, which: int) -> None:
        self.number += 1
        self.arrays[which].fill(self.number)
        self.send(which)

    @rule(which=WHICH, start=st.integers(0, NUMBERS - 100))
    def have_the_system_write(self, which: int, start: int) -> None:
        self.number += 1
        there, here = os.pipe()
        os.write(here, np.full(100, float(self.number)).tobytes())
        assert os.readv(there, [self.arrays[which][start : start + 100].view("u1")]) == 800
        os.close(there)
        os.close(here)
        self.send(which)

    @rule(which=WHICH)
    def replace(self, which: int) -> None:
        """Another array, most likely where the old one was."""
        self.number += 1
        self.arrays[which] = None
        self.arrays[which] = np.full(NUMBERS, self.number)
        self.send(which)

    @rule()
    def let_go(self) -> None:
        self.constants.rest(0)

    @precondition(lambda self: hasattr(os, "fork"))
    @rule(which=WHICH)
    def change_in_a_child(self, which: int) -> None:
        """Neither what a child writes nor what it asks changes anything here."""
        child = os.fork()
        if not child:
            self.arrays[which][:] = -1
            os._exit(0)
        os.waitpid(child, 0)
        self.send(which)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no arena here")
def test_what_is_sent_is_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(module, "WATCHED_FROM", 1 << 16)
    run_state_machine_as_test(Sending, settings=settings(examples(40), stateful_step_count=25))


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sending]:
    monkeypatch.setattr(module, "WATCHED_FROM", 1 << 16)
    sending = Sending()
    sending.make()
    if not sending.constants._writes._watches:
        sending.teardown()
        pytest.skip("this system does not note writes")
    yield sending
    sending.teardown()


def refuse(*_: object) -> bool:
    raise KeyboardInterrupt


def test_what_nobody_has_written_to_is_not_read_again(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "same", refuse)
    sending.send(0)


def test_what_changes_each_time_is_not_watched(sending: Sending) -> None:
    for number in range(1, 4):
        sending.arrays[0].fill(number)
        sending.send(0)
        assert not sending.constants._writes._watches
    sending.send(0)
    assert sending.constants._writes._watches


def test_an_interrupt_while_it_is_compared_does_not_make_it_known(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending.arrays[0][5000] = 1
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "same", refuse)
        sending.send(0)
    sending.send(0)
