"""Which answers a call over a cached function has at hand, and whom they hold for.

An answer that the cache has, or that was computed for an equal item, serves every item that is a *hit* when its turn comes. Where
it is a *miss*, because the entry was evicted, the loop computes again; then the answer holds if that comes to the same: the
arguments are the same all the way down (``keys.same``), and computing leaves no other traces than its answer (it has no random
stream of its own, and adds to no accumulator). What does not hold is told apart by ``Foreseen``: an item that the cache will have
is asked when its turn comes, one that it will have evicted becomes a task at once.

Foreseeing is for speed alone. What is right is decided by the cache, when the turn of an item comes (``Turn``).

Used by ``sorting``, which looks at items, and by ``remembering``, which hands results out.
"""

from __future__ import annotations

from collections import OrderedDict

from manyhands.cache import MISSING
from manyhands.keys import FAST, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Any

    from manyhands.cache import Cache


class Record:
    """One key that is under way in a call.

    Args:
        key: the key.
        index: of the item that is its task.
        item: that item.
        doubtful: the cache may have an answer when its turn comes.
        own: its value is computed from this item; else it comes out of the cache, which may have it of another one.
    """

    __slots__ = ("before", "doubtful", "index", "item", "key", "own", "value", "waiting")

    def __init__(self, key: Any, index: int, item: Any, *, doubtful: bool = False, own: bool = True) -> None:
        self.key = key
        self.index = index
        self.item = item
        self.doubtful = doubtful
        self.own = own
        self.before: Record | None = (
            None  # of an equal item before it, whose answer the cache may have instead
        )
        self.value: Any = MISSING
        self.waiting: list[tuple[int, Any, Any]] | None = None  # items with equal keys: index, item and key


class Deferred:
    """Items that follow each other, whose answers the cache will have when their turn comes: those of all before them are there
    then, and each of these has one of the same key among them, or the cache has had it all along.

    Args:
        index: of the first.
        items: the items.
    """

    __slots__ = ("index", "items")

    def __init__(self, index: int, items: Sequence[Any]) -> None:
        self.index = index
        self.items = items

    def __len__(self) -> int:
        return len(self.items)


class Turn:
    """An item of which only its turn will tell whether it is a hit.

    Args:
        index: of the item.
        item: the item.
        key: its key.
        value: what was computed for it, if anything was.
        failure: what its task has raised, and where, if that has failed.
    """

    __slots__ = ("failure", "index", "item", "key", "value")

    def __init__(
        self, index: int, item: Any, key: Any, value: Any = MISSING, failure: tuple[BaseException, str] | None = None
    ) -> None:  # fmt: skip
        self.index = index
        self.item = item
        self.key = key
        self.value = value
        self.failure = failure


class Answers:
    """The answers at hand.

    Args:
        cache: the cache.
        repeatable: computing the same again comes to the same.
        room: so many more than the cache keeps are remembered before those are let go that it has evicted.
    """

    def __init__(self, cache: Cache, *, repeatable: bool, room: int) -> None:
        self.values: dict[Any, Any] = {}
        #: Those that were let go, as long as items wait for their turn that have been looked at before.
        self.before: dict[Any, Any] = {}
        #: Nothing but what the cache has, and nothing under way: as long as all are known, nothing is evicted.
        self.fresh = False
        self._cache = cache
        self._repeatable = repeatable
        self._room = room
        self._most = 0
        self._origins: dict[Any, Any] = {}  # the keys of the items whose answers these are; not of FAST ones
        self._evicts = cache.maxsize is not None and cache.maxsize > 0
        self._foreseen: Foreseen | None = None  # None: all answers hold

    def learn(self) -> None:
        """Learn what the cache has, and let go of what it has evicted."""
        self.before = self.values
        self.values = self._cache.known()
        self._most = 2 * len(self.values) + (self._cache.maxsize or 0) + self._room
        if self._evicts:
            self._origins = {key: key for key in self.values if type(key) not in FAST}

    def put(self, record: Record, value: Any) -> None:
        """An answer was handed out, and whatever is looked at now comes later.

        Args:
            record: of the key.
            value: the answer.
        """
        key = record.key
        self.values[key] = value
        self.fresh = False
        if type(key) not in FAST:
            self._origins[key] = key if record.own and value is record.value else MISSING

    def full(self) -> bool:
        """Tell whether it is time to learn again."""
        return len(self.values) > self._most and not self.before

    def foresee(self, keys: Sequence[Any], flying: Collection[Any]) -> Foreseen | None:
        """Return what tells which of the next keys the cache will have; None: all answers hold for all of them.

        Args:
            keys: the keys.
            flying: the keys that are under way.
        """
        if self._foreseen is None and self._evicts:
            if self._repeatable and FAST.issuperset(map(type, keys)):
                return None
            if self._has_room(keys, flying):
                return None
            self._foreseen = Foreseen(self._cache.maxsize or 0, [*self._cache.known(), *flying])
        return self._foreseen

    def _has_room(self, keys: Sequence[Any], flying: Collection[Any]) -> bool:
        """Whether the cache will have evicted nothing after all that has been looked at, and these."""
        try:
            new = {key for key in keys if key not in self.values and key not in flying}
        except Exception:  # arguments that have no key
            return False
        there: int = self._cache.lru.cache_info().currsize
        return there + len(flying) + len(new) <= (self._cache.maxsize or 0)

    def hold(self, key: Any, record: Record | None) -> bool:
        """Tell whether an answer holds for an item if that is a miss.

        Args:
            key: of the item.
            record: whose answer it is; None: it is one of ``values``.
        """
        if self._foreseen is None:
            return True
        if not self._repeatable:
            return False
        if type(key) in FAST:
            return True
        origin = self._origins.get(key, MISSING) if record is None else record.key if record.own else MISSING
        return same(origin, key)


class Foreseen:
    """What a cache will have kept after the calls so far, if all of them are good.

    Args:
        maxsize: of the cache.
        keys: those it has, the oldest first.

    Example:
        >>> foreseen = Foreseen(2, ["a", "b"])
        >>> foreseen.use("a"), foreseen.use("c"), foreseen.use("b")
        (True, False, False)
    """

    def __init__(self, maxsize: int, keys: Iterable[Any]) -> None:
        self._maxsize = maxsize
        self._order: OrderedDict[Any, None] = OrderedDict()
        for key in keys:
            self.use(key)

    def use(self, key: Any) -> bool:
        """The next call has this key: tell whether it will be a hit."""
        order = self._order
        if key in order:
            order.move_to_end(key)
            return True
        order[key] = None
        if len(order) > self._maxsize:
            order.popitem(last=False)
        return False
