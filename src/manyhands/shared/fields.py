"""What is written in the body of a class that ``@shared_state`` decorates: one function for each kind of field."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    T = TypeVar("T")


if TYPE_CHECKING:
    # The zero as a type or another function; as a value.
    @overload
    def accumulator(zero: Callable[[], T], *, merge: Callable[[T, T], T | None] | None = None) -> T: ...
    @overload
    def accumulator(zero: T, *, merge: Callable[[T, T], T | None] | None = None) -> T: ...


def accumulator(zero: Any, *, merge: Any = None) -> Any:
    """Declare a field that tasks add to: each to a part of its own, merged in input order when its result is handed over.

    No lock, no traffic, and exactly once: what a task had added that failed, crashed, ran out of time or is tried again
    is thrown away. Inside tasks it is added to (``+=``, ``update``, ``append``, ...) and not read; where the state was made,
    it is the total of all tasks whose results have been handed over.

    Args:
        zero: what nothing is: ``int``, ``float``, ``Counter``, ``dict``, ``list``, ``set``, or another function without
            arguments; or a value, such as a number or a NumPy array, that the total begins with.
        merge: makes one of two values, returning it, or None when it has changed the first. None: numbers and arrays
            are added, counters counted, lists extended, sets united, dicts updated.

    Raises:
        SharedStateError: a type needs ``merge``, or a zero that could be changed would be shared by all tasks.

    Example:
        >>> from collections import Counter
        >>> from manyhands import accumulator, parallel_map, shared_state
        >>> @shared_state
        ... class Totals:
        ...     words: Counter = accumulator(Counter)
        ...     lines: int = accumulator(int)
        >>> totals = Totals()
        >>> @parallel_map
        ... def count(line):
        ...     totals.words.update(line.split())
        ...     totals.lines += 1
        >>> _ = count.map(["many hands", "make light work", "many hands"])
        >>> totals.lines, totals.words["hands"]
        (3, 2)
    """
    from manyhands.shared.accumulator import Accumulator

    return Accumulator(zero, merge)
