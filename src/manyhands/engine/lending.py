"""A pool's shared memory: what large arguments and constants are written into, and when that is given back.

``staff`` builds on it. ``transport.arena`` has the drawing.
"""

from __future__ import annotations

import os
import sys
from collections import deque

from manyhands.engine.mail import Mail
from manyhands.engine.memory import available
from manyhands.transport.arena import IDLE, Arena
from manyhands.transport.constants import SECONDS, Constants
from manyhands.transport.descriptors import away
from manyhands.transport.memory import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from manyhands.engine.workers import WorkerHandle
    from manyhands.transport.arena import Frame

#: So much of the machine's memory is for shared memory on its way to workers, unless there is a limit: one part in so many.
ARENA_PART = 4


class Lending(Mail):
    """Shared memory, and the workers that are lent it.

    Args:
        arena_limit: bytes of shared memory for large things on their way to workers, and as much for what comes back; None: a
            part of the machine's; 0: none.
    """

    def __init__(self, arena_limit: int | None = None) -> None:
        super().__init__()
        self.arena_limit = arena_limit
        self._idle: deque[WorkerHandle] = deque()
        self._arena: Arena | None = None
        self._constants: Constants | None = None
        self._resting_arena = False  # somebody is going to look whether it is idle

    def later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the loop thread do something after so many seconds."""
        raise NotImplementedError

    def _open_arena(self) -> None:
        self._arena = self._make_arena()
        self._constants = None if self._arena is None else Constants(self._arena)

    def _make_arena(self) -> Arena | None:
        if self.arena_limit == 0:
            return None
        file = create()
        if file is None:
            return None
        if self.arena_limit is None:
            self.arena_limit = available() // ARENA_PART
        try:
            file = away(file)
        except OSError:
            return None
        return Arena(file, int.from_bytes(os.urandom(8), sys.byteorder), self.arena_limit)

    def store(self, data: bytes, buffers: Sequence[memoryview]) -> Frame | None:
        """Put a large thing for workers into shared memory; None: it has to go through the channel."""
        return self._stored(self._arena, data, buffers)

    def keep(self, data: bytes, buffers: Sequence[memoryview]) -> Frame | None:
        """The same, for what may come again, in this call or in later ones."""
        return self._stored(self._constants, data, buffers)

    def _stored(
        self, where: Arena | Constants | None, data: bytes, buffers: Sequence[memoryview]
    ) -> Frame | None:
        frame = None if where is None else where.store(data, buffers)
        if frame is not None and not self._resting_arena:
            self._resting_arena = True
            self.later(IDLE, self._rest_arena)
        return frame

    def _rest_arena(self) -> None:
        """Give back shared memory that has not been used for a while."""
        arena, constants = self._arena, self._constants
        if arena is None or constants is None:
            return
        from manyhands.engine.definitions import let_go

        if constants.rest():
            let_go(SECONDS)
        else:
            let_go(0)
        self._forget()
        self._resting_arena = arena.rest()
        if self._resting_arena:
            self.later(IDLE, self._rest_arena)

    def _forget(self) -> None:
        """Have idle workers forget what takes much room and is not kept here."""
        for worker in self._idle:
            worker.forget()
            self._flush(worker)

    def _close_arena(self) -> None:
        if self._arena is not None and self._constants is not None:
            self._constants.close()
            self._arena.close()
        self._arena = self._constants = None
