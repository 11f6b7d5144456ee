"""Lanes: which worker is to have which keys, so that its own caches stay warm. Arithmetic on numbers: no clock, no I/O.

A *lane* is a worker's place in its pool, a number from 0 on; a worker that replaces another takes over its lane, and with it
the keys of the one that is lost, and no others. ``Lanes`` remembers the lane of each key: a key that it has not met gets the
lane with the fewest, so that they are spread evenly however few there are. It is kept from call to call, with the pool.

A lane is a wish and not an order: ``match`` gives a chunk to whoever is idle when its own worker is not. So no worker is idle
while there is something to do, and a key that is asked for more often than all others keeps nobody waiting.

``pool`` asks when it hands out chunks; ``backends.affinity`` and ``submissions`` make chunks of one lane.
"""

from __future__ import annotations

import _thread
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The lane of what any worker may have.
ANY = -1
#: So many keys are remembered; the one not met for longest is forgotten.
KEPT = 1 << 16
#: A key leaves a lane that has so many times its fair share of keys: workers have been added.
CROWDED = 1.25


class Lanes:
    """The lanes of keys.

    Args:
        kept: how many keys are remembered.

    Example:
        >>> lanes = Lanes()
        >>> lanes.of([10, 11, 12, 10], workers=2), lanes.of([12, 11, 10], workers=2)
        ([0, 1, 0, 0], [0, 1, 0])
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lanes: OrderedDict[int, int] = OrderedDict()  # by key
        self._counts: list[int] = []  # of keys, by lane
        self._lock = _thread.allocate_lock()

    def of(self, keys: Iterable[int], workers: int) -> list[int]:
        """Return the lane of each key; from any thread.

        Args:
            keys: hashes of keys.
            workers: new keys are spread over so many lanes; those that have one keep it.
        """
        lanes, counts, found = self._lanes, self._counts, []
        with self._lock:
            counts += [0] * (workers - len(counts))
            crowd = int(CROWDED * len(lanes) / workers) + 1
            for key in keys:
                lane = lanes.get(key, ANY)
                if lane == ANY or counts[lane] > crowd:
                    lane = self._place(key, lane, workers)
                    crowd = int(CROWDED * len(lanes) / workers) + 1
                else:
                    lanes.move_to_end(key)
                found.append(lane)
        return found

    def _place(self, key: int, before: int, workers: int) -> int:
        """Give a key the lane with the fewest."""
        lanes, counts = self._lanes, self._counts
        if before != ANY:
            counts[before] -= 1
        elif len(lanes) >= self._kept:
            counts[lanes.popitem(last=False)[1]] -= 1
        fewest = min(counts[:workers])
        lane = lanes[key] = counts.index(fewest)
        counts[lane] += 1
        lanes.move_to_end(key)
        return lane


def match(wanted: Sequence[int], idle: Sequence[int]) -> tuple[int, int]:
    """Return which of the chunks that are ready goes to which of the workers that are idle, as places in the arguments.

    First a chunk whose own worker is idle. If there is none, somebody else has one rather than nothing: the last one of
    whoever has most to do, so that whoever has less finds its own when it is free.

    Args:
        wanted: the lanes of the chunks, in their order.
        idle: the lanes of the workers, at least one.

    Raises:
        IndexError: there is no chunk.

    Example:
        >>> match([0, 1, 1], idle=[2, 1]), match([0, 1, 1], idle=[3, 2]), match([ANY], idle=[5])
        ((1, 1), (2, 1), (0, 0))
    """
    for place, lane in enumerate(wanted):
        if lane == ANY:
            return place, 0
        if lane in idle:
            return place, idle.index(lane)
    if not wanted:
        raise IndexError("no chunk is ready")
    longest = max(wanted, key=wanted.count)
    return len(wanted) - 1 - wanted[::-1].index(longest), idle.index(min(idle))
