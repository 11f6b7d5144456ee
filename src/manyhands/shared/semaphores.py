"""``Semaphore`` and ``BoundedSemaphore``: so many at a time, and no slot lost with a process that dies.

In shared memory there is the number of free slots, and for each process that holds some, how many. One who finds no slot
free looks whether the holders live, and looks again every ``LOOK`` seconds while it waits: there is nobody else who could
tell it. Slots of the dead are free again, but never more than there were at the beginning: where releasing means "one more
has come", and not "I am done", what the dead have taken is gone.

The number of free slots is also the sum less what is held, so that whoever dies half-way through a change leaves
what it takes to finish it.
"""

from __future__ import annotations

from _thread import _local

from manyhands.shared.conditions import Condition
from manyhands.shared.handles import Handle
from manyhands.shared.locks import Lock
from manyhands.shared.waiting import Patience, alive, myself

#: Seconds between two looks of one who waits.
LOOK = 0.2

#: How many processes can hold slots of one semaphore and be looked after; those beyond keep theirs when they die.
HOLDERS = 256

_FREE, _SUM, _FREED, _USED = range(
    4
)  # free slots; all; those freed by a death that nobody knows of yet; lines used
_HEAD, _LINE = 8, 3
_PID, _START, _COUNT = range(3)


class _Told(_local):
    """What a thread knows of a semaphore: whether it has just taken a slot, and whether that was a dead holder's."""

    taken = died = False


class Semaphore(Handle):
    """So many threads at a time, of any process: ``threading.Semaphore`` for processes.

    A slot belongs to the process that has acquired it, until anybody releases one. If the process dies, it is free again.

    Args:
        value: how many slots there are.

    Raises:
        ValueError: there would be fewer than none.

    Example:
        >>> from manyhands.shared import Semaphore
        >>> two = Semaphore(2)
        >>> with two:
        ...     two.acquire(), two.acquire(blocking=False)
        (True, False)
        >>> two.release()
    """

    __slots__ = ("_condition", "_lock", "_numbers", "_start", "_told")

    def __init__(self, value: int = 1) -> None:
        if not isinstance(value, int):
            raise TypeError(f"a semaphore has a whole number of slots, not {value!r}")
        if value < 0:
            raise ValueError(f"a semaphore cannot have {value} slots; give it 0 or more")
        self._begin(8 * (_HEAD + HOLDERS * _LINE), value, Condition(Lock()))

    def _attach(self, value: int, condition: Condition, *, fresh: bool) -> None:
        self._start, self._condition, self._lock = value, condition, condition._lock
        self._numbers = self._words("q", 0, _HEAD + HOLDERS * _LINE)
        self._told = _Told()
        if fresh:
            self._numbers[_FREE] = self._numbers[_SUM] = value

    def _more(self) -> tuple[int, Condition]:
        return self._start, self._condition

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Wait until a slot is free, and take it.

        Args:
            blocking: wait; otherwise, return at once.
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            Whether one was taken.
        """
        if not blocking and timeout is not None:
            raise ValueError("a timeout is for waiting: leave it out, or leave out blocking=False")
        patience = None
        self._told.taken = False
        try:
            with self._lock:
                while not self._take():
                    if not blocking:
                        return False
                    patience = patience or Patience(timeout, LOOK)
                    left = patience.left()
                    if left <= 0:
                        return False
                    self._condition.wait(left)
            return True
        except BaseException:
            if self._told.taken:  # Ctrl-C came when it had just been taken
                self.release()
            raise

    def release(self, n: int = 1) -> None:
        """Give slots back, one's own or another's.

        Args:
            n: how many.

        Raises:
            ValueError: less than one; or, of a ``BoundedSemaphore``, more than are taken.
        """
        if n < 1:
            raise ValueError(f"at least 1 slot has to be released, not {n}")
        with self._lock:
            self._mend()
            self._check_release(n)
            self._told.died = False
            self._give(n)
            self._condition.notify(n)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def holder_died(self) -> bool:
        """Whether the slot that this thread took last is one whose holder died; until it releases one.

        Example:
            >>> from manyhands.shared import Semaphore
            >>> with (two := Semaphore(2)):
            ...     two.holder_died
            False
        """
        return self._told.died

    def __repr__(self) -> str:
        return f"<shared {type(self).__name__}, {self._numbers[_FREE]} free>"

    def _check_release(self, n: int) -> None:
        """Refuse to release too many, if there is such a thing."""

    # What follows is done with the lock held.

    def _take(self) -> bool:
        self._mend()
        numbers = self._numbers
        if numbers[_FREE] <= 0:
            self._free_those_of_the_dead()
            if numbers[_FREE] <= 0:
                return False
        line = self._line()
        if line is None:
            numbers[_SUM] -= 1  # of those that are looked after
        else:
            numbers[line + _COUNT] += 1
        numbers[_FREE] -= 1
        if numbers[_FREED]:
            numbers[_FREED] -= 1
            self._told.died = True
        self._told.taken = True
        return True

    def _give(self, n: int) -> None:
        numbers, rest = self._numbers, n
        own = self._line(new=False)
        for line in [own, *self._lines()] if own is not None else self._lines():
            part = min(rest, numbers[line + _COUNT])
            numbers[line + _COUNT] -= part
            rest -= part
            if not rest:
                break
        numbers[_SUM] += rest
        numbers[_FREE] += n

    def _lines(self) -> range:
        return range(_HEAD, _HEAD + self._numbers[_USED] * _LINE, _LINE)

    def _line(self, *, new: bool = True) -> int | None:
        """Return where the slots of this process are counted."""
        numbers = self._numbers
        pid, start = myself()
        empty = None
        for line in self._lines():
            if numbers[line + _PID] == pid and numbers[line + _START] == start:
                return line
            if empty is None and not numbers[line + _COUNT]:
                empty = line
        if not new or (empty is None and numbers[_USED] == HOLDERS):
            return None
        if empty is None:
            empty = _HEAD + numbers[_USED] * _LINE
            numbers[_USED] += 1
        numbers[empty + _PID], numbers[empty + _START] = pid, start
        return empty

    def _free_those_of_the_dead(self) -> None:
        numbers = self._numbers
        for line in self._lines():
            count = numbers[line + _COUNT]
            if count and not alive(numbers[line + _PID], numbers[line + _START]):
                freed = max(0, min(count, self._start - numbers[_FREE]))
                numbers[_SUM] -= count - freed
                numbers[line + _COUNT] = 0
                numbers[_FREE] += freed
                numbers[_FREED] += freed

    def _mend(self) -> None:
        """Finish what one has left half done who died in it."""
        if self._lock._held.died:
            numbers = self._numbers
            numbers[_FREE] = numbers[_SUM] - sum(numbers[line + _COUNT] for line in self._lines())


class BoundedSemaphore(Semaphore):
    """A semaphore that refuses to be released more often than it was acquired: ``threading.BoundedSemaphore`` for processes.

    Args:
        value: how many slots there are.

    Example:
        >>> from manyhands.shared import BoundedSemaphore
        >>> BoundedSemaphore(1).release()
        Traceback (most recent call last):
        ValueError: released too often: of 1 slots, 1 are free already
    """

    __slots__ = ()

    def _check_release(self, n: int) -> None:
        if self._numbers[_FREE] + n > self._start:
            raise ValueError(
                f"released too often: of {self._start} slots, {self._numbers[_FREE]} are free already"
            )
