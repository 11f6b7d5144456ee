"""What becomes of the items of a call over a cached function when they are looked at: answers, waiting ones, and tasks.

The lower half of ``caching``, which has the drawing and is what a call sees. An item whose answer is known is put down with it
(``found``), one whose key is under way waits for that, and every other one is ready to be a task (``Record``).
"""

from __future__ import annotations

import _thread
from collections import deque

from manyhands.cache import MISSING
from manyhands.keys import Then, refusal, same
from manyhands.scheduling.answers import Answers, Deferred, Record, Turn
from manyhands.scheduling.source import Source
from manyhands.transport import tally
from manyhands.transport.frozen import Frozen, immutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from manyhands.cache import Cache
    from manyhands.scheduling.answers import Foreseen

#: So many items are looked at in one go.
PIECE = 4096


class Sorting(Source):
    """The input of a call over a cached function, and what has become of its items so far; arguments as ``Filtered``."""

    def __init__(
        self, source: Source, cache: Cache, function: Any, constants: dict[str, Any], shape: int, *, lazy: bool, dense: bool
    ) -> None:  # fmt: skip
        self.inner = source
        source.looked_at = True  # what is not immutable is looked at before more is read
        #: Items may change when more are read: what waits is frozen, with the key that it had.
        self.wary = source._wary
        if self.wary:
            source.note = self._note
        self.cache = cache
        self.lazy = lazy
        #: Items go through the cache, here and in order: nobody else takes part.
        self.direct = not lazy
        #: All results are handed out in the order of the input, and the first failure ends the call.
        self.plain = False
        #: What has been found and not been put down yet: index, values, items, keys; an error in place of the values; a turn; or
        #: items whose turn is to come.
        self.found: deque[tuple[int, Any, Sequence[Any], Sequence[Any]] | Turn | Deferred] = deque()
        # A task with a random stream of its own, or one that may add to accumulators, does not come to the same twice.
        self.answers = Answers(cache, repeatable=dense and not tally.made, room=PIECE)
        self.flying: dict[Any, Record] = {}  # the last of each key that is under way, until it is handed out
        self.lock = _thread.allocate_lock()  # of these: the watch's thread may look at items
        self._before: tuple[Any, ...] = (function.__self__,) if hasattr(function, "__self__") else ()
        self._constants = constants
        self._shape = shape
        self._ready: deque[Record] = deque()
        self._here: list[Record] = []  # keys that go through the cache just now, here
        self._batch: tuple[int, Sequence[Any]] | None = None  # the items that do
        self._seen = self._tasks = 1
        self._front = 0  # no item from here on has been looked at
        self._learnt = 0  # where that was when the answers at hand were learnt

    # looking at items

    def _keys(self, items: Sequence[Any]) -> Iterable[Any]:
        if not self.wary or Frozen not in set(map(type, items)):
            return self.cache.keys(items, self._before, self._constants, self._shape)
        return [item.key if type(item) is Frozen else self._key(item) for item in items]

    def _key(self, item: Any) -> Any:
        return next(iter(self.cache.keys([item], self._before, self._constants, self._shape)))

    def _note(self, frozen: Frozen) -> None:
        """An item has been frozen: its key is that of now."""
        frozen.key = key = self._key(frozen.item)
        try:
            frozen.key = Then(key)
        except Exception:  # it has none
            pass

    def _look(self, count: int, *, pull: bool) -> None:
        """Look at the next items: which are known, which are under way, which are tasks?"""
        with self.lock:
            while count > 0:
                first, items = self.inner.take(count, pull=pull)
                if len(items):
                    self._sort(first, items)
                count -= len(items)
                if not len(items) or type(items[-1]) is not Frozen or self.inner.freeze is None:
                    return

    def _sort(self, first: int, items: Sequence[Any]) -> None:  # noqa: PLR0912, PLR0915 - one loop, as quick as can be
        answers, flying, ready, found = self.answers, self.flying, self._ready, self.found
        known = answers.values.get
        keeps = self.cache.maxsize != 0
        all_keys = list(self._keys(items))
        self._seen += len(items)
        foreseen = answers.foresee(all_keys, flying)
        front, self._front = self._front, max(self._front, first + len(items))
        if keeps and self._all_known(first, items, all_keys, foreseen):
            return
        if (
            keeps
            and foreseen is None
            and self.plain
            and (not self.wary or immutable(items[-1]))
            and first >= front
            and self._defer(first, items, all_keys)
        ):
            return
        values: list[Any] = []
        keys: list[Any] = []
        ready_before = len(ready)
        for index, (key, item) in enumerate(zip(all_keys, items, strict=True), first):
            record: Record | None = None
            refused: Exception | None = None
            value = MISSING
            kept = holds = True
            if keeps:
                try:
                    value = known(key, MISSING)
                    if value is MISSING:
                        record = flying.get(key)
                        if record is not None:
                            value = record.value
                    if foreseen is not None:
                        kept = foreseen.use(key)
                        holds = answers.hold(key, record)
                except Exception as error:  # the arguments have no key
                    refused = refusal(key, error)
            if value is not MISSING and holds and refused is None:
                values.append(value)
                keys.append(key)
                continue
            if values:
                place = index - first
                found.append((index - len(values), values, items[place - len(values) : place], keys))
                values, keys = [], []
            there = value is not MISSING or record is not None
            if refused is not None:
                found.append((index, refused, [item], [key]))
            elif not there or not (holds or kept):
                before, record = record, Record(key, index, item, doubtful=there)
                record.before = before
                ready.append(record)
                if keeps:
                    flying[key] = record
            elif value is not MISSING:
                found.append(Turn(index, item, key))
            else:
                assert record is not None
                if record.waiting is None:
                    record.waiting = []
                record.waiting.append((index, item, key))
        if values:
            found.append((first + len(items) - len(values), values, items[len(items) - len(values) :], keys))
        if len(ready) > ready_before:
            answers.fresh = False
            if ready_before and ready[ready_before].index < ready[ready_before - 1].index:
                self._in_order()
        self._tasks += len(ready) - ready_before

    def _all_known(
        self, first: int, items: Sequence[Any], keys: list[Any], foreseen: Foreseen | None
    ) -> bool:
        """Put down the answers of items, if all are there and hold."""
        fresh = self.answers.fresh
        if foreseen is not None and not fresh:
            return False
        try:
            answers = list(map(self.answers.values.__getitem__, keys))
        except Exception:  # some are not, or have no key
            return False
        if foreseen is not None:
            for key in keys:
                foreseen.use(key)
        sure = self.lazy and not self.wary and (self.cache.maxsize is None or fresh)
        self.found.append((first, answers, items, () if sure else keys))
        return True

    def _defer(self, first: int, items: Sequence[Any], keys: list[Any]) -> bool:
        """Look for keys that are new, and leave all other items until their turn; False: a key is no good.

        This is what most items come by: it has to be quick. Equal ones that have been looked at come before these.
        """
        known, flying, found = self.answers.values, self.flying, self.found
        new: dict[Any, Record] = {}
        try:
            for index, key in enumerate(keys, first):
                if key not in known and key not in flying and key not in new:
                    new[key] = Record(key, index, items[index - first])
        except Exception:  # the arguments have no key
            return False
        flying.update(new)
        start = first
        for record in new.values():
            if record.index > start:
                found.append(Deferred(start, items[start - first : record.index - first]))
            start = record.index + 1
        if start < first + len(items):
            found.append(Deferred(start, items[start - first :]))
        if new:
            self.answers.fresh = False
            self._ready.extend(new.values())
            self._tasks += len(new)
        return True

    def answer_of(self, key: Any) -> Any:
        """Return the answer for a key if it is here, else ``MISSING``.

        Args:
            key: the key, of an item that is new.
        """
        try:
            value = self.answers.values.get(key, MISSING)
            record = self.flying.get(key) if value is MISSING else None
            if record is not None:
                value = record.value
            return self.answers.before.get(key, MISSING) if value is MISSING else value
        except Exception:  # the key is no good
            return MISSING

    def look_again(self, index: int, items: Sequence[Any]) -> None:
        """Have items looked at anew, as the cache has no answer for the first of them now that its turn has come.

        Args:
            index: of the first.
            items: the items.
        """
        with self.lock:
            self.inner.give_back(index, items)

    def _in_order(self) -> None:
        self._ready = deque(sorted(self._ready, key=lambda record: record.index))

    # what comes of them

    def release_here(self, index: int, count: int) -> None:
        """Of items that were to go through the cache here nothing comes: those that wait for them are looked at anew."""
        with self.lock:
            for record in self._taken_here(index, count):
                self._remove(record)
                for later, item, _ in record.waiting or ():
                    self.inner.give_back(later, [item])
                record.waiting = None

    def _taken_here(self, index: int, count: int) -> list[Record]:
        found = [record for record in self._here if index <= record.index < index + count]
        self._here = [record for record in self._here if record not in found]
        return found

    def _remove(self, record: Record) -> None:
        """A key has no answer from this task, but perhaps from one before or after it."""
        newer: Record | None = None
        other = self.flying.get(record.key)
        while other is not None and other is not record:
            newer, other = other, other.before
        if other is None:
            return
        if newer is not None:
            newer.before = record.before
        elif record.before is not None:
            self.flying[record.key] = record.before
        else:
            del self.flying[record.key]

    def ran(self, index: int, values: list[Any]) -> None:
        """Items have gone through the cache: what waits for one of them has its answer."""
        self._batch = None
        if self.direct:
            return
        for record in self._taken_here(index, len(values)):
            value = values[record.index - index]
            self.answer(record, value)
            self.handed(record.index, [record.key], [value])

    def answer(self, record: Record, value: Any) -> None:
        """A task has its answer, and so has what waits for it."""
        with self.lock:
            record.value = value
            waiting, record.waiting = record.waiting, None
            for index, item, key in waiting or ():
                if self.answers.hold(key, record):
                    self.found.append((index, [value], [item], [key]))
                else:
                    self.found.append(Turn(index, item, key))

    def refuse(self, record: Record) -> None:
        """A task has failed, and leaves nothing: what waits for it is looked at anew, or is a task of its own at once.

        As long as the arguments are the same the loop would compute them one after the other, and most likely fail.
        """
        with self.lock:
            self._remove(record)
            waiting, record.waiting = record.waiting or [], None
            for place, (index, item, key) in enumerate(waiting):
                if not same(record.key, key):
                    for later, other, _ in waiting[place:]:
                        self.inner.give_back(later, [other])
                    break
                self._begin(Record(key, index, item, doubtful=True))
            self._in_order()

    def again(self, turn: Turn) -> None:
        """The cache has evicted the answer of an item whose turn has come: it is a task after all."""
        with self.lock:
            self._begin(Record(turn.key, turn.index, turn.item))
            self._in_order()

    def _begin(self, record: Record) -> None:
        self._ready.append(record)
        self.flying.setdefault(record.key, record)

    def handed(self, index: int, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Items have gone through the cache when they were handed out, from ``index`` on."""
        flying = self.flying
        if not flying:
            return
        if self.cache.maxsize is None:
            for key in flying.keys() & set(keys):
                flying.pop(key, None)  # its hash may be another one by now
            return
        for place, (key, value) in enumerate(zip(keys, values, strict=False), index):
            newer: Record | None = None
            record = flying.get(key)
            while record is not None and record.index > place:
                newer, record = record, record.before
            if record is None:
                continue
            self.answers.put(record, value)
            if newer is None:
                flying.pop(key, None)
            else:
                newer.before = None
        if self.answers.before and index >= self._learnt:
            self.answers.before = {}
        if self.answers.full():
            with self.lock:
                self._learnt = self._front
                self.answers.learn()


def as_it_was(item: Any) -> Any:
    """Return what the cache is called with for an item: what is found by the key that the item had when it was read.

    That is the very object as long as it has that key, as in the loop; else a copy of what it was.

    Args:
        item: the item, perhaps frozen.
    """
    if type(item) is not Frozen:
        return item
    return item.item if type(item.key) is Then and item.key.holds() else item.settled()
