"""What the kernel says of writes to memory: it never says "none" where there was one."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator

import pytest

from manyhands.transport.memory import address_of
from manyhands.transport.writes import Writes

PAGE = mmap.PAGESIZE
SIZE = 64 * PAGE


@pytest.fixture
def writes() -> Iterator[Writes]:
    found = Writes()
    memory = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    usable = found.watch(address_of(memory), SIZE)
    if not usable:
        pytest.skip("this system does not note writes")
    yield found
    found.close()


@pytest.fixture
def memory() -> mmap.mmap:
    found = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    found[:] = bytes(SIZE)
    return found


def test_what_was_only_read_is_quiet(writes: Writes, memory: mmap.mmap) -> None:
    watch = writes.watch(address_of(memory), SIZE)
    assert not any(memory[:])
    assert writes.quiet(watch)


@pytest.mark.parametrize("place", [0, PAGE - 1, 17 * PAGE + 5, SIZE - 1])
def test_one_byte_is_noticed_even_if_it_is_the_same(writes: Writes, memory: mmap.mmap, place: int) -> None:
    watch = writes.watch(address_of(memory), SIZE)
    memory[place] = 0
    assert not writes.quiet(watch)
    assert writes.quiet(writes.watch(address_of(memory), SIZE))


def test_a_watch_that_has_ended_is_not_quiet(writes: Writes, memory: mmap.mmap) -> None:
    watch = writes.watch(address_of(memory), SIZE)
    writes.forget(watch)
    assert not writes.quiet(watch)


@pytest.mark.parametrize(
    ("first", "size"), [(0, SIZE), (0, SIZE - 8), (10 * PAGE, 20 * PAGE), (SIZE - PAGE, PAGE)]
)
def test_watching_the_same_pages_again_does_not_hide_what_was_written(
    writes: Writes, memory: mmap.mmap, first: int, size: int
) -> None:
    before = writes.watch(address_of(memory), SIZE)
    memory[20 * PAGE] = 1
    after = writes.watch(address_of(memory) + first, size)
    assert not writes.quiet(before)
    assert writes.quiet(after)


def test_neighbours_do_not_disturb_each_other(writes: Writes, memory: mmap.mmap) -> None:
    address, middle = address_of(memory), 10 * PAGE + 100
    one, other = writes.watch(address, middle), writes.watch(address + middle, SIZE - middle)
    memory[0] = 1
    assert not writes.quiet(one)
    assert writes.quiet(other)


def test_pages_that_were_discarded_are_not_quiet(writes: Writes, memory: mmap.mmap) -> None:
    memory[:] = b"x" * SIZE
    watch = writes.watch(address_of(memory), SIZE)
    memory.madvise(mmap.MADV_DONTNEED, 8 * PAGE, PAGE)
    assert memory[8 * PAGE] == 0
    assert not writes.quiet(watch)


def test_memory_that_others_can_write_to_is_not_quiet(writes: Writes) -> None:
    memory = mmap.mmap(-1, SIZE)
    memory[:] = bytes(SIZE)
    assert not writes.quiet(writes.watch(address_of(memory), SIZE))


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_pages_of_a_file_that_were_discarded_are_not_quiet(writes: Writes, flags: int) -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        memory = mmap.mmap(file.fileno(), SIZE, flags)
        memory[:] = b"x" * SIZE
        watch = writes.watch(address_of(memory), SIZE)
        memory.madvise(mmap.MADV_DONTNEED)
        os.pwrite(file.fileno(), b"y" * SIZE, 0)
        assert not writes.quiet(watch)


def test_another_mapping_in_the_same_place_is_not_quiet(writes: Writes, memory: mmap.mmap) -> None:
    watch = writes.watch(address_of(memory), SIZE)
    memory.close()
    assert not writes.quiet(watch)
    again = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    again[:] = bytes(SIZE)
    assert not writes.quiet(watch)


def test_what_another_watches_later_is_not_quiet(writes: Writes, memory: mmap.mmap) -> None:
    address = address_of(memory)
    watch = writes.watch(address, SIZE)
    memory.close()
    again = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if address_of(again) != address:
        pytest.skip("the new mapping is in another place")
    again[:] = b"y" * SIZE
    another = Writes()
    later = another.watch(address, SIZE)
    assert another.quiet(later)
    assert not writes.quiet(watch)
    another.close()
    assert not writes.quiet(watch)


def test_a_forked_child_neither_watches_nor_disturbs(writes: Writes, memory: mmap.mmap) -> None:
    watch = writes.watch(address_of(memory), SIZE)
    child = os.fork()
    if not child:
        wrong = writes.quiet(watch) or writes.watch(address_of(memory), SIZE)
        memory[0] = 1
        writes.close()
        os._exit(bool(wrong))
    assert os.waitpid(child, 0)[1] == 0
    assert writes.quiet(watch)
    memory[0] = 1
    assert not writes.quiet(watch)


def test_less_than_a_page_is_not_watched(writes: Writes, memory: mmap.mmap) -> None:
    assert not writes.watch(address_of(memory) + 1, PAGE)


def test_after_it_was_closed_nothing_is_watched_and_no_descriptor_is_left(memory: mmap.mmap) -> None:
    before = os.listdir("/proc/self/fd")
    writes = Writes()
    watch = writes.watch(address_of(memory), SIZE)
    writes.close()
    assert not writes.quiet(watch)
    assert not writes.watch(address_of(memory), SIZE)
    assert os.listdir("/proc/self/fd") == before
