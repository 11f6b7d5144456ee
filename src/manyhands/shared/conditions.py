"""``Condition`` and ``Event``: waiting until another thread, of any process, says so.

A condition has a table in shared memory, with a line for each thread that waits::

    state      free, waiting or notified; the word that the thread sleeps by
    ticket     who came first is notified first
    process    its number, and when it was started

The table belongs to whoever holds the condition's lock. To notify is to choose lines, change their words, and wake who sleeps
by them, so that exactly as many wake up as are meant to. If nobody sleeps by a word, the process of that line may have
been killed: then the line is freed and the next one chosen. So a notification is not lost with a waiter that is dead; it
is with one that is killed after it was given it, as with a thread that has been notified and then fails.
"""

from __future__ import annotations

from manyhands.shared.handles import Handle
from manyhands.shared.locks import Lock, RLock
from manyhands.shared.waiting import Patience, Word, alive, myself

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

#: How many threads can wait for one condition.
LINES = 1024

_FREE, _WAITING, _NOTIFIED = range(3)
_NEXT, _USED = range(
    2
)  # words at the head of the table: the next ticket; how many lines were ever used at a time
_HEAD, _LINE = 8, 4  # in words of 8 bytes
_TICKET, _PID, _START = 1, 2, 3


class Condition(Handle):
    """A condition that threads of any process wait for: ``threading.Condition`` for processes.

    It can be sent anywhere, with its lock. One who waits and is killed keeps nobody else from being notified.

    Args:
        lock: a ``Lock`` or an ``RLock`` of ``manyhands.shared``; a new ``RLock`` if left out.

    Raises:
        TypeError: the lock is of another kind, and would be no lock between processes.

    Example:
        >>> from manyhands.shared import Condition
        >>> condition = Condition()
        >>> with condition:
        ...     condition.wait(timeout=0.01)
        False
    """

    __slots__ = ("_lock", "_numbers", "_states", "_word_of", "acquire", "release")

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        if lock is None:
            lock = RLock()
        elif not isinstance(lock, (Lock, RLock)):
            raise TypeError(
                f"a Condition needs a Lock or an RLock of manyhands.shared, not a {type(lock).__name__}, "
                "which other processes do not share"
            )
        self._begin(8 * (_HEAD + LINES * _LINE), lock)

    def _attach(self, lock: Lock | RLock, *, fresh: bool) -> None:
        self._lock = lock
        self.acquire, self.release = lock.acquire, lock.release
        self._numbers = self._words("Q", 0, _HEAD + LINES * _LINE)
        self._states = self._words("I", 0, 2 * (_HEAD + LINES * _LINE))[2 * _HEAD :: 2 * _LINE]
        self._word_of: dict[int, Word] = {}

    def _more(self) -> tuple[Lock | RLock]:
        return (self._lock,)

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def holder_died(self) -> bool:
        """Whether the holder of the lock before this thread ended without releasing it; see ``Lock.holder_died``."""
        return self._lock.holder_died

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, and acquire the lock again.

        Args:
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            Whether it was notified.

        Raises:
            RuntimeError: this thread does not hold the lock.
        """
        self._check("wait for")
        line = self._enter()
        word = self._word(line)
        depth = self._lock._release_save()
        try:
            patience = Patience(timeout)
            while word.get() == _WAITING and (left := patience.left()) > 0:
                word.sleep(_WAITING, left)
        except BaseException:
            self._return(line, depth)
            if word.get() == _NOTIFIED:
                self._leave(line)
                self.notify()  # who was chosen does not go on: another one may
            else:
                self._leave(line)
            raise
        self._return(line, depth)
        notified = word.get() == _NOTIFIED
        self._leave(line)
        return notified

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until something is true.

        Args:
            predicate: called, with the lock held, whenever it may have become true.
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            What the predicate has returned at last: something false if the time is over.
        """
        patience = Patience(timeout)
        while not (result := predicate()):
            left = patience.left()
            if left <= 0:
                break
            self.wait(left)  # not for longer: one who has made it true may have been killed before saying so
        return result

    def notify(self, n: int = 1) -> None:
        """Wake up some of those who wait, those first who came first.

        Args:
            n: how many; fewer if there are fewer.

        Raises:
            RuntimeError: this thread does not hold the lock.
        """
        self._check("notify")
        if not self._numbers[_USED]:
            return
        pid, _ = myself()
        for line in self._waiting():
            if n <= 0:
                break
            word = self._word(line)
            word.set(_NOTIFIED)
            if not word.wake() and self._number(line, _PID) != pid and not self._lives(line):
                word.set(_FREE)
            else:
                n -= 1

    def _choose(self) -> Word | None:
        """Notify the first who waits, but leave it to the caller to wake it, with ``_rouse``, when the lock is released.

        Woken before, it would find the lock held, and go to sleep again.
        """
        if not self._numbers[_USED]:
            return None
        lines = self._waiting()
        if not lines:
            return None
        word = self._word(lines[0])
        word.set(_NOTIFIED)
        return word

    def _rouse(self, word: Word) -> None:
        if word.wake():
            return
        with self._lock:  # it was just awake, or is dead: then it is another one's turn
            pid, _ = myself()
            for line in range(self._numbers[_USED]):
                if self._word_of.get(line) is word and word.get() == _NOTIFIED:
                    if self._number(line, _PID) != pid and not self._lives(line):
                        word.set(_FREE)
                        self.notify()
                    return

    def notify_all(self) -> None:
        """Wake up all who wait.

        Raises:
            RuntimeError: this thread does not hold the lock.
        """
        self.notify(LINES)

    def __repr__(self) -> str:
        return f"<shared Condition, {len(self._waiting())} wait>"

    def _check(self, what: str) -> None:
        if not self._lock._is_owned():
            raise RuntimeError(
                f"cannot {what} a Condition whose lock this thread does not hold. Put it inside of 'with condition:'"
            )

    # The table. The lock is held.

    def _waiting(self) -> list[int]:
        """Return the lines of those who wait, in the order in which they came."""
        states = self._states[: self._numbers[_USED]].tolist()
        lines = [line for line, state in enumerate(states) if state == _WAITING]
        lines.sort(key=lambda line: self._number(line, _TICKET))
        return lines

    def _enter(self) -> int:
        numbers, used = self._numbers, self._numbers[_USED]
        states = self._states[:used].tolist()
        if _FREE in states:
            line = states.index(_FREE)
        elif used < LINES:
            line = used
            numbers[_USED] = used + 1
        else:
            gone = [line for line in range(LINES) if not self._lives(line)]
            if not gone:
                raise RuntimeError(f"more than {LINES} threads wait for one condition")
            for line in gone:
                self._states[line] = _FREE
            line = gone[0]
        start = _HEAD + line * _LINE
        numbers[start + _TICKET] = ticket = numbers[_NEXT]
        numbers[start + _PID], numbers[start + _START] = myself()
        numbers[_NEXT] = ticket + 1
        self._states[line] = _WAITING
        return line

    def _return(self, line: int, depth: int) -> None:
        """Acquire the lock again, to leave the table."""
        try:
            self._lock._acquire_restore(depth)
        except BaseException:  # a second Ctrl-C: it has the last word
            self._states[line] = _FREE
            raise

    def _leave(self, line: int) -> None:
        self._states[line] = _FREE
        used = self._numbers[_USED]
        while used and self._states[used - 1] == _FREE:
            used -= 1
        self._numbers[_USED] = used

    def _number(self, line: int, which: int) -> int:
        return self._numbers[_HEAD + line * _LINE + which]

    def _lives(self, line: int) -> bool:
        return alive(self._number(line, _PID), self._number(line, _START))

    def _word(self, line: int) -> Word:
        word = self._word_of.get(line)
        if word is None:
            offset = self._offset + 8 * (_HEAD + line * _LINE)
            word = self._word_of[line] = Word(self._memory.map, offset)
        return word

    def _has_lost(self) -> bool:
        """Tell whether the next one in the table after one of this process was killed: if each looks, all are looked at."""
        pid, _ = myself()
        lines = self._waiting()
        own = next((at for at, line in enumerate(lines) if self._number(line, _PID) == pid), -1)
        for line in lines[own + 1 :] + lines[: own + 1]:
            if self._number(line, _PID) != pid:
                return not self._lives(line)
        return False


class Event(Handle):
    """Something that happens once, and that threads of any process wait for: ``threading.Event`` for processes.

    Example:
        >>> from manyhands.shared import Event
        >>> ready = Event()
        >>> ready.wait(timeout=0.01)
        False
        >>> ready.set()
        >>> ready.wait()
        True
    """

    __slots__ = ("_condition", "_flag")

    def __init__(self) -> None:
        self._begin(8, Condition(Lock()))

    def _attach(self, condition: Condition, *, fresh: bool) -> None:
        self._condition = condition
        self._flag: Any = self._words("Q", 0, 1)

    def _more(self) -> tuple[Condition]:
        return (self._condition,)

    def is_set(self) -> bool:
        """Tell whether it has happened."""
        return bool(self._flag[0])

    def set(self) -> None:
        """Say that it has happened, and let all go on who wait."""
        with self._condition:
            self._flag[0] = 1
            self._condition.notify_all()

    def clear(self) -> None:
        """Say that it has not happened (any more)."""
        with self._condition:
            self._flag[0] = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it happens.

        Args:
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            Whether it has happened.
        """
        if self._flag[0]:
            return True
        patience = Patience(timeout)
        with self._condition:
            while not self._flag[0]:
                left = patience.left()
                if left <= 0:
                    return False
                if self._condition.wait(left):  # also if it was cleared again at once
                    return True
        return True

    def __repr__(self) -> str:
        return f"<shared Event, {'set' if self.is_set() else 'not set'}>"
