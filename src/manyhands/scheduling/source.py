"""The input of one call: items in order, pulled no earlier than needed, handed out in runs with the index of the first."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import itemgetter
from time import perf_counter

from manyhands.scheduling.ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from manyhands.scheduling.job import Job
    from manyhands.scheduling.policy import Policy

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
        self._iterator = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
        try:
            self.total = min(len(iterable) for iterable in iterables)  # type: ignore[arg-type]
        except Exception:  # none, or whatever a __len__ of somebody's raises: the loop does not ask for it
            pass

    #: The results of some items may be there already: then ``restore`` is asked, before tasks are begun.
    restores = False

    #: The items that are taken follow each other, and their indexes are those of the input.
    direct = True

    def ledger(self, job: Job, policy: Policy | None, *, ordered: bool, counts: bool) -> Ledger:
        """Return a ledger for the tasks of this input; arguments as ``Ledger``."""
        return Ledger(job, policy, ordered=ordered, counts=counts)

    def here(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what to call in this process with the items that were taken last, in place of the function."""
        return function

    def engage(self) -> None:
        """Workers take part from now on."""

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
        """Hand out up to ``count`` items that follow each other.

        Args:
            count: how many at most.
            pull: the iterator may be asked for more; only in the thread that made the call.

        Returns:
            The index of the first, and the items; none when there are none to be had.
        """
        if self._returned:
            index, items = self._returned.pop(0)
            if len(items) > count:
                self._returned.insert(0, (index + count, items[count:]))
            return index, items[:count]
        index = self.position
        if self.sequence is not None:
            if index + count >= self.total and pull and not self.star and type(self.sequence) is not range:  # type: ignore[operator]
                found: Sequence[Any] = Tail(self.sequence, index)
            else:
                found = self.sequence[index : index + count]
        else:
            if pull and len(self._pulled) < count:
                self._pull(count - len(self._pulled))
            found = [self._pulled.popleft() for _ in range(min(count, len(self._pulled)))]
        self.position += len(found)
        return index, [_arguments(item) for item in found] if self.star else found

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
        if self.sequence is not None:
            return
        start, burst = perf_counter(), 1
        while len(self._pulled) < count and not self.exhausted and perf_counter() - start < patience:
            self._pull(min(burst, count - len(self._pulled)))
            burst *= 2  # as many again take about as long again

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

    def release(self) -> None:
        """Let go of the input: a generator that nobody else holds is closed now, not when the last task has ended."""
        self._iterator = iter(())
        self._pulled.clear()

    def _pull(self, count: int) -> None:
        if self.exhausted:
            return
        before = len(self._pulled)
        try:
            self._pulled.extend(islice(self._iterator, count))
        except Exception as error:
            self.exhausted, self.error = True, error
            return
        if len(self._pulled) - before < count:
            self.exhausted = True


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
