"""What a call does over a function with an ``lru_cache``: each key once, and the figures of the loop.

Two things stand between a call and its input, and its results::

    source ─> Filtered ──tasks: the first of each key──> call ... results ─> Remembering ─> the caller, in order
                  │                                                              │    ▲
                  └── known answers; items that wait for an equal one ───────────┘    └── each once through the cache

``Filtered`` is a source that gives out the first item of each key, and no other. What is known goes straight to the results;
what equals an item that is under way waits for it. The tasks are numbered apart from the items, so that those of a chunk follow
each other whatever lies between their items. ``Remembering`` is the ledger: it turns these numbers into indexes again, gives
an answer to all that wait for it, and, when results are handed out, makes each call once more to the cache (see
``manyhands.cache``), which counts, keeps and evicts. So a key that the loop would have evicted and computed again is a miss, but
not computed again if its value is still here. A failed item is a miss that leaves nothing; those that waited for it are tasks of
their own then, as in the loop.

As long as no worker takes part, all of this is left out: then items go through the cache itself, here and in their order, which
*is* the loop (``direct``). A call whose answers are all known costs no more than that.

A value is never pickled for a second item, so equal keys give the same object, as they do in the loop. With ``seed=``, the
random stream of a key is that of its first item. With a checkpoint, items whose results are in the file do not come this way.

Single calls (``submit``) are joined as well: the later ones wait for the first.
"""

from __future__ import annotations

import _thread
import os
from collections import deque
from itertools import islice, starmap
from time import perf_counter

from manyhands.cache import MISSING, Missing, Unhashable, through
from manyhands.scheduling.batch import Drawn
from manyhands.scheduling.job import HERE, Job
from manyhands.scheduling.ledger import Ledger
from manyhands.scheduling.source import PLAIN, Source
from manyhands.transport.frozen import Frozen, given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from manyhands.cache import Cache
    from manyhands.scheduling.policy import Policy

#: So many items are looked at in one go.
PIECE = 4096
#: ... if that has lasted less than so many seconds.
LONGEST_PIECE = 0.020
#: ... of an iterator that takes longer than so many seconds to give them, fewer.
QUICK = 0.000_200


class Record:
    """One key that is under way in a call.

    Args:
        key: the key.
        index: of the item that is its task.
        item: that item.
    """

    __slots__ = ("index", "item", "key", "value", "waiting")

    def __init__(self, key: Any, index: int, item: Any) -> None:
        self.key = key
        self.index = index
        self.item = item
        self.value: Any = MISSING
        self.waiting: list[tuple[int, Any]] | None = None  # items with the same key, and their indexes


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
        source.looked_at = True  # what is not immutable has its key as long as it is what it was
        self._given = given if source._wary else _same
        self.cache = cache
        #: Makes a call to the cache with an item.
        self._through = through(cache, function)
        self.call = Job(self._through, None, constants, shape, None).here
        self.lazy = lazy
        #: Items go through the cache, here and in order: nobody else takes part.
        self.direct = not lazy
        #: What has been found and not been put down yet: index, values, items, keys; an error in place of the values.
        self.found: deque[tuple[int, Any, Sequence[Any], Sequence[Any]]] = deque()
        self.records: dict[int, Record] = {}  # tasks that were given out, by number
        self.flying: dict[Any, Record] = {}  # the first of each key, until it is handed out
        self.lock = _thread.allocate_lock()  # of these: the watch's thread may look at items
        self._before: tuple[Any, ...] = (function.__self__,) if hasattr(function, "__self__") else ()
        self._constants = constants
        self._shape = shape
        self._dense = dense
        self._processes = processes
        self._ready: deque[Record] = deque()
        self._back: list[tuple[int, list[Any]]] = []  # tasks that were given back
        self._batch: tuple[int, Sequence[Any]] | None = None  # what goes through the cache just now
        self._piece = 64  # so many items are asked for in one go
        self._number = 0
        self._seen = self._tasks = 1
        self._known: dict[Any, Any] = {}
        self._most = 0
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

    def travel(self, freeze: Callable[[Any], bytes]) -> None:
        self.inner.travel(freeze)

    def share(self, out: Callable[[], Iterable[Any]]) -> None:
        self.inner.share(out)

    def keep(self, item: Any) -> Any:
        return self.inner.keep(item)

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
            self._refresh()
            if (
                self._batch is not None and self.cache.maxsize != 0
            ):  # what runs here may be the first of its key
                first, items = self._batch
                for index, key, item in zip(
                    range(first, first + len(items)), self._keys(items), items, strict=False
                ):
                    if not isinstance(key, Unhashable):
                        try:
                            self.flying.setdefault(key, Record(key, index, item))
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
        inner, index = self.inner, self.inner.position
        if (
            inner.given_back() or inner.restores
        ):  # what the cache has not got, or is not asked for, is to be run
            return False
        at_hand = inner.at_hand()
        values = (
            self._ask_at_hand(min(count, at_hand)) if at_hand else self._ask_drawing(min(count, self._piece))
        )
        if values:
            self._ledger.keep(index, values)
        return bool(values)

    def _ask_at_hand(self, count: int) -> list[Any]:
        """Ask for the answers of items that are there."""
        inner, index = self.inner, self.inner.position
        listed = type(inner.sequence) in PLAIN
        items: Sequence[Any] = []
        if listed:
            assert inner.sequence is not None
            items = inner.sequence[index : index + count]
            listed = not inner.star or set(map(type, items)) == {tuple}
        if not listed:
            _, items = inner.take(count, pull=False)
        asked = self._given(items)
        calls = (
            starmap(self._through, asked) if self._shape and not self._constants else map(self.call, asked)
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
        return values

    def _ask_drawing(self, count: int) -> list[Any]:
        """Ask for the answers of items that are read one by one; the one that has none is given back."""
        inner, index = self.inner, self.inner.position
        batch = Drawn(inner.items(), count, 0.0, timed=False)
        raised: Exception | None = None
        try:
            self.cache.answered(_refuse, lambda: batch.run(self.call, None), probe=True)
        except Exception as error:
            raised = error
        ended = batch.input_ended()
        inner.drew(batch.begun(), ended=ended, error=raised if ended else None)
        if raised is not None and not ended:
            inner.give_back(index + len(batch.results), [batch.item()])
        # An input that takes its time is not asked for many in one go: others may want to stop the call.
        quick = perf_counter() - batch.start < LONGEST_PIECE
        self._piece = min(PIECE, 4 * count) if quick else max(1, count // 2)
        return batch.results

    def draw(self) -> None:
        """Return None: items are looked at before they run."""

    def take_here(self, count: int) -> tuple[int, Sequence[Any]]:
        index, items = self.take(count)
        if self._given is not _same:
            items = [each.settled() if type(each) is Frozen else each for each in items]
            if self.direct:
                self._batch = index, items
        return index, items

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
        with self.lock:
            last = index + len(items)
            for key, record in list(self.flying.items()):
                if index <= record.index < last:
                    self._release(key, record)

    def _release(self, key: Any, record: Record) -> None:
        """A key is under way no more, and has no answer: those that wait for it are looked at anew."""
        if self.flying.get(key) is record:
            del self.flying[key]
        for index, item in record.waiting or ():
            self.inner.give_back(index, [item])
        record.waiting = None

    def take_rest(self) -> list[tuple[int, Any]]:
        with self.lock:
            rest = [(record.index, record.item) for record in (*self._ready, *self.records.values())]
            for record in self.flying.values():
                rest += record.waiting or ()
        self._ready.clear()
        self._back.clear()
        return rest + self.inner.take_rest()

    def ran(self, index: int, values: list[Any]) -> None:
        """Items have gone through the cache: what waits for one of them has its answer."""
        self._batch = None
        if self.direct:
            return
        last = index + len(values)
        for record in [record for record in self.flying.values() if index <= record.index < last]:
            value = values[record.index - index]
            self.answer(record, value)
            self.handed([record.key], [value])

    def answer(self, record: Record, value: Any) -> None:
        """A task has its answer, and so has what waits for it."""
        with self.lock:
            record.value = value
            waiting, record.waiting = record.waiting, None
        for index, item in waiting or ():
            self.found.append((index, [value], [item], [record.key]))

    def count(self, worker: int | None, tasks: int) -> None:
        """So many tasks have run in a worker, or in this process."""
        self.cache.ran(worker if worker is not None and self._processes else os.getpid(), tasks)

    def handed(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Items have gone through the cache when they were handed out."""
        if not self.flying:
            return
        if self.cache.maxsize is None:
            for key in self.flying.keys() & set(keys):
                del self.flying[key]
            return
        for key, value in zip(keys, values, strict=False):
            if self.flying.pop(key, None) is not None:
                self._known[key] = value
                self._fresh = False
        if len(self._known) > self._most:
            with self.lock:
                self._refresh()

    # looking at items

    def _keys(self, items: Sequence[Any]) -> Iterator[Any]:
        return self.cache.keys(self._given(items), self._before, self._constants, self._shape)

    def _refresh(self) -> None:
        """Learn what the cache knows."""
        self._known = self.cache.known()
        self._fresh = True  # just that, no more: as long as all are known, nothing is evicted
        self._most = 2 * len(self._known) + (self.cache.maxsize or 0) + PIECE

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

    def _sort(self, first: int, items: Sequence[Any]) -> None:  # noqa: PLR0912 - one loop, as quick as can be
        flying, ready, found = self.flying, self._ready, self.found
        known = self._known.get
        keeps = self.cache.maxsize != 0
        all_keys = list(self._keys(items))
        self._seen += len(items)
        if keeps and self._all_known(first, items, all_keys):
            return
        values: list[Any] = []
        keys: list[Any] = []
        before = len(ready)
        for place, (key, item) in enumerate(zip(all_keys, items, strict=True)):
            record: Record | Exception | None = None
            value = MISSING
            if keeps:
                try:
                    value = known(key, MISSING)
                    if value is MISSING:
                        record = flying.get(key)
                        if record is not None:
                            value = record.value
                except Exception as error:  # the arguments have no key
                    record = error
            if value is not MISSING:
                values.append(value)
                keys.append(key)
                continue
            if values:
                end = first + place
                found.append((end - len(values), values, items[place - len(values) : place], keys))
                values, keys = [], []
            if record is None:
                record = Record(key, first + place, item)
                ready.append(record)
                if keeps:
                    flying[key] = record
            elif isinstance(record, Record):
                if record.waiting is None:
                    record.waiting = []
                record.waiting.append((first + place, item))
            else:
                found.append((first + place, record, [item], [key]))
        if values:
            found.append((first + len(items) - len(values), values, items[len(items) - len(values) :], keys))
        if before and len(ready) > before and ready[before].index < ready[before - 1].index:
            self._in_order()
        self._tasks += len(ready) - before

    def _all_known(self, first: int, items: Sequence[Any], keys: list[Any]) -> bool:
        """Put down the answers of items, if the cache has all of them."""
        try:
            answers = list(map(self._known.__getitem__, keys))
        except Exception:  # it has not, or some have no key
            return False
        sure = self.lazy and (self.cache.maxsize is None or self._fresh)
        self.found.append((first, answers, items, () if sure else keys))
        return True

    def _in_order(self) -> None:
        self._ready = deque(sorted(self._ready, key=lambda record: record.index))


class Remembering(Ledger):
    """The ledger of a call over a cached function: tasks come by their numbers, results go by the indexes of their items.

    Args:
        source: the input.
        job: as for ``Ledger``.
        policy: as for ``Ledger``.
        ordered: as for ``Ledger``.
        counts: as for ``Ledger``.
    """

    def __init__(
        self, source: Filtered, job: Job, policy: Policy | None, *, ordered: bool, counts: bool
    ) -> None:
        super().__init__(job, policy, ordered=ordered, counts=counts)
        self.source = source
        self._told: dict[
            int, tuple[Sequence[Any], Sequence[Any], bool]
        ] = {}  # runs that the cache is to hear of
        self._failed: Any = MISSING  # the item whose failure is raised
        self._numbers: dict[
            int, int
        ] = {}  # of tasks that are to be tried again, by the indexes of their items

    # results

    def keep(self, index: int, values: list[Any], *, counted: bool = False) -> None:
        source, records = self.source, self.source.records
        if index not in records:
            source.ran(index, values)
            super().keep(index, values, counted=counted)
            return
        taken = [records.pop(number) for number in range(index, index + len(values))]
        if counted:
            self._set_aside((record.index for record in taken), values)
        source.count(self.worker, len(values))
        start = 0  # of tasks whose items follow each other
        for place, record in enumerate(taken):
            source.answer(record, values[place])
            if record.index - place != taken[start].index - start:
                self._put_tasks(taken[start:place], values[start:place])
                start = place
        self._put_tasks(taken[start:], values[start:])

    def _put_tasks(self, records: list[Record], values: list[Any]) -> None:
        self._put(
            records[0].index, values, [record.item for record in records], [record.key for record in records]
        )

    def _put(self, index: int, values: list[Any], items: Sequence[Any], keys: Sequence[Any]) -> None:
        self._told[index] = items, keys, True
        super().keep(index, values)

    def _settle(self) -> None:
        """Put down what the source has found."""
        found = self.source.found
        while found:
            index, values, items, keys = found.popleft()
            if isinstance(values, Exception):
                self._fail(index, items[0], values, HERE)
            else:
                self._put(index, values, items, keys)

    def take(self) -> list[Any] | None:
        if self.source.found:
            self._settle()
        start = self.next if self.ordered else next(iter(self._runs), None)
        values = super().take()
        told = self._told.pop(start, None) if values is not None and start is not None else None
        if values is None or told is None:
            return values
        items, keys, good = told
        source, cache = self.source, self.source.cache
        if not good:
            cache.tell_failed(lambda: source.call(source._given(items)[0]))
            return values
        if source.lazy:
            source.handed(keys, values)
            return _Told(source, items, values, sure=not keys)  # type: ignore[return-value]
        if self.ordered and self.next in self._runs:
            items, keys, values = self._more(list(items), list(keys), list(values))
        return self._replayed(items, keys, values)

    def _more(
        self, items: list[Any], keys: list[Any], values: list[Any]
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Add the runs that follow, if they are such as can be handed out together."""
        while self.next in self._runs and self.next in self._told and self._told[self.next][2]:
            more = self._told.pop(self.next)
            run = super().take()
            assert run is not None
            values += run
            items += more[0]
            keys += more[1]
        return items, keys, values

    def _replayed(self, items: Sequence[Any], keys: Sequence[Any], values: list[Any]) -> list[Any]:
        """Make the calls of a run to the cache, and return what it gives."""
        source, cache = self.source, self.source.cache
        items = source._given(items)
        if cache.maxsize == 0:  # it has no keys
            return [cache.tell(value, source.call, item) for item, value in zip(items, values, strict=True)]
        answers: dict[Any, Any] = {}

        def only(*_: Any) -> Any:
            return values[0]

        def answer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not answers:
                answers.update(zip(keys, values, strict=True))
            return answers[cache.key(args, kwargs)]

        results: list[Any] = []
        try:
            cache.answered(
                only if len(values) == 1 else answer, lambda: results.extend(map(source.call, items))
            )
        except Exception:  # keys that are no good: equal today, and not tomorrow
            results = values
        source.handed(keys, results)
        return results

    def ready(self) -> bool:
        self._settle()
        return super().ready()

    def partial(self) -> dict[int, Any]:
        self._settle()
        return super().partial()

    # failures

    def fail(self, index: int, item: Any, error: BaseException, where: str) -> None:
        source = self.source
        record = source.records.get(index)
        if record is None:
            source.ran(index, [])
            with source.lock:
                for other in [other for other in source.flying.values() if other.index == index]:
                    source._release(other.key, other)
            super().fail(index, item, error, where)
            if self.failure is not None and self.failure[0] == index:
                self._failed = MISSING  # the cache has counted it
            return
        source.count(self.worker, 1)
        waits = len(self.delayed)
        super().fail(record.index, item, error, where)
        if len(self.delayed) > waits:
            self._numbers[record.index] = index
            return
        del source.records[index]
        with source.lock:
            if source.flying.get(record.key) is record:
                del source.flying[record.key]
            if record.waiting:
                source._ready += [Record(record.key, place, waiting) for place, waiting in record.waiting]
                source._in_order()
            record.waiting = None
        self._mark_failed(record.index, item)

    def _fail(self, index: int, item: Any, error: BaseException, where: str) -> None:
        """An item has failed that has not been a task."""
        self.fail_at(index, item, error, where)
        self._mark_failed(index, item)

    def _mark_failed(self, index: int, item: Any) -> None:
        if index in self._runs:
            self._told[index] = [item], [], False
        elif self.failure is not None and self.failure[0] == index:
            self._failed = item

    def take_due(self) -> list[tuple[int, Any]]:
        return [(self._numbers.pop(index, index), item) for index, item in super().take_due()]

    def fail_at(self, index: int, item: Any, error: BaseException, where: str) -> None:
        super().fail(index, item, error, where)

    def raising(self) -> None:
        failed, self._failed = self._failed, MISSING
        if failed is not MISSING:
            self.source.cache.tell_failed(lambda: self.source.call(given([failed])[0]))


class _Told:
    """Results that go through the cache one by one, as they are taken.

    Args:
        source: the input.
        items: the items.
        values: their answers.
        sure: the cache has them.
    """

    def __init__(self, source: Filtered, items: Sequence[Any], values: list[Any], *, sure: bool) -> None:
        self._sure = sure
        self._source = source
        self._items = source._given(items)
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        call, tell = self._source.call, self._source.cache.tell
        if self._sure:
            yield from map(call, self._items)
            return
        for item, value in zip(self._items, self._values, strict=True):
            try:
                result = tell(value, call, item)
            except Exception:  # a key that is no good: equal today, and not tomorrow
                result = value
            yield result


def _same(items: Sequence[Any]) -> Sequence[Any]:
    return items


def _refuse(*_: Any) -> Any:
    raise Missing
