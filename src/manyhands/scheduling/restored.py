"""The input of a call that has a checkpoint: what the file has results of never comes out of it, the results do.

A ``Source`` like any other to the call, with gaps: indexes are those of the whole input. Beside ``checkpoint``, which has the
file; made by ``functions``.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import perf_counter

from manyhands.scheduling.source import Source, _arguments
from manyhands.transport.frozen import Frozen, given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from manyhands.scheduling.checkpoint import Checkpoint

    Put = Callable[[int, list[Any]], object]


class Restored(Source):
    """The items of a call that has a checkpoint: those whose results are in the file never come out of it.

    Their results go straight to where results go. Items are pulled, and looked up, in the thread that made the call.

    Args:
        iterables: as for ``Source``.
        star: as for ``Source``.
        checkpoint: the file.
    """

    restores = eager = True
    looked_at = True

    def __init__(
        self, iterables: Sequence[Iterable[Any]], *, star: bool = False, checkpoint: Checkpoint
    ) -> None:
        super().__init__(iterables, star=star)
        self._plain = self.sequence
        if self.sequence is not None:
            self._iterator = iter(self.sequence)
            self.sequence = None  # there are gaps in it
        self._checkpoint = checkpoint
        self._read_to = 0  # the index of the next item of the input
        self._places: deque[int] = deque()  # the indexes of the items that wait
        self._put: Put | None = None

    def begin(self, put: Put) -> None:
        self._put = put
        self._checkpoint.open()

    def restore(self, room: int) -> bool:
        checkpoint = self._checkpoint
        waiting = self._pulled or self._returned  # tasks to be run: the rest has time
        # One item beyond the last, to see whether the input ends there: then nobody is asked to work.
        over = self.exhausted or checkpoint.last < 0 or self._read_to > checkpoint.last + 1
        if waiting or over or room < 1:
            return False
        self._pull(min(room, checkpoint.piece))
        return True

    def remaining(self) -> int | None:
        if self.exhausted or self.total is None:
            return self.at_hand() if self.exhausted else None
        unread = max(0, self.total - self._read_to - self._checkpoint.ahead)
        return max(1, unread + self.at_hand())

    def take(self, count: int, *, pull: bool = True) -> tuple[int, Sequence[Any]]:
        if self._loose:
            self._freeze_waiting()
        if pull and not self._returned and self.position + count > self._read_to:
            self._pull(self.position + count - self._read_to)
        return self._hand_out(count, whole=pull)

    def _hand_out(self, count: int, *, whole: bool) -> tuple[int, Sequence[Any]]:
        if self._returned:
            return super()._hand_out(count, whole=whole)
        index = self.position
        found: list[Any] = []
        pulled, places = self._pulled, self._places
        while pulled and len(found) < count and places[0] == index + len(found):
            places.popleft()
            found.append(pulled.popleft())
        self._advance()
        return index, found

    def take_rest(self) -> list[tuple[int, Any]]:
        if self._plain is not None:
            self._pull(len(self._plain) - self._read_to)
        return super().take_rest()

    def look_ahead(self, count: int, patience: float) -> None:
        limit, burst = self.position + count, 1
        start = perf_counter() if self._plain is None else inf  # a list does not keep anybody waiting
        while self._read_to < limit and not self.exhausted and perf_counter() - start < patience:
            if not self._pull(min(burst, limit - self._read_to)):
                return
            burst *= 2

    def release(self) -> None:
        super().release()
        self._places.clear()
        self._plain = None
        self._checkpoint.close()
        self._checkpoint.say()

    def _advance(self) -> None:
        self.position = self._places[0] if self._places else self._read_to

    def _pull(self, count: int) -> bool:
        """Ask the iterator for so many items, and look each up before it may change, when the iterator is asked for more."""
        more = True
        while count > 0 and more:
            items, more = self._read(count)
            if self._plain is not None and self._read_to + count >= len(self._plain):
                self.exhausted, more = True, False
            count -= len(items)
            if self.star and not self._wary:
                items = [_arguments(item) for item in items]
            self._look_up(items)
            if items and type(items[-1]) is Frozen and self.freeze is not None and not self.exhausted:
                more = True  # the next may follow: this one is as it was
        return more

    def _look_up(self, items: list[Any]) -> None:
        """Have the results that the file has take their way, and the other items wait."""
        first = self._read_to
        self._read_to += len(items)
        held = self._checkpoint.held(first, given(items)) if items else {}
        run: list[Any] = []
        for index, item in enumerate(items, first):
            if index in held:
                run.append(held[index])
                continue
            self._hand_on(index, run)
            run = []
            self._pulled.append(item)
            self._places.append(index)
        self._hand_on(self._read_to, run)
        self._advance()

    def _hand_on(self, end: int, run: list[Any]) -> None:
        """Results from the file, up to an index, are results like any other."""
        if run:
            assert self._put is not None
            self._put(end - len(run), run)
