"""The results of a call over a cached function: by the indexes of their items, each once through the cache when its turn comes.

The other half of ``caching``, which has the drawing: ``Filtered`` numbers tasks apart from items, and this turns the numbers into
indexes again, gives an answer to all that wait for it, and makes each call once more to the cache when it is handed out. Most are
made many at a time, with the answers for those that miss; one whose answer was to be in the cache and is not any more is
looked at anew. Those of which only their turn tells whether they are hits (``Turn``) are made one by one.
"""

from __future__ import annotations

from manyhands.cache import MISSING, Missing
from manyhands.scheduling.answers import Deferred, Turn
from manyhands.scheduling.job import HERE
from manyhands.scheduling.ledger import Ledger
from manyhands.transport.frozen import Frozen
from manyhands.transport.tally import Counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from manyhands.scheduling.answers import Record
    from manyhands.scheduling.caching import Filtered
    from manyhands.scheduling.job import Job
    from manyhands.scheduling.policy import Policy


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
        self._turns: dict[int, Turn] = {}  # by their indexes; their results are not there yet
        self._failed: Any = MISSING  # the item whose failure is raised
        self._numbers: dict[
            int, int
        ] = {}  # of tasks that are to be tried again, by the indexes of their items

    # results

    def keep(self, index: int, values: list[Any], *, counted: bool = False) -> None:
        source, records = self.source, self.source.records
        if index not in records:
            source.ran(
                index,
                [value.value if type(value) is Counted else value for value in values] if counted else values,
            )
            super().keep(index, values, counted=counted)
            return
        taken = [records.pop(number) for number in range(index, index + len(values))]
        if counted:
            self._set_aside((record.index for record in taken), values)
        source.count(self.worker, len(values))
        # In another order than the loop's any task may turn out to be a hit, and then nothing of it is added.
        asks = self.counts and not self.ordered
        start = 0  # of tasks whose items follow each other
        for place, record in enumerate(taken):
            value = values[place]
            source.answer(record, value)
            if record.doubtful or asks:
                self._put_tasks(taken[start:place], values[start:place])
                self._put_off(Turn(record.index, record.item, record.key, value))
                start = place + 1
            elif record.index - place != taken[start].index - start:
                self._put_tasks(taken[start:place], values[start:place])
                start = place
        self._put_tasks(taken[start:], values[start:])

    def _put_tasks(self, records: list[Record], values: list[Any]) -> None:
        if records:
            self._put(
                records[0].index,
                values,
                [record.item for record in records],
                [record.key for record in records],
            )

    def _put(self, index: int, values: list[Any], items: Sequence[Any], keys: Sequence[Any]) -> None:
        self._told[index] = items, keys, True
        super().keep(index, values)

    def _put_off(self, turn: Turn) -> None:
        """Its turn will tell what its result is."""
        self._turns[turn.index] = turn
        self.put(turn.index, [MISSING])

    def _settle(self) -> None:
        """Put down what the source has found."""
        found = self.source.found
        while found:
            first = found.popleft()
            if isinstance(first, Deferred):
                self._runs[first.index] = first
                continue
            if isinstance(first, Turn):
                self._put_off(first)
                continue
            index, values, items, keys = first
            if isinstance(values, Exception):
                self._fail(index, items[0], values, HERE)
            else:
                self._put(index, values, items, keys)

    def take(self) -> list[Any] | None:
        if self.source.found:
            self._settle()
        start = self.next if self.ordered else next(iter(self._runs), None)
        if start in self._turns:
            decided = self._decided(self._turns.pop(start))
            return super().take() if decided else self.take()
        if self.ordered and not self.source.lazy and self._goes_through(self.next):
            return self._together()
        values = super().take()
        told = self._told.pop(start, None) if values is not None and start is not None else None
        if values is None or told is None:
            return values
        items, keys, good = told
        source = self.source
        if not good:
            source.cache.tell_failed(lambda: source.call(items[0]))
            return values
        if source.lazy:
            source.handed(start or 0, keys, values)
            return _Told(source, items, values, sure=not keys)  # type: ignore[return-value]
        results = self._replayed(items, values, [(keys, values)])
        source.handed(start or 0, keys, results)
        return results

    def _goes_through(self, index: int) -> bool:
        """Whether there is a run that the cache is to hear of, or to be asked for."""
        return isinstance(self._runs.get(index), Deferred) or (index in self._told and self._told[index][2])

    def _together(self) -> list[Any] | None:
        """Hand out all that is next: the calls are made to the cache, which has the answers or is given them."""
        start = self.next
        items: list[Any] = []
        values: list[Any] = []  # MISSING: the cache should have it
        runs: list[tuple[int, Any, Any]] = []
        while self._goes_through(self.next) and not (runs and self.counts):
            index, told = self.next, self._told.pop(self.next, None)
            run: Any = super().take()
            items += run.items if told is None else told[0]
            values += [MISSING] * len(run) if told is None else run
            runs.append((index, run, told))
        try:
            results = self._replayed(
                items, values, [(told[1], run) for _, run, told in runs if told is not None]
            )
        except BaseException:  # Ctrl-C: none of it has been handed out, and ``partial`` is asked for it
            self.handed -= self.next - start
            self.next = start
            self._runs.update((index, run) for index, run, _ in runs)
            raise
        if len(results) < len(items):
            self._put_back(start + len(results), runs)
        for index, run, told in runs:
            if told is not None and index < self.next:
                self.source.handed(index, told[1], results[index - start : index - start + len(run)])
        return results or None

    def _put_back(self, index: int, runs: list[tuple[int, Any, Any]]) -> None:
        """An item whose turn had come has no answer: all that were to have theirs from the cache are looked at anew."""
        self.source.plain = False  # whoever empties the cache may do so again
        self.handed -= self.next - index
        self.next = index
        self._turn = min(self._turn, index)  # what is computed now is added when its turn comes
        for first, run, told in runs:
            if told is None and index < first + len(run):
                start = max(first, index)
                self.source.look_again(start, run.items[start - first :])
            elif first > index:
                self._runs[first] = run
                self._told[first] = told

    def _replayed(
        self, items: Sequence[Any], values: Sequence[Any], told: list[tuple[Sequence[Any], Sequence[Any]]]
    ) -> list[Any]:
        """Make calls to the cache, and return what it gives, up to the first whose answer nobody has.

        Args:
            items: what is called with.
            values: their answers as far as they are known; ``MISSING``: the cache should have it.
            told: keys and values of those that are.
        """
        source, cache = self.source, self.source.cache
        if cache.maxsize == 0 or Frozen in set(map(type, items)):
            return self._one_by_one(items, values)
        answers: dict[Any, Any] = {}

        def answer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if len(values) == 1 and values[0] is not MISSING:
                return values[0]
            if not answers:
                for keys, run in told:
                    answers.update(zip(keys, run, strict=True))
            try:
                key = cache.key(args, kwargs)
                value = answers[key] if key in answers else source.answer_of(key)
            except Exception:  # the key is no good
                raise Missing from None
            if value is MISSING:
                raise Missing
            return value

        results: list[Any] = []
        rest = iter(items)
        while len(results) < len(items):
            try:
                cache.answered(answer, lambda: results.extend(map(source.call_plain, rest)))
            except Exception:  # Missing; or a key that is no good: equal today, and not tomorrow
                place = len(results)
                if values[place] is MISSING:
                    break
                results.append(source.tell(values[place], items[place]))
        return results

    def _one_by_one(self, items: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """The same where calls do not tell which items they are for: there are no keys, or they may be others than they were."""
        source, results = self.source, []
        for item, value in zip(items, values, strict=True):
            if value is MISSING:
                (key,) = source._keys([item])
                value = source.answer_of(key)  # noqa: PLW2901 - the one that was missing
                if value is MISSING:
                    break
            results.append(source.tell(value, item))
        return results

    def _decided(self, turn: Turn) -> bool:
        """Ask the cache for an item whose turn has come, and put its result where it is taken from; False: there is none."""
        source, cache, index = self.source, self.source.cache, turn.index
        value = cache.ask(lambda: source.call(turn.item))
        if value is not MISSING:
            self._shares.pop(index, None)  # of a task that the loop would not have had
        elif turn.value is not MISSING:
            value = cache.tell(turn.value, source.call, turn.item)
        else:
            del self._runs[index]
            if turn.failure is not None:
                self._refused(index, turn.item, *turn.failure)
            elif source.over:
                from manyhands.exceptions import TaskTimeoutError

                turn.failure = TaskTimeoutError("the call's deadline came before this task"), "not done"
                self.fail_at(index, turn.item, *turn.failure)
            else:
                if self._done is not None:
                    self._done.discard(index)
                source.again(turn)
            return False
        super().keep(index, [value])
        source.handed(index, [turn.key], [value])
        return True

    def ready(self) -> bool:
        self._settle()
        return super().ready()

    def partial(self) -> dict[int, Any]:
        self._settle()
        source, found = self.source, {}
        for index, run in sorted(self._runs.items()):
            values = map(source.answer_of, source._keys(run.items)) if isinstance(run, Deferred) else run
            found.update({place: value for place, value in enumerate(values, index) if value is not MISSING})
        return found

    # failures

    def fail(self, index: int, item: Any, error: BaseException, where: str) -> None:
        source = self.source
        record = source.records.get(index)
        if record is None:
            source.ran(index, [])
            source.release_here(index, 1)
            super().fail(index, item, error, where)
            if self.failure is not None and self.failure[0] == index:
                self._failed = MISSING  # the cache has counted it
            return
        source.count(self.worker, 1)
        if self.tries_again(record.index, item, error):
            self._numbers[record.index] = index
            return
        del source.records[index]
        source.refuse(record)
        if record.doubtful:
            self._put_off(Turn(record.index, item, record.key, failure=(error, where)))
        else:
            self._refused(record.index, item, error, where)

    def _refused(self, index: int, item: Any, error: BaseException, where: str) -> None:
        """A task has failed for good, and it was to be done."""
        self.failed(index, item, error, where)
        self._mark_failed(index, item)

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
        self._turns.pop(index, None)
        super().fail(index, item, error, where)

    def raising(self) -> None:
        failed, self._failed = self._failed, MISSING
        if failed is not MISSING:
            self.source.cache.tell_failed(lambda: self.source.call(failed))


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
        self._items = items
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        if self._sure:
            yield from map(self._source.call, self._items)
        else:
            yield from map(self._source.tell, self._values, self._items)
