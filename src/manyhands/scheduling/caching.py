"""What a call does over a function with an ``lru_cache``: each key once, and the figures of the loop.

Two things stand between a call and its input, and its results::

    source ─> Filtered ──tasks: the first of each key──> call ... results ─> Remembering ─> the caller, in order
                  │                                                              │    ▲
                  └── known answers; items that wait for an equal one ───────────┘    └── each once through the cache

``Filtered`` is a source that gives out the first item of each key, and no other. What is known goes straight to the results;
what equals an item that is under way waits for it (``sorting``). Where results are handed out in order and the first failure
ends the call, most items need neither (``Deferred``): when their turn comes, the cache has what they need. ``Answers`` says
whether an answer also holds where the cache will have evicted it; if it does not, the item is a task of its own. The tasks are
numbered apart from the items, so that those of a chunk follow each other whatever lies between their items. ``Remembering`` is
the ledger: it turns these numbers into indexes again, gives an answer to all that wait for it, and, when results are handed out,
makes each call once more to the cache (see ``manyhands.cache``), which counts, keeps and evicts. So a key that the loop would
have evicted and computed again is a miss, but not computed again if an answer is here that holds. A failed item is a miss that
leaves nothing; those that waited for it are tasks of their own then, as in the loop.

As long as no worker takes part, all of this is left out: then items go through the cache itself, here and in their order, which
*is* the loop (``direct``). A call whose answers are all known costs no more than that.

A value is never pickled for a second item, so equal keys give the same object, as they do in the loop. With ``seed=``, the
random stream of a key is that of the item that the loop computes it for. With a checkpoint, items whose results are in the file
do not come this way.

Single calls (``submit``) are joined as well: the later ones wait for the first.
"""

from __future__ import annotations

import os
from itertools import islice, starmap
from time import perf_counter

from manyhands.cache import Unhashable, through
from manyhands.scheduling.answers import Record
from manyhands.scheduling.batch import Drawn
from manyhands.scheduling.job import Job
from manyhands.scheduling.remembering import Remembering
from manyhands.scheduling.sorting import PIECE, Sorting, as_it_was
from manyhands.scheduling.source import PLAIN
from manyhands.transport.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from manyhands.cache import Cache
    from manyhands.scheduling.policy import Policy
    from manyhands.scheduling.source import Source

#: So many items of an iterator are asked for in one go if that has lasted less than so many seconds.
LONGEST_PIECE = 0.020
#: Of an iterator that takes longer than so many seconds to give ``PIECE`` items, fewer are looked at in one go.
QUICK = 0.000_200


class Filtered(Sorting):
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
        super().__init__(source, cache, function, constants, shape, lazy=lazy, dense=dense)
        #: Makes a call to the cache with an item.
        self._through = through(cache, function)
        call = Job(self._through, None, constants, shape, None).here
        self.call: Callable[[Any], Any] = (lambda item: call(as_it_was(item))) if self.wary else call
        #: The same for items none of which is frozen.
        self.call_plain = call
        self.records: dict[int, Record] = {}  # tasks that were given out, by number
        self._dense = dense
        self._processes = processes
        self._back: list[tuple[int, list[Any]]] = []  # tasks that were given back
        self._piece = 64  # so many items are asked for in one go
        #: So many items of a list are looked at in one go: few at first, as workers are waiting.
        self._ahead = 256
        self._number = 0
        #: No task begins any more.
        self.over = False
        self.restores, self.eager = True, source.eager
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
        return rest + self._tasks_here()

    def waiting(self) -> int:
        return self._tasks_here() + self.inner.waiting()

    def at_hand(self) -> int:
        return self._tasks_here() + self.inner.at_hand()

    def _tasks_here(self) -> int:
        """How many tasks there are that have not been given out, or have been given back."""
        return len(self._ready) + sum(len(items) for _, items in self._back)

    def look_ahead(self, count: int, patience: float) -> None:
        if not self._ready:
            self.inner.look_ahead(count, patience)

    def ledger(self, job: Job, policy: Policy | None, *, ordered: bool, counts: bool) -> Remembering:
        self.plain = ordered and policy is None and not counts and not self.lazy and self.cache.maxsize != 0
        self._ledger = Remembering(self, job, policy, ordered=ordered, counts=counts)
        return self._ledger

    def here(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return self.call if self.direct else self.cache.computing(function)

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
        asked = list(map(as_it_was, items)) if self.wary else items
        calls = (
            starmap(self._through, asked) if self._shape and not self._constants else map(self.call, asked)
        )
        values: list[Any] = []
        try:
            self.cache.probe(lambda: values.extend(calls))
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
            self.cache.probe(lambda: batch.run(self.call, None))
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
        if self.wary:
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
            self._look(max(count - len(self._ready), min(self._ahead, known)), pull=pull)
            self._ahead = min(PIECE, 4 * self._ahead)
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

    def tell(self, value: Any, item: Any) -> Any:
        """Make the call of an item to the cache, whose answer is there, and return what it gives.

        Args:
            value: the answer.
            item: the item.
        """
        try:
            return self.cache.tell(value, self.call, item)
        except Exception:  # a key that is no good: equal today, and not tomorrow
            return value

    def count(self, worker: int | None, tasks: int) -> None:
        """So many tasks have run in a worker, or in this process."""
        self.cache.ran(worker if worker is not None and self._processes else os.getpid(), tasks)
