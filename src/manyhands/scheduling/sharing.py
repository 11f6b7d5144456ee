"""Iterators whose items threads work on: does asking for the next item change one that somebody has?

Tasks in threads get the very objects, so that what they change is changed; nothing is pickled on the way. An iterator that
fills one object again and again would change it under the hands of a task. Only by looking can that be told: the first few
items that could change are pickled when they are given, and compared when the iterator has been asked for more. Meanwhile no
task is out, so that no task has changed them. From then on,

* if it changes what it has given, each task gets a copy of what it was;
* if not, the objects themselves. Should one of them come again while a task has it, or another view of its memory, it is
  looked at once more, with no task out. If it has been changed after all, the call is refused: some task may have seen that.

Used by ``source``; ``call`` says which items are out.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from manyhands.transport.frozen import Frozen, immutable, thorough

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from manyhands.scheduling.source import Source

#: So many items are compared before an iterator is trusted.
LEARN = 4
#: So many parts of an item are looked at, and so deep, to see whether two share one.
PARTS, DEPTH = 16, 3


class Sharing:
    """What is known of an iterator that shares its items with tasks.

    Args:
        source: has the iterator.
        out: gives the items of all tasks that are out.
    """

    def __init__(self, source: Source, out: Callable[[], Iterable[Any]]) -> None:
        self._source = source
        self._out = out
        self.met = False  # an item that could change
        self.refills = False  # the iterator changes what it has given
        self._begun = False
        self._left = LEARN  # so many more items are to be compared
        self._seen: deque[Any] = deque(maxlen=LEARN)
        self._suspect = False  # an object came again while a task had it
        self._innocent = False  # items share objects, and the iterator leaves them alone

    def learning(self) -> bool:
        """Tell whether items are being compared: then nothing is to be read while tasks are out."""
        return (self.met or not self._begun) and not self.refills and self._left > 0

    def read(self, count: int, items: list[Any]) -> bool:
        """Read so many items; arguments and result as ``Source._read_warily``.

        Raises:
            RuntimeError: an object was changed while a task had it.
        """
        if self._left > 0:
            return self._learn(count, items)
        taken = set(self._roots_out())
        for item in self._next(count):
            items.append(item)
            if immutable(item):
                continue
            found = set(roots(item))
            if not self._innocent and not taken.isdisjoint(found):
                self._suspect, self._left = True, LEARN
                self._seen.append(item)
                return False
            taken |= found
        return True

    def _next(self, count: int) -> Iterator[Any]:
        return islice(self._source.items(), count)

    def _learn(self, count: int, items: list[Any]) -> bool:
        """Read items, and compare those that were there before with what they were."""
        source, self._begun = self._source, True
        before = [*map(_frozen, self._seen)]  # as they are now: tasks may have changed them
        for place, item in enumerate(source.waiting_items):
            source.waiting_items[place] = _frozen(item)
        for item in self._next(count):
            items.append(_frozen(item))
            if not immutable(item):
                self.met = True
                self._seen.append(item)
                self._left -= 1
        changed = not all(each.unchanged() for each in before if type(each) is Frozen)
        for waiting in (source.waiting_items, items):
            for place, item in enumerate(waiting):
                if type(item) is Frozen:
                    if item.unchanged():
                        waiting[place] = item.item
                    else:
                        changed = True
        if changed:
            self._found_out(items)
        elif self._left <= 0:
            shared = [root for item in self._seen for root in set(roots(item))]
            self._innocent = self._suspect or len(set(shared)) < len(shared)
            self._suspect = False
            self._seen.clear()
        return True

    def _found_out(self, items: list[Any]) -> None:
        """The iterator changes what it has given: from now on tasks get copies."""
        if self._suspect:
            items.clear()
            raise RuntimeError(
                "the input yields one object again and again, and has changed it while a thread worked on it: tasks may have "
                "seen what belongs to others. Let it yield a new object each time, or a copy, or use backend='processes', "
                "where each task gets a copy"
            )
        self.refills, self._left = True, 0
        self._seen.clear()
        self._source.travel(thorough)

    def _roots_out(self) -> Iterator[int]:
        for item in self._out():
            if not immutable(item):
                yield from roots(item)
        for item in self._source.waiting_items:
            if not immutable(item):
                yield from roots(item)


def roots(item: Any, depth: int = DEPTH) -> Iterator[int]:
    """Yield the ids of an item and of the objects that it is made of, or a view of, as far as they could change."""
    if immutable(item) or callable(item):
        return
    yield id(item)
    if depth:
        for part in islice(_parts(item), PARTS):
            yield from roots(part, depth - 1)


def _parts(item: Any) -> Iterator[Any]:
    kind = type(item)
    if kind is memoryview:
        yield item.obj
    elif isinstance(item, (list, tuple, set, frozenset, deque)):
        yield from islice(item, PARTS)
    elif isinstance(item, dict):
        yield from islice(item.values(), PARTS)
    elif kind.__module__ == "numpy":
        yield getattr(item, "base", None)
    else:
        yield from getattr(item, "__dict__", {}).values()


def _frozen(item: Any) -> Any:
    """Freeze an item; one that cannot change, or cannot be pickled, stays as it is."""
    if type(item) is Frozen or immutable(item):
        return item
    try:
        return Frozen(item, thorough, local=True)
    except Exception:  # nothing tells whether it changes: what is data can be pickled
        return item
