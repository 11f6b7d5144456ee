"""Routing by key: a call's way to workers that are each to have their own keys (``affinity=``).

What the call hands over is divided here, by the lanes of its keys (``engine.lanes``), into chunks that go to one worker each::

    items 0 1 2 3 4 5 ──keys──> lane 0: items 0 3 4 ──> chunk ──> its worker, or who is idle
                                lane 1: items 1 2 5 ──> chunk ──> ...

The tasks of a chunk do not follow each other in the input, so they are numbered apart from it, and results are given their
indexes again when they come (``Results.places``). The call knows nothing of all this but that what it hands over is divided
(``spread``), and that there is room for more as long as a lane has little to do.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter

from manyhands.backends.lines import ProcessLine
from manyhands.engine.definitions import FULL, ONE, pack
from manyhands.engine.streams import Chunk, Crash, Results
from manyhands.transport.frozen import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from manyhands.engine.definitions import Packed
    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Definition, Deliver, Event

    Affinity = str | Callable[..., Any]

#: If one lane gets nearly everything, so many chunks for each worker are enough for those to take that have none.
MOST = 4


class Part:
    """The tasks of one chunk, and where they are in the input.

    Args:
        lane: of their keys.
        places: their indexes.
        packed: what travels.
    """

    __slots__ = ("lane", "left", "packed", "places")

    def __init__(self, lane: int, places: list[int], packed: Packed) -> None:
        self.lane = lane
        self.places = places
        self.packed = packed
        self.left = len(places)  # tasks that nothing has come of yet


class LaneLine(ProcessLine):
    """One call's way to the workers, each with the items that have its keys.

    Args:
        pool: the pool.
        deliver: takes the events of the call.
        workers: how many of them it may occupy.
        definition: the function.
        shape: how an item becomes arguments.
        flags: more about how the worker is to treat its chunks.
        affinity: as for ``Options``.
        seeded: each task needs its index in the input.
    """

    def __init__(
        self, pool: Pool, deliver: Deliver, workers: int, definition: Definition, shape: int, flags: int, affinity: Affinity,
        seeded: bool,
    ) -> None:  # fmt: skip
        self._deliver = deliver
        super().__init__(pool, pool.open(self._take, workers), definition, shape, flags)
        self.spread = workers
        self._affinity = affinity
        self._seeded = seeded
        self._lock = threading.Lock()  # of the following: the caller adds, the loop thread takes away
        self._next = 0  # the number of the next task
        self._numbers: list[int] = []  # of the first tasks of the parts that are out, in their order
        self._parts: list[Part] = []
        self._depths: Counter[int] = Counter()  # of parts that are out, by lane

    def outstanding(self) -> int:
        """Chunks for each worker that are handed over, as the lane with the fewest has it; or all, if they are many."""
        with self._lock:
            if len(self._parts) >= MOST * self.spread:
                return len(self._parts)
            return self.spread * min(self._depths[lane] for lane in range(self.spread))

    def pack(self, items: Sequence[Any], base: int) -> tuple[list[Part], int]:
        lanes = self._pool.lanes.of(hashes(self._affinity, [*map(opened, items)], self._shape), self.spread)
        parts, size = [], 0
        for lane in dict.fromkeys(lanes):
            places = [place for place, other in enumerate(lanes) if other == lane]
            packed, bytes_ = self._pack(
                [items[place] for place in places], [base + place for place in places]
            )
            parts.append(Part(lane, [base + place for place in places], packed))
            size += bytes_
        return parts, size

    def _pack(self, items: list[Any], places: list[int]) -> tuple[Packed, int]:
        if not self._seeded:
            return pack(self._encoder, items, self._shape)
        from manyhands.engine.ways import INDEX

        single = self._shape == ONE
        tasks = [
            ((item,) if single else item, {INDEX: place})
            for item, place in zip(map(opened, items), places, strict=True)
        ]
        return pack(self._encoder, tasks, FULL)

    def send(self, packed: list[Part], count: int, base: int, timeout: float | None) -> None:
        self._learn()
        chunks = []
        with self._lock:
            for part in packed:
                flags = part.packed.flags | self._flags
                chunk = Chunk(
                    self._stream, self._definition, part.packed.body, flags, 0, part.left, self._next, timeout, part.lane
                )  # fmt: skip
                chunks.append(chunk)
                self._numbers.append(self._next)
                self._parts.append(part)
                self._depths[part.lane] += 1
                self._next += part.left
        self._stream.post_all(chunks)

    def _take(self, event: Event) -> None:
        """In the loop thread: give what has come its indexes, and pass it on."""
        if isinstance(event, Results):
            event.places = self._settle(event.first, len(event.outcomes))
        elif isinstance(event, Crash):
            event.index = self._settle(event.index, 1)[0]
        self._deliver(event)

    def _settle(self, first: int, tasks: int) -> list[int]:
        """Something has come of tasks of one part: return their indexes."""
        with self._lock:
            found = bisect_right(self._numbers, first) - 1
            part, start = self._parts[found], first - self._numbers[found]
            part.left -= tasks
            if not part.left:
                del self._numbers[found], self._parts[found]
                self._depths[part.lane] -= 1
        return part.places[start : start + tasks]


def hashes(affinity: Affinity, items: Sequence[Any], shape: int) -> list[int]:
    """Return a number for each item, equal for those with equal keys.

    Args:
        affinity: as for ``Options``.
        items: the items.
        shape: how an item becomes arguments: 0: it is one, 1: it is a tuple of them.

    Raises:
        TypeError: a key cannot be hashed.
        Exception: what the function raises that makes the keys.

    Example:
        >>> hashes("args", [(1, 2), (1.0, 2)], 1) == [hash((1, 2))] * 2, hashes(len, ["one", "two"], 0)
        (True, [3, 3])
    """
    if affinity == "args" and shape == ONE:
        try:
            return list(map(hash, items))
        except Exception:  # it is said below which of them has no hash
            pass
    return [key_hash(affinity, (item,) if shape == ONE else item, {}) for item in items]


def key_hash(affinity: Affinity, args: Any, kwargs: dict[str, Any]) -> int:
    """Return the number of a single call; that of an item with the same positional arguments, as ``hashes`` returns it.

    Args:
        affinity: as for ``Options``.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        TypeError: its key cannot be hashed.
        Exception: what the function raises that makes the key.

    Example:
        >>> key_hash("args", (1,), {}) == hashes("args", [1], 0)[0]
        True
    """
    if type(args) is not tuple:  # an item of starmap that is none: its task says so
        return 0
    if affinity == "args":
        try:
            if kwargs:
                return hash((args, frozenset(kwargs.items())))
            return hash(args[0] if len(args) == 1 else args)
        except Exception as error:
            raise TypeError(
                f'affinity="args" takes the arguments for the key, and {_shown(args, kwargs)} cannot be hashed ({error}): give '
                "affinity a function that makes a key of them, such as affinity=str, or leave it out"
            ) from error
    assert callable(affinity)
    try:
        key = affinity(*args, **kwargs)
    except Exception as error:
        from manyhands.transport.errors import add_note

        add_note(error, f"manyhands: raised by the function given as affinity, for {_shown(args, kwargs)}")
        raise
    try:
        return hash(key)
    except Exception as error:
        raise TypeError(
            f"the function given as affinity must return a key that can be hashed, and for {_shown(args, kwargs)} it has "
            f"returned a {type(key).__name__} ({error})"
        ) from error


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    from manyhands.transport.refusal import safe_repr

    words = [safe_repr(part, 60) for part in args]
    return f"({', '.join([*words, *(f'{name}={safe_repr(part, 60)}' for name, part in kwargs.items())])})"
