"""What the caches of helpers have done in the workers of a pool, as these have told it: ``Counts``; see ``helpers``.

Each worker tells what it has done so far, again and again; when it ends, what it has told last is added to what those have
done that ended before it. So nothing is lost but what a killed worker did since it had told something.
"""

from __future__ import annotations

from itertools import count
from marshal import dumps, loads
from weakref import WeakValueDictionary

from manyhands.engine.interrupts import ring, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Iterable

    Name = tuple[str, str]
    #: Hits, misses, and of each key that was computed so many bytes.
    Counted = tuple[int, int, bytes]

#: So many bytes for each key.
DIGEST = 16
#: So many keys of one helper are told apart.
MOST = 100_000


class Total:
    """What the caches of one helper have done, in some processes."""

    def __init__(self) -> None:
        self.hits = self.misses = self.processes = 0
        self._told = 0  # keys, each as often as it was told
        self._keys: set[bytes] = set()

    @property
    def repeated(self) -> int:
        """How many computations there were of what another cache has as well."""
        return self._told - len(self._keys)

    def add(self, counted: Counted) -> None:
        """Add what one process has told."""
        hits, misses, keys = counted
        self.hits += hits
        self.misses += misses
        self.processes += bool(hits or misses)
        for place in range(0, len(keys), DIGEST):
            key = keys[place : place + DIGEST]
            if key in self._keys or len(self._keys) < MOST:
                self._keys.add(key)
                self._told += 1

    def copy(self) -> Total:
        """Return one that begins with the same."""
        other = Total()
        other.hits, other.misses, other.processes = self.hits, self.misses, self.processes
        other._told, other._keys = self._told, self._keys.copy()
        return other


class Question:
    """What has been done so far? Answered when all who were asked have told it, or ended."""

    def __init__(self) -> None:
        self._asked: set[int] | None = None
        self._bells: list[LockType] = []

    def ask(self, workers: Iterable[int]) -> None:
        """Note who is asked.

        Args:
            workers: their serial numbers.
        """
        self._asked = set(workers)
        self.hear(0)

    def hear(self, worker: int) -> None:
        """A worker has answered, or ended.

        Args:
            worker: its serial number.
        """
        if self._asked is not None:
            self._asked.discard(worker)
            if not self._asked:
                ring(self._bells)

    def wait(self, seconds: float) -> None:
        """Wait for the answers.

        Args:
            seconds: so long at most.
        """
        sleep(self._bells, lambda: self._asked is not None and not self._asked, seconds)


class Counts:
    """What the workers of one pool have told; for who holds the loop's guard."""

    def __init__(self) -> None:
        self._now: dict[int, bytes] = {}  # by worker
        self._past: dict[Name, Total] = {}
        #: Those that somebody waits for, by number.
        self._questions: WeakValueDictionary[int, Question] = WeakValueDictionary()
        self._numbers = count(1)

    def ask(self, question: Question, workers: Iterable[int]) -> int:
        """Note a question, and return its number.

        Args:
            question: the question.
            workers: the serial numbers of those who are asked.
        """
        number = next(self._numbers) & 0xFFFFFFFF
        self._questions[number] = question
        question.ask(workers)
        return number

    def take(self, worker: int, number: int, packed: bytes) -> None:
        """A worker has told what it has done.

        Args:
            worker: its serial number.
            number: of the question that it answers; 0: it was not asked.
            packed: as ``pack`` has returned it.
        """
        self._now[worker] = packed
        question = self._questions.get(number)
        if question is not None:
            question.hear(worker)

    def end(self, worker: int) -> None:
        """A worker has ended.

        Args:
            worker: its serial number.
        """
        _add(self._past, self._now.pop(worker, b""))
        for question in self._questions.values():
            question.hear(worker)

    def totals(self) -> dict[Name, Total]:
        """Return what all workers have done, as far as they have told."""
        totals = {name: total.copy() for name, total in self._past.items()}
        for packed in self._now.values():
            _add(totals, packed)
        return totals


def pack(counted: list[tuple[Name, Counted]]) -> bytes:
    """Return what one worker has counted as bytes.

    Args:
        counted: of each helper its name and what was counted.
    """
    return dumps(counted)


def _add(totals: dict[Name, Total], packed: bytes) -> None:
    for name, counted in loads(packed) if packed else ():
        totals.setdefault(name, Total()).add(counted)
