"""``Barrier``: all wait until so many have come, then all go on.

In shared memory there are the number of the round, how many have come in it, whether the barrier is broken, and which of the
last 64 rounds did not end well. Who waits, waits for the number of the round to change.

One who is killed while it waits breaks the barrier: the others would wait for ever for as many as there cannot be any more.
They look after each other for that, each after the next, every ``LOOK`` seconds. One who is killed before it comes is
nobody's to know of: that is what the timeout is for.
"""

from __future__ import annotations

from threading import BrokenBarrierError

from manyhands.shared.conditions import Condition
from manyhands.shared.handles import Handle
from manyhands.shared.locks import Lock
from manyhands.shared.waiting import Patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds between two looks of one who waits.
LOOK = 0.2

_ROUND, _CAME, _BROKEN, _SPOILT = range(4)


class Barrier(Handle):
    """A place where threads of any process wait for each other: ``threading.Barrier`` for processes.

    One who is killed while waiting breaks it for the others, who get a ``threading.BrokenBarrierError``; so does one whose
    time is over, or whose waiting is interrupted.

    Args:
        parties: how many have to come.
        action: called by the last who comes, before all go on. It travels with the barrier, and so has to be picklable.
        timeout: seconds that ``wait`` waits at most, unless it is told otherwise.

    Example:
        >>> from manyhands.shared import Barrier
        >>> alone = Barrier(1)
        >>> alone.wait()
        0
    """

    __slots__ = ("_action", "_condition", "_numbers", "_timeout", "parties")

    def __init__(
        self, parties: int, action: Callable[[], Any] | None = None, timeout: float | None = None
    ) -> None:
        if not isinstance(parties, int):
            raise TypeError(f"a barrier is for a whole number of parties, not {parties!r}")
        if parties < 1:
            raise ValueError(f"a barrier is for at least 1 party, not {parties}")
        self._begin(8 * 4, parties, action, timeout, Condition(Lock()))

    def _attach(
        self,
        parties: int,
        action: Callable[[], Any] | None,
        timeout: float | None,
        condition: Condition,
        *,
        fresh: bool,
    ) -> None:
        self.parties, self._action, self._timeout, self._condition = parties, action, timeout, condition
        self._numbers = self._words("Q", 0, 4)

    def _more(self) -> tuple[Any, ...]:
        return self.parties, self._action, self._timeout, self._condition

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have come.

        Args:
            timeout: seconds to wait at most; None: what the barrier was made with. When they are over, it is broken.

        Returns:
            A number from 0 to ``parties`` - 1, another one for each.

        Raises:
            threading.BrokenBarrierError: it is broken, or was broken or reset while waiting.
        """
        numbers, condition = self._numbers, self._condition
        patience = Patience(self._timeout if timeout is None else timeout, LOOK)
        with condition:
            self._mend()
            if numbers[_BROKEN]:
                raise BrokenBarrierError
            round_, index = numbers[_ROUND], numbers[_CAME]
            numbers[_CAME] = index + 1
            try:
                if index + 1 == self.parties:
                    if self._action is not None:
                        self._action()
                    self._end_round(well=True)
                while numbers[_ROUND] == round_:
                    left = patience.left()
                    if left <= 0 or (not condition.wait(left) and condition._has_lost()):
                        self._break()
                    self._mend()
            except BaseException:
                if numbers[_ROUND] == round_ and condition._lock._is_owned():
                    self._break()
                raise
            if numbers[_SPOILT] >> round_ % 64 & 1:
                raise BrokenBarrierError
        return index

    def reset(self) -> None:
        """Begin anew; those who wait get a ``threading.BrokenBarrierError``."""
        with self._condition:
            if self._numbers[_CAME]:
                self._end_round(well=False)
            self._numbers[_BROKEN] = 0

    def abort(self) -> None:
        """Break it: who waits, and who comes, gets a ``threading.BrokenBarrierError``, until it is reset."""
        with self._condition:
            self._break()

    @property
    def n_waiting(self) -> int:
        """How many wait at this moment."""
        return self._numbers[_CAME]

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._numbers[_BROKEN] != 0

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"{self.n_waiting} of {self.parties} wait"
        return f"<shared Barrier, {state}>"

    # What follows is done with the lock held.

    def _break(self) -> None:
        self._numbers[_BROKEN] = 1
        self._end_round(well=False)

    def _end_round(self, *, well: bool) -> None:
        numbers = self._numbers
        bit = 1 << numbers[_ROUND] % 64
        numbers[_SPOILT] = numbers[_SPOILT] & ~bit if well else numbers[_SPOILT] | bit
        numbers[_CAME] = 0
        numbers[_ROUND] += 1
        self._condition.notify_all()

    def _mend(self) -> None:
        """Break it if somebody died on the way in or out."""
        if self._condition.holder_died and self._numbers[_CAME]:
            self._break()
