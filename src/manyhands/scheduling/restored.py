"""The input of a call that has a checkpoint: what the file has results of never comes out of it, the results do.

A ``Source`` like any other to the call, with gaps: indexes are those of the whole input. Beside ``checkpoint``, which has the
file; made by ``functions``.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from time import perf_counter

from manyhands.scheduling.source import Source, _arguments

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

    restores = True

    def __init__(
        self, iterables: Sequence[Iterable[Any]], *, star: bool = False, checkpoint: Checkpoint
    ) -> None:
        super().__init__(iterables, star=star)
        self._plain = self.sequence
        if self.sequence is not None:
            self._iterator = iter(self.sequence)
            self.sequence = None  # there are gaps in it
        self._checkpoint = checkpoint
        self._read = 0  # the index of the next item of the input
        self._put: Put | None = None

    def begin(self, put: Put) -> None:
        self._put = put
        self._checkpoint.open()

    def restore(self, room: int) -> bool:
        checkpoint = self._checkpoint
        waiting = self._pulled or self._returned  # tasks to be run: the rest has time
        # One item beyond the last, to see whether the input ends there: then nobody is asked to work.
        over = self.exhausted or checkpoint.last < 0 or self._read > checkpoint.last + 1
        if waiting or over or room < 1:
            return False
        self._pull(min(room, checkpoint.piece))
        return True

    def remaining(self) -> int | None:
        if self.exhausted or self.total is None:
            return self.at_hand() if self.exhausted else None
        unread = max(0, self.total - self._read - self._checkpoint.ahead)
        return max(1, unread + self.at_hand())

    def take(self, count: int, *, pull: bool = True) -> tuple[int, Sequence[Any]]:
        if self._returned:
            return super().take(count, pull=pull)
        if pull and self.position + count > self._read:
            self._pull(self.position + count - self._read)
        index = self.position
        found: list[Any] = []
        pulled = self._pulled
        while pulled and len(found) < count and pulled[0][0] == index + len(found):
            found.append(pulled.popleft()[1])
        self._advance()
        return index, found

    def take_rest(self) -> list[tuple[int, Any]]:
        if self._plain is not None:
            self._pull(len(self._plain) - self._read)
        return super().take_rest()

    def look_ahead(self, count: int, patience: float) -> None:
        limit, burst = self.position + count, 1
        start = perf_counter() if self._plain is None else inf  # a list does not keep anybody waiting
        while self._read < limit and not self.exhausted and perf_counter() - start < patience:
            self._pull(min(burst, limit - self._read))
            burst *= 2

    def release(self) -> None:
        super().release()
        self._plain = None
        self._checkpoint.close()
        self._checkpoint.say()

    def _advance(self) -> None:
        self.position = self._pulled[0][0] if self._pulled else self._read

    def _pull(self, count: int) -> None:
        if self.exhausted or count < 1:
            return
        items: list[Any] = []
        try:
            items.extend(islice(self._iterator, count))
        except Exception as error:
            self.exhausted, self.error = True, error
        if len(items) < count or (self._plain is not None and self._read + count >= len(self._plain)):
            self.exhausted = True
        if self.star:
            items = [_arguments(item) for item in items]
        first = self._read
        self._read += len(items)
        held = self._checkpoint.held(first, items) if items else {}
        run: list[Any] = []
        for index, item in enumerate(items, first):
            if index in held:
                run.append(held[index])
                continue
            self._hand_on(index, run)
            run = []
            self._pulled.append((index, item))
        self._hand_on(self._read, run)
        self._advance()

    def _hand_on(self, end: int, run: list[Any]) -> None:
        """Results from the file, up to an index, are results like any other."""
        if run:
            assert self._put is not None
            self._put(end - len(run), run)
