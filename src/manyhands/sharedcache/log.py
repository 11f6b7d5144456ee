"""The log of a shared cache: entries that are appended to a block of shared memory, and the keys that are under way.

An entry is a key and a value, pickled. Who appends or reads on holds the log's lock. With a ``maxsize``, each entry has one of
that many **seats**: its number, when it was last used, and its size; one that is evicted has lost it. What is lost is left out
when the log is written anew; that, and clearing, is noticed by its generation.

Who computes a key holds one of ``FLIGHTS`` locks, and the key's digest stands beside it; the lock passes on when its holder ends,
however it ends.

Knows nothing of functions, nor of what keys and values are; used by ``cached``. Source: the words and the locks that survive
their holders are those of ``manyhands.shared``.
"""

from __future__ import annotations

from itertools import compress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.shared import Lock
    from manyhands.shared.memory import Memory

#: So many keys may be under way at a time; more are computed by whoever wants them.
FLIGHTS = 64
#: Who waits for a key looks again after so many seconds: its lock may be another key's by now.
AGAIN = 0.05
#: So many processes have figures of their own.
SLOTS = 512
# The head of the log, in words of 8 bytes.
GENERATION, END, TICK, LIVE, TAKEN, NUMBER, CLEARED, NEXT, TABLE = 0, 1, 2, 3, 4, 5, 6, 7, 8
WAITS = TABLE + 2 * FLIGHTS  # two words for the digest of each key that is under way
COUNTS = WAITS + FLIGHTS  # a word for what its computation waits for: one more than the number of that, or 0
SEATS = COUNTS + 2 * SLOTS  # two words for each process: hits, misses
HEAD = 32  # before each entry in the log: its number, its seat, and the sizes of its key and its value
#: The log begins with so many bytes, and doubles when it is full.
SIZE = 1 << 18
#: What is lost to evicted entries is made room of when it is more than so many bytes, and than half of the log.
WASTE = 1 << 16


class Flight:
    """One key that is under way.

    Args:
        number: its place on the board.
        lock: held by who computes it.
    """

    __slots__ = ("lock", "number")

    def __init__(self, number: int, lock: Lock) -> None:
        self.number = number
        self.lock = lock

    def wait(self) -> None:
        """Wait until nobody holds it, or a moment: who has held it may have taken it for another key by now.

        That one may wait for what the waiting thread computes.
        """
        if self.lock.acquire(timeout=AGAIN):
            self.lock.release()


class Log:
    """The entries, in shared memory; pickled, it is an address.

    Args:
        memory: the memory.
        lock: held by who changes anything but figures and seats.
        flights: a lock for each key that is under way.
        seats: how many entries there may be; None: any number.
    """

    def __init__(self, memory: Memory, lock: Lock, flights: list[Lock], seats: int | None) -> None:
        self.memory = memory
        self.lock = lock
        self.flights = flights
        self.seats = seats
        self.start = 8 * (SEATS + 3 * (seats or 0))
        self.words = memoryview(memory.map).cast("Q")

    @classmethod
    def new(cls, seats: int | None) -> Log:
        from manyhands.shared import Lock
        from manyhands.shared.memory import Memory

        size = SIZE + 24 * (seats or 0)
        log = cls(Memory(-(-size // 4096) * 4096), Lock(), [Lock() for _ in range(FLIGHTS)], seats)
        log.words[END] = log.start
        return log

    def __reduce__(self) -> Any:
        return Log, (self.memory, self.lock, self.flights, self.seats)

    def map(self) -> Any:
        """Return the memory, with all of the log in sight."""
        self._see(self.words[END])
        return self.memory.map

    def _see(self, size: int) -> None:
        if size > self.memory.size:
            room = self.memory.size
            while room < size:
                room *= 2
            self.memory.grow(room)
            self.words = memoryview(self.memory.map).cast("Q")

    def live(self) -> int:
        """How many entries there are; taken from the seats, where there are any, as a sum could be left half-way by a kill."""
        return self.words[LIVE] if self.seats is None else self.seats - self._column(0).count(0)

    def seated(self, number: int, seat: int) -> bool:
        """Tell whether an entry of this generation is still there."""
        return self.seats is None or self.words[seat] == number

    def use(self, number: int, seat: int) -> bool:
        """Note that an entry is used now; False: it is there no more."""
        if self.seats is None:
            return True
        words = self.words
        if words[seat] != number:
            return False
        words[TICK] = words[seat + 1] = words[TICK] + 1
        return True

    def slot(self) -> int:
        """Return a place for the figures of a process; the last one is shared by all that come too late."""
        with self.lock:
            slot = self.words[TAKEN]
            self.words[TAKEN] = min(slot + 1, SLOTS - 1)
            return slot

    # the rest is for who holds the lock

    def entry(self, offset: int) -> tuple[tuple[int, int], bytes, tuple[int, int], int]:
        """Return an entry's number and seat, its key's bytes, where those of its value are, and where the next entry is."""
        view = self.map()
        first = offset >> 3
        number, seat, size, more = self.words[first : first + 4]
        start = offset + HEAD
        end = start + size + more
        return (number, seat), bytes(view[start : start + size]), (start + size, end), -(-end // 8) * 8

    def append(self, key: bytes, value: bytes) -> tuple[int, int]:
        """Add an entry, and return its number and seat."""
        words = self.words
        seat = 0 if self.seats is None else self._seat()
        number = words[NUMBER] = words[NUMBER] + 1
        self._write(number, seat, key, value)
        words = self.words
        if self.seats is not None:
            words[TICK] = words[TICK] + 1
            words[seat], words[seat + 1], words[seat + 2] = number, words[TICK], len(key) + len(value) + HEAD
        else:
            words[LIVE] += 1
        return number, seat

    def _write(self, number: int, seat: int, key: bytes, value: bytes) -> None:
        offset = self.words[END]
        start = offset + HEAD
        middle, end = start + len(key), start + len(key) + len(value)
        after = -(-end // 8) * 8
        self._see(after)
        words, view, first = self.words, self.memory.map, offset >> 3
        view[start:middle], view[middle:end] = key, value
        words[first], words[first + 1], words[first + 2], words[first + 3] = (
            number,
            seat,
            len(key),
            len(value),
        )
        words[END] = after  # last: who dies before has written nothing

    def _seat(self) -> int:
        """Return a free seat, that of the entry that was not used for the longest time if there is no other."""
        numbers, uses, sizes = (self._column(place) for place in range(3))
        if self.words[END] - self.start > 2 * sum(compress(sizes, numbers)) + WASTE:
            self._write_anew()
        if 0 in numbers:
            return SEATS + 3 * numbers.index(0)
        seat = SEATS + 3 * uses.index(min(uses))
        self.words[seat] = 0
        return seat

    def _column(self, place: int) -> list[int]:
        """What all seats have in that place: the number of the entry, 0 where there is none; when it was used; its size."""
        assert self.seats is not None
        return self.words[SEATS + place : SEATS + 3 * self.seats : 3].tolist()

    def _write_anew(self) -> None:
        """Leave out the entries that were evicted."""
        kept, offset = [], self.start
        while offset < self.words[END]:
            place, key, (start, end), offset = self.entry(offset)
            if self.seated(*place):
                kept.append((place, key, bytes(self.memory.map[start:end])))
        self.words[GENERATION] += 1
        self.words[END] = self.start
        for (number, seat), key, value in kept:
            self._write(number, seat, key, value)

    def clear(self) -> None:
        words = self.words
        words[GENERATION] += 1  # first: nobody takes what comes now for what was there
        words[CLEARED] += 1
        words[END] = self.start
        words[LIVE] = 0
        for seat in range(SEATS, SEATS + 3 * (self.seats or 0), 3):
            words[seat] = 0

    # what is under way

    def board(self, digest: bytes) -> tuple[Flight | None, bool]:
        """Return the flight of a key, and whether this thread has it; None: all are taken."""
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        words = self.words
        for number in range(FLIGHTS):
            place = TABLE + 2 * number
            if words[place] == first and words[place + 1] == second:
                # If nobody holds it, who has computed it has died.
                return Flight(number, self.flights[number]), _idle(self.flights[number])
        # Those beside which a key stands, and that nobody holds, were left by the dead. Each has its turn: who waits for a
        # key finds its lock free, and not with the next key of who has computed it.
        turns = [(words[NEXT] + turn) % FLIGHTS for turn in range(FLIGHTS)]
        for number in sorted(turns, key=lambda number: words[TABLE + 2 * number] != 0):
            if _idle(self.flights[number]):
                words[TABLE + 2 * number], words[TABLE + 2 * number + 1] = first, second
                words[WAITS + number] = 0
                self._is_over(number)
                words[NEXT] = (number + 1) % FLIGHTS
                return Flight(number, self.flights[number]), True
        return None, False

    def waits_for(self, flight: Flight) -> list[int]:
        """Note what this thread will wait for, and return the flights of its own that wait for that.

        Raises:
            RuntimeError: what it would wait for is its own, or waits for what is.
        """
        mine = [number for number, lock in enumerate(self.flights) if lock._is_owned()]
        words, number = self.words, flight.number
        for _ in range(FLIGHTS):
            if number in mine:
                raise RuntimeError
            if not words[WAITS + number]:
                break
            number = words[WAITS + number] - 1
        for number in mine:
            words[WAITS + number] = flight.number + 1
        return mine

    def _is_over(self, number: int) -> None:
        """Whoever waits for this flight waits for that key, not for the next one that has the flight."""
        waits = self.words[WAITS : WAITS + FLIGHTS].tolist()
        while number + 1 in waits:
            place = waits.index(number + 1)
            waits[place] = self.words[WAITS + place] = 0

    def go_on(self, mine: list[int]) -> None:
        """It waits no more."""
        for number in mine:
            self.words[WAITS + number] = 0

    def land(self, flight: Flight) -> None:
        self.words[TABLE + 2 * flight.number] = self.words[TABLE + 2 * flight.number + 1] = 0
        self._is_over(flight.number)
        flight.lock.release()


def _idle(lock: Lock) -> bool:
    """Take a lock if nobody has it; this thread may have it, as functions call each other."""
    try:
        return lock.acquire(blocking=False)
    except RuntimeError:
        return False
