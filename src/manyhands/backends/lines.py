"""One call's way to the workers of a process pool: packs items into chunks, and opens what comes back.

``processes`` makes them; ``affinity`` has one whose chunks are for certain workers.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Definition, Stream


class ProcessLine:
    """One call's way to the workers.

    Args:
        pool: the pool.
        stream: the call's chunks in it.
        definition: the function.
        shape: how an item becomes arguments.
        flags: more about how the worker is to treat its chunks.
    """

    spread = 1

    def __init__(self, pool: Pool, stream: Stream, definition: Definition, shape: int, flags: int) -> None:
        from manyhands.transport.serialize import Encoder, loads

        self._pool = pool
        self._stream = stream
        self._definition = definition
        self._shape = shape
        self._flags = flags
        self._encoder = Encoder({}, learn=True, store=pool.store)
        self._classes = 0  # so many of its book go with the definition
        self.value = loads

    @property
    def ready(self) -> int:
        return self._pool.ready_count

    @property
    def limit(self) -> int:
        return self._stream.limit

    @limit.setter
    def limit(self, workers: int) -> None:
        self._stream.limit = workers
        self._pool.poke()

    def outstanding(self) -> int:
        return len(self._stream.ready) + self._stream.in_flight

    def freeze(self, item: Any) -> bytes:
        return self._encoder.encode(item)

    def pack(self, items: Sequence[Any], base: int) -> tuple[Any, int]:
        from manyhands.engine.definitions import pack

        return pack(self._encoder, items, self._shape)

    def send(self, packed: Any, count: int, base: int, timeout: float | None) -> None:
        self._learn()
        self._stream.post(self._definition, packed.body, packed.flags | self._flags, count, base, timeout)

    def _learn(self) -> None:
        """Have the definition bring the classes that the encoder has met."""
        book = self._encoder.book
        if book and len(book) > self._classes:
            from manyhands.engine.definitions import extend

            self._classes, self._definition = len(book), extend(self._definition, book)

    def error(self, outcome: bytes) -> BaseException:
        from manyhands.transport.errors import unpack

        return unpack(outcome)

    def check_wait(self) -> None:
        self._pool.check_wait()

    def close(self, *, kill: bool) -> None:
        self._stream.close(kill=kill)
