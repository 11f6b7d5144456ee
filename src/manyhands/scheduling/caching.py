"""What a call does over a function with an ``lru_cache``: each key once, and the figures of the loop.

Two things stand between a call and its input, and its results::

    source ─> Filtered ──tasks: the first of each key──> call ... results ─> Remembering ─> the caller, in order
                  │                                                              │    ▲
                  └── known answers; items that wait for an equal one ───────────┘    └── each once through the cache

``Filtered`` is a source that gives out the first item of each key, and no other. What is known goes straight to the results;
what equals an item that is under way waits for it. ``Answers`` says whether an answer also holds where the cache will have
evicted it; if it does not, the item is a task of its own. The tasks are numbered apart from the items, so that those of a chunk
follow each other whatever lies between their items. ``Remembering`` is the ledger: it turns these numbers into indexes again,
gives an answer to all that wait for it, and, when results are handed out, makes each call once more to the cache (see
``manyhands.cache``), which counts, keeps and evicts. So a key that the loop would have evicted and computed again is a miss,
but not computed again if an answer is here that holds. A failed item is a miss that leaves nothing; those that waited for it
are tasks of their own then, as in the loop.

As long as no worker takes part, all of this is left out: then items go through the cache itself, here and in their order, which
*is* the loop (``direct``). A call whose answers are all known costs no more than that.

A value is never pickled for a second item, so equal keys give the same object, as they do in the loop. With ``seed=``, the
random stream of a key is that of the item that the loop computes it for. With a checkpoint, items whose results are in the file
do not come this way.

Single calls (``submit``) are joined as well: the later ones wait for the first.
"""

from __future__ import annotations

import _thread
import os
from collections import deque
from itertools import islice, starmap

from manyhands.cache import MISSING, Missing, Unhashable, through
from manyhands.keys import same
from manyhands.scheduling.answers import Answers, Record, Turn
from manyhands.scheduling.job import Job
from manyhands.scheduling.remembering import Remembering
from manyhands.scheduling.source import PLAIN, Source
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from manyhands.cache import Cache
    from manyhands.scheduling.answers import Foreseen
    from manyhands.scheduling.policy import Policy

#: So many items are looked at in one go.
PIECE = 4096
#: ... of an iterator that takes longer than so many seconds to give them, fewer.
QUICK = 0.000_200


class Filtered(Source):
    """The input of a call over a cached function: its tasks are the items whose answers nobody knows.

    Args:
        source: the input.
        cache: the cache.
        function: the function as it was decorated, perhaps bound.
        constants: keywords that are the same for every item.
        shape: how an item becomes arguments.
        lazy: results are wanted one by one: nothing goes through the cache before its turn.
        dense: the numbers of tasks are theirs alone; else they are the indexes of their items.
        processes: workers are processes, each with figures of its own.
    """

    def __init__(
        self, source: Source, cache: Cache, function: Any, constants: dict[str, Any], shape: int, *, lazy: bool,
        dense: bool, processes: bool,
    ) -> None:  # fmt: skip
        self.inner = source
        self.cache = cache
        #: Makes a call to the cache with an item.
        self._through = through(cache, function)
        self.call = Job(self._through, None, constants, shape, None).here
        self.lazy = lazy
        #: Items go through the cache, here and in order: nobody else takes part.
        self.direct = not lazy
        #: What has been found and not been put down yet: index, values, items, keys; an error in place of the values; or a turn.
        self.found: deque[tuple[int, Any, Sequence[Any], Sequence[Any]] | Turn] = deque()
        self.records: dict[int, Record] = {}  # tasks that were given out, by number
        self.flying: dict[Any, Record] = {}  # the first of each key, until it is handed out
        self.lock = _thread.allocate_lock()  # of these: the watch's thread may look at items
        self._before: tuple[Any, ...] = (function.__self__,) if hasattr(function, "__self__") else ()
        self._constants = constants
        self._shape = shape
        self._dense = dense
        self._processes = processes
        self._ready: deque[Record] = deque()
        self._here: list[Record] = []  # keys that go through the cache just now, here
        self._back: list[tuple[int, list[Any]]] = []  # tasks that were given back
        self._batch: tuple[int, Sequence[Any]] | None = None  # what goes through the cache just now
        self._number = 0
        self._seen = self._tasks = 1
        # A task with a random stream of its own, or one that may add to accumulators, does not come to the same twice.
        self.answers = Answers(cache, repeatable=dense and not tally.made, room=PIECE)
        #: No task begins any more.
        self.over = False
        self.restores = True
        if lazy:
            self.engage()

    # what a call asks of its source; position and failures are those of the input

    @property
    def total(self) -> int | None:  # type: ignore[override]
        return self.inner.total

    @property
    def position(self) -> int:  # type: ignore[override]
        return self.inner.position

    @property
    def error(self) -> BaseException | None:  # type: ignore[override]
        return self.inner.error

    def begin(self, put: Callable[[int, list[Any]], object]) -> None:
        self.inner.begin(put)

    def release(self) -> None:
        self.inner.release()

    def drained(self) -> bool:
        return not self._ready and not self._back and self.inner.drained()

    def remaining(self) -> int | None:
        rest = self.inner.remaining()
        if rest is None:
            return None
        if not self.direct:  # as many as there were of late
            rest = -(-rest * self._tasks // self._seen)
        return rest + len(self._ready) + sum(len(items) for _, items in self._back)

    def waiting(self) -> int:
        return len(self._ready) + sum(len(items) for _, items in self._back) + self.inner.waiting()

    def at_hand(self) -> int:
        return len(self._ready) + sum(len(items) for _, items in self._back) + self.inner.at_hand()

    def look_ahead(self, count: int, patience: float) -> None:
        if not self._ready:
            self.inner.look_ahead(count, patience)

    def ledger(self, job: Job, policy: Policy | None, *, ordered: bool, counts: bool) -> Remembering:
        self._ledger = Remembering(self, job, policy, ordered=ordered, counts=counts)
        return self._ledger

    def here(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return self.call if self.direct else function

    def engage(self) -> None:
        """Workers take part from now on; in the thread that has the call's lock."""
        if not self.direct and self._number:
            return
        with self.lock:
            self.direct = False
            self._number = max(1, self.inner.position)
            self.answers.learn()
            self.answers.fresh = self._batch is None
            if (
                self._batch is not None and self.cache.maxsize != 0
            ):  # what runs here may be the first of its key
                first, items = self._batch
                for index, key, item in zip(
                    range(first, first + len(items)), self._keys(items), items, strict=False
                ):
                    if not isinstance(key, Unhashable):
                        try:
                            if key not in self.flying:
                                record = self.flying[key] = Record(key, index, item, own=False)
                                self._here.append(record)
                        except Exception:  # it has no key; its turn will come
                            pass

    def restore(self, room: int) -> bool:
        if self.inner.restores and self.inner.restore(room):
            return True
        if self._ready or self._back or room < 1 or self.inner.drained():
            return False
        if self.direct:
            return self._ask(min(room, PIECE))
        before = self.inner.position
        self.inner.look_ahead(min(room, PIECE), QUICK)
        self._look(min(room, PIECE, max(1, self.inner.at_hand())), pull=True)
        return self.inner.position > before or bool(self.found)

    def _ask(self, count: int) -> bool:
        """Hand on the answers of the next items as far as the cache has them, as the loop would find them."""
        inner = self.inner
        listed = not inner.given_back() and type(inner.sequence) in PLAIN
        items: Sequence[Any] = []
        if listed:
            assert inner.sequence is not None
            items = inner.sequence[inner.position : inner.position + count]
            listed = not inner.star or set(map(type, items)) == {tuple}
        index = inner.position
        if not listed:
            inner.look_ahead(count, QUICK)
            index, items = inner.take(max(1, min(count, inner.at_hand())))
        calls = (
            starmap(self._through, items) if self._shape and not self._constants else map(self.call, items)
        )
        values: list[Any] = []
        try:
            self.cache.answered(_refuse, lambda: values.extend(calls), probe=True)
        except Exception:  # the next is a miss, or cannot be looked up: a task
            pass
        if listed:
            inner.position += len(values)
        elif len(values) < len(items):
            inner.give_back(index + len(values), items[len(values) :])
        if values:
            self._ledger.keep(index, values)
        return bool(values)

    def take(self, count: int, *, pull: bool = True) -> tuple[int, Sequence[Any]]:
        if self.direct:
            index, items = self.inner.take(count, pull=pull)
            self._batch = index, items
            return index, items
        if self._back:
            number, items = self._back.pop(0)
            if len(items) > count:
                self._back.insert(0, (number + count, items[count:]))
            return number, items[:count]
        while self.inner.given_back():  # first: what fails must not end the call before them
            self._look(PIECE, pull=False)
        if len(self._ready) < count:
            # What is read ahead must not be more than the consumer is to have waiting; of a list, it does not matter.
            known = self.inner.at_hand() if self.inner.sequence is not None and not self.lazy else 0
            self._look(max(count - len(self._ready), min(PIECE, known)), pull=pull)
        with self.lock:
            ready: deque[Record] = self._ready
            taken: list[Record] = []
            while ready and len(taken) < count:
                if not self._dense and taken and ready[0].index != taken[-1].index + 1:
                    break
                taken.append(ready.popleft())
            number = self._number
            if not self._dense and taken:
                number = taken[0].index
            self._number += len(taken)
            self.records.update(enumerate(taken, number))
        return number, [record.item for record in taken]

    def given_back(self) -> int:
        return self.inner.given_back()

    def first(self) -> int:
        waiting = [*islice(self._ready, 1), *(self.records[number] for number, _ in self._back)]
        return min([self.inner.first(), *(record.index for record in waiting)])

    def give_back(self, index: int, items: Sequence[Any]) -> None:
        if index in self.records:
            self._back.append((index, list(items)))
            return
        # They were to go through the cache. If workers take part by now, they are looked at anew.
        self.inner.give_back(index, items)
        if self._batch is not None:
            first, batch = self._batch
            self._batch = (first, batch[: index - first]) if index > first else None
        self.release_here(index, len(items))

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

    def take_rest(self) -> list[tuple[int, Any]]:
        with self.lock:
            tasks = [*self._ready, *self.records.values()]
            rest = [(record.index, record.item) for record in tasks]
            for record in (*tasks, *self._here):
                rest += [(index, item) for index, item, _ in record.waiting or ()]
        self.over = True
        self._ready.clear()
        self._back.clear()
        return rest + self.inner.take_rest()

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

    def count(self, worker: int | None, tasks: int) -> None:
        """So many tasks have run in a worker, or in this process."""
        self.cache.ran(worker if worker is not None and self._processes else os.getpid(), tasks)

    def handed(self, index: int, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Items have gone through the cache when they were handed out, from ``index`` on."""
        flying = self.flying
        if not flying:
            return
        if self.cache.maxsize is None:
            for key in flying.keys() & set(keys):
                del flying[key]
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
                del flying[key]
            else:
                newer.before = None
        if self.answers.full():
            with self.lock:
                self.answers.learn()

    # looking at items

    def _keys(self, items: Sequence[Any]) -> Iterator[Any]:
        return self.cache.keys(items, self._before, self._constants, self._shape)

    def _look(self, count: int, *, pull: bool) -> None:
        """Look at the next items: which are known, which are under way, which are tasks?"""
        with self.lock:
            first, items = self.inner.take(count, pull=pull)
            if len(items):
                self._sort(first, items)

    def _sort(self, first: int, items: Sequence[Any]) -> None:  # noqa: PLR0912, PLR0915 - one loop, as quick as can be
        answers, flying, ready, found = self.answers, self.flying, self._ready, self.found
        known = answers.values.get
        keeps = self.cache.maxsize != 0
        all_keys = list(self._keys(items))
        self._seen += len(items)
        foreseen = answers.foresee(all_keys, flying)
        if keeps and self._all_known(first, items, all_keys, foreseen):
            return
        values: list[Any] = []
        keys: list[Any] = []
        ready_before = len(ready)
        for index, (key, item) in enumerate(zip(all_keys, items, strict=True), first):
            record: Record | None = None
            refusal: Exception | None = None
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
                    refusal = error
            if value is not MISSING and holds and refusal is None:
                values.append(value)
                keys.append(key)
                continue
            if values:
                place = index - first
                found.append((index - len(values), values, items[place - len(values) : place], keys))
                values, keys = [], []
            there = value is not MISSING or record is not None
            if refusal is not None:
                found.append((index, refusal, [item], [key]))
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
        sure = self.lazy and (self.cache.maxsize is None or fresh)
        self.found.append((first, answers, items, () if sure else keys))
        return True

    def _in_order(self) -> None:
        self._ready = deque(sorted(self._ready, key=lambda record: record.index))


def _refuse(*_: Any) -> Any:
    raise Missing
