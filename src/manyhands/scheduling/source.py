"""The input of one call: items in order, pulled no earlier than needed, handed out in runs with the index of the first.

An iterator may change what it has given when it is asked for more: it fills one buffer again and again, say. In a loop each
item has been used by then, and here one rule has the same effect: **while the iterator is asked, whatever waits to be used is
immutable, or frozen** (``transport.frozen``). There are two ways to get at items. ``take`` is for those that travel, and reads
ahead: what is not immutable is pickled as soon as it is there, and these are the bytes that travel. ``draw`` gives this thread
the iterator, to ask for an item when the task before has ended; nothing waits then, and nothing is pickled. What has been
read ahead and is to run here after all is *settled* before: it is the very object again if that is still what it was, else a
copy of what it was. Threads share objects with the iterator while they are at work: ``sharing`` is about that.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import itemgetter
from time import perf_counter

from manyhands.scheduling.ledger import Ledger
from manyhands.transport.frozen import IMMUTABLE, LARGE, Frozen, immutable, inert, plain, thorough

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from manyhands.scheduling.job import Job
    from manyhands.scheduling.policy import Policy
    from manyhands.scheduling.sharing import Sharing

#: Of these, any thread may take items: indexing them runs nobody's code.
PLAIN = (list, tuple, range)


class Tail(Sequence):  # type: ignore[type-arg]
    """The items of a list or tuple from some index on, without a copy: copying would cost a twentieth of a cheap loop.

    Args:
        whole: the list or tuple.
        start: the index of the first item.
    """

    def __init__(self, whole: Sequence[Any], start: int) -> None:
        self._whole = whole
        self.start = start

    def __len__(self) -> int:
        return len(self._whole) - self.start

    def __getitem__(self, place: Any) -> Any:
        return self._whole[self.start :][place]

    def __iter__(self) -> Any:
        iterator = iter(self._whole)
        iterator.__setstate__(self.start)  # type: ignore[attr-defined]
        return iterator


class Source:
    """The items of a call.

    Items come from one iterable, or are the tuples of several in parallel, as far as the shortest goes. An iterator is
    pulled only by the thread that made the call; what was pulled, and everything of a list, tuple or range, may be taken
    by another.

    Args:
        iterables: the iterables, at least one.
        star: items are iterables of arguments, as for ``starmap``; they are handed out as tuples.

    Raises:
        TypeError: one of them is not iterable.
    """

    def __init__(self, iterables: Sequence[Iterable[Any]], *, star: bool = False) -> None:
        self.star = star
        self.sequence: Sequence[Any] | None = None
        self.total: int | None = None
        self.position = 0  # the index of the next item to hand out
        self.exhausted = False
        self.error: BaseException | None = None  # what the iterator raised instead of its next item
        self._pulled: deque[Any] = deque()
        self._returned: list[tuple[int, list[Any]]] = []
        #: Makes the bytes that travel of an item; None: there is nowhere to go yet.
        self.freeze: Callable[[Any], bytes] | None = None
        self._wary = False  # the iterator may change what it has given
        self._loose = False  # of what waits, something may neither be immutable nor frozen
        self._stuck = False  # the last that waits cannot be frozen: no more is read until it is gone
        if len(iterables) == 1 and type(iterables[0]) in PLAIN:
            try:
                self.total = len(iterables[0])  # type: ignore[arg-type]
            except OverflowError:  # a range longer than any memory: as good as endless
                pass
            else:
                self.sequence = iterables[0]  # type: ignore[assignment]
                return
        for place, iterable in enumerate(iterables):
            if not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
                raise TypeError(
                    f"map needs iterables, but argument {place} is {iterable!r:.60} (a {type(iterable).__name__}); "
                    "a value that is the same for every call goes in as a keyword"
                )
        iterators = [iter(iterable) for iterable in iterables]
        self._wary = not all(map(inert, iterables, iterators))
        self._iterator = iterators[0] if len(iterators) == 1 else zip(*iterators, strict=False)
        try:
            self.total = min(len(iterable) for iterable in iterables)  # type: ignore[arg-type]
        except Exception:  # none, or whatever a __len__ of somebody's raises: the loop does not ask for it
            pass

    #: The results of some items may be there already: then ``restore`` is asked, before tasks are begun.
    restores = False
    #: Results are wanted as soon as they are there, not only when there are many.
    eager = False

    #: The items that are taken follow each other, and their indexes are those of the input.
    direct = True

    #: Items are looked at when they have been read, and before the next is: one that is not immutable ends a run.
    looked_at = False

    #: Is told of each item that is frozen, when it is.
    note: Callable[[Frozen], object] | None = None

    #: What is known of an iterator whose very objects tasks in threads get.
    sharing: Sharing | None = None

    #: The input must not be at work between two tasks that run here, as they have a random state of their own.
    apart = False

    def ledger(self, job: Job, policy: Policy | None, *, ordered: bool, counts: bool) -> Ledger:
        """Return a ledger for the tasks of this input; arguments as ``Ledger``."""
        return Ledger(job, policy, ordered=ordered, counts=counts)

    def here(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what to call in this process with the items that were taken last, in place of the function."""
        return function

    def engage(self) -> None:
        """Workers take part from now on."""

    def travel(self, freeze: Callable[[Any], bytes]) -> None:
        """Items are going to travel: ``freeze`` makes the bytes of one."""
        self.freeze = freeze
        self._loose = self._wary

    def share(self, out: Callable[[], Iterable[Any]]) -> None:
        """Tasks in threads are going to have the very objects: ``out`` gives the items of all that are out."""
        if (
            self._wary and self.looked_at
        ):  # they wait elsewhere, too: tasks get copies of those that can be copied
            self.travel(thorough)
        elif self._wary:
            from manyhands.scheduling.sharing import Sharing

            self.sharing = Sharing(self, out)

    def keep(self, item: Any) -> Any:
        """Freeze the item of a task that has run here, and is to be remembered when more has been read."""
        if not self._wary or immutable(item) or (self.sharing is not None and not self.sharing.refills):
            return item
        try:
            return Frozen(item, plain, local=True)
        except Exception:  # then it is what becomes of it
            return item

    def begin(self, put: Callable[[int, list[Any]], object]) -> None:
        """The call begins.

        Args:
            put: takes results that are there already: the index of the first, and the results.
        """

    def restore(self, room: int) -> bool:
        """Pull some of the next items, as long as none waits to be run, and put the results that are there.

        Args:
            room: how many items at most.

        Returns:
            Whether any were pulled.
        """
        return False

    def remaining(self) -> int | None:
        """Items not handed out yet; None when nobody can know."""
        if self.exhausted:
            return self.at_hand()
        return None if self.total is None else max(0, self.total - self.position) + self.given_back()

    def drained(self) -> bool:
        """Tell whether everything has been handed out."""
        if self._returned or self._pulled:
            return False
        return self.position >= len(self.sequence) if self.sequence is not None else self.exhausted

    def take(self, count: int, *, pull: bool = True) -> tuple[int, Sequence[Any]]:
        """Hand out up to ``count`` items that follow each other, to be sent: what is not immutable is ``Frozen``.

        Args:
            count: how many at most.
            pull: the iterator may be asked for more; only in the thread that made the call.

        Returns:
            The index of the first, and the items; none when there are none to be had.
        """
        if self._loose:
            self._freeze_waiting()
        if pull and self.sequence is None and not self._returned and len(self._pulled) < count:
            self._pull(count - len(self._pulled))
        return self._hand_out(count, whole=pull)

    def take_here(self, count: int) -> tuple[int, Sequence[Any]]:
        """Hand out up to ``count`` items that follow each other, to be run in this thread before anything more is read.

        Args:
            count: how many at most.

        Returns:
            As ``take``, with the items as the loop would have them.
        """
        if not self.at_hand():
            self._pull(count)
        self._settle()
        return self._hand_out(count, whole=True)

    def draw(self) -> Iterator[Any] | None:
        """Return the iterator, to be asked by this thread whenever the task before has ended; ``drew`` says what came of it.

        Returns:
            None where there are items that have been read already, or need not be, or must be before tasks run.
        """
        if self.sequence is not None or self.exhausted or self._pulled or self._returned:
            return None
        if self.looked_at or self.apart:
            return None
        return self.items()

    def drew(self, count: int, *, ended: bool, error: BaseException | None = None) -> None:
        """So many items have been drawn.

        Args:
            count: how many.
            ended: there are no more.
            error: what the iterator has raised in place of the next.
        """
        self.position += count
        if ended:
            self.exhausted, self.error = True, error

    def _hand_out(self, count: int, *, whole: bool) -> tuple[int, Sequence[Any]]:
        """Hand out items that are at hand; ``whole``: all that is left of a list may be given as it is."""
        if self._returned:
            index, items = self._returned.pop(0)
            if len(items) > count:
                self._returned.insert(0, (index + count, items[count:]))
            return index, items[:count]
        index = self.position
        if self.sequence is not None:
            if index + count >= self.total and whole and not self.star and type(self.sequence) is not range:  # type: ignore[operator]
                found: Sequence[Any] = Tail(self.sequence, index)
            else:
                found = self.sequence[index : index + count]
        else:
            found = [self._pulled.popleft() for _ in range(min(count, len(self._pulled)))]
        self.position += len(found)
        return index, [_arguments(item) for item in found] if self.star and not self._wary else found

    def take_rest(self) -> list[tuple[int, Any]]:
        """Hand out all that can be had without asking an iterator, index and item; nothing comes after it."""
        rest = []
        while self.at_hand():
            index, items = self.take(self.at_hand(), pull=False)
            rest += list(enumerate(items, index))
        self.exhausted = True
        return rest

    def look_ahead(self, count: int, patience: float) -> None:
        """Pull up to ``count`` items without handing them out, unless the iterator takes its time."""
        if self.sequence is not None or (self.looked_at and self._wary and self._changeable()):
            return
        start, burst = perf_counter(), 1
        while len(self._pulled) < count and perf_counter() - start < patience:
            if not self._pull(min(burst, count - len(self._pulled))):
                return
            burst *= 2  # as many again take about as long again

    def _changeable(self) -> bool:
        """Whether something waits that may change when more is read; nothing has been read after it."""
        return not all(immutable(items[-1]) for items in self._waiting_lists() if items)

    def waiting(self) -> int:
        """How many tasks have been read and are not handed out."""
        return self.given_back()

    def at_hand(self) -> int:
        """How many items can be taken without asking an iterator for them."""
        found = len(self._pulled) if self.sequence is None else len(self.sequence) - self.position
        return found + self.given_back()

    def given_back(self) -> int:
        """How many items were handed out before, and are to be again; nothing after them comes before them."""
        return sum(len(items) for _, items in self._returned)

    def first(self) -> int:
        """The index of the first item that is not handed out, or is to be again."""
        return self._returned[0][0] if self._returned else self.position

    def give_back(self, index: int, items: Sequence[Any]) -> None:
        """Take items back that were handed out and not run."""
        insort(
            self._returned, (index, list(items)), key=itemgetter(0)
        )  # those that were first are first again
        self._loose = self._wary

    def release(self) -> None:
        """Let go of the input: a generator that nobody else holds is closed now, not when the last task has ended."""
        self._iterator = iter(())
        self._pulled.clear()
        self.sharing = None  # which knows the source

    def _pull(self, count: int) -> bool:
        """Ask the iterator for so many items, and have them wait; tell whether it may be asked for more."""
        items, more = self._read(count)
        self._pulled.extend(items)
        return more

    def _read(self, count: int) -> tuple[list[Any], bool]:
        """Ask the iterator for so many items; the second: whether it may be asked for more."""
        items: list[Any] = []
        if self.exhausted or (self._stuck and self._pulled):
            return items, False
        try:
            if not self._wary:
                items.extend(islice(self._iterator, count))
            elif self.sharing is not None and not self.sharing.refills:
                if not self.sharing.read(count, items):
                    return items, False
            elif not self._read_warily(count, items):
                return items, False
        except Exception as error:
            self.exhausted, self.error = True, error
        self.exhausted = self.exhausted or len(items) < count
        return items, not self.exhausted

    def _read_warily(self, count: int, items: list[Any]) -> bool:
        """Read so many items, none of which changes any more when the next is read; tell whether to go on."""
        if self._loose:
            self._freeze_waiting()
        self._stuck = False
        append, plain_types = items.append, IMMUTABLE
        for item in islice(self.items(), count):
            if type(item) in plain_types or immutable(item):
                append(item)
                continue
            append(self._frozen(item))
            if self._stuck or self.looked_at or (self.apart and self.freeze is None):
                return False
        return True

    def items(self) -> Iterator[Any]:
        """Return the iterator, with the items as they are handed out."""
        return map(_arguments, self._iterator) if self.star else self._iterator

    @property
    def waiting_items(self) -> deque[Any]:
        """What was read and is not handed out, in the order of the input; what was given back is apart."""
        return self._pulled

    def holds_back(self, *, here: bool = False) -> bool:
        """Tell whether nothing may be read as long as tasks are out: they share what they have with the iterator.

        Args:
            here: to be run in this thread, and not to be handed over.
        """
        sharing = self.sharing
        if sharing is None:
            return False
        if here and sharing.met:
            return not self.at_hand()
        return sharing.learning() or (sharing.refills and self._stuck)

    def _frozen(self, item: Any) -> Any:
        """Freeze an item; one that cannot be is returned as it is, and must be used before more is read."""
        frozen = None
        try:
            if self.freeze is not None:
                frozen = Frozen(item, self.freeze, local=False)
            elif getattr(item, "nbytes", 0) <= LARGE:
                frozen = Frozen(item, plain, local=True)
        except Exception:  # when it is sent it is refused with its name
            pass
        if frozen is None:
            self._stuck = True
            return item
        if self.note is not None:
            self.note(frozen)
        return frozen

    def _waiting_lists(self) -> Iterator[Any]:
        yield self._pulled
        for _, items in self._returned:
            yield items

    def _freeze_waiting(self) -> None:
        """More is going to be read: freeze what waits."""
        if self.sharing is not None and not self.sharing.refills:
            return
        self._loose = False
        for items in self._waiting_lists():
            for place, item in enumerate(items):
                if type(item) is not Frozen and not immutable(item):
                    items[place] = self._frozen(item)

    def _settle(self) -> None:
        """Tasks are going to run here: have what waits as the loop would, and not as it was before these tasks."""
        if not self._wary:
            return
        for items in self._waiting_lists():
            for place, item in enumerate(items):
                if type(item) is Frozen:
                    items[place] = item.settled()
                    self._loose = True


def _arguments(item: Any) -> Any:
    """An item of ``starmap`` as a tuple; what raises instead raises when its turn has come."""
    if type(item) is tuple:
        return item
    try:
        return tuple(item)
    except TypeError:
        return item
    except Exception as error:
        return FailedItem(error)


class FailedItem:
    """Stands for an item of ``starmap`` that cannot be unpacked.

    Args:
        error: what it raises.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Any:
        raise self.error

    def __repr__(self) -> str:
        return f"<an item that raises {type(self.error).__name__}>"
