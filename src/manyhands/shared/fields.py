"""What is written in the body of a class that ``@shared_state`` decorates: one function for each kind of field.

Accumulators, values, arrays and managed objects are of the type with which they are annotated, as far as a type checker knows.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.shared import Barrier, Condition, Event, Lock, Queue, RLock, Semaphore


def accumulator(zero: Any, *, merge: Callable[[Any, Any], Any] | None = None) -> Any:
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


def value(ctype: Any, start: Any = 0) -> Any:
    """Declare a field that is one number in shared memory, which all processes see as soon as it is changed.

    Reading it gives a ``manyhands.shared.Value``, with ``add``, ``max``, ``min``, ``compare_and_set`` and ``lock``; assigning
    to it sets the number.

    Args:
        ctype: ``int``, ``float`` or ``bool``; or a type of ``ctypes``, or its code in ``struct``.
        start: the value at the beginning.

    Example:
        >>> from manyhands import shared_state, value
        >>> @shared_state
        ... class Search:
        ...     best: float = value(float, 0.0)
        >>> search = Search()
        >>> search.best.max(0.5)
        0.5
        >>> search.best = 0.25
        >>> search.best
        Value(0.25)
    """
    from manyhands.shared.objects import Shared

    return Shared(_value, (ctype, start), _set_value, _Begin(start))


def array(dtype: Any, shape: Any) -> Any:
    """Declare a field that is an array in shared memory: no copies, and all processes see what one writes.

    Args:
        dtype: as for NumPy.
        shape: an int or a tuple of ints.

    Example:
        >>> from manyhands import array, parallel_map, shared_state
        >>> @shared_state
        ... class Grid:
        ...     cells = array("float64", (2, 3))
        >>> grid = Grid()
        >>> @parallel_map
        ... def fill(i):
        ...     grid.cells[i] = i
        >>> _ = fill.map(range(2))
        >>> grid.cells.tolist()
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    from manyhands.shared.objects import Shared

    return Shared(_array, (dtype, shape), _set_array, _clear_array)


def lock() -> Lock:
    """Declare a field that is a lock: picklable anywhere, and released if its holder dies.

    Example:
        >>> from manyhands import lock, shared_state
        >>> @shared_state
        ... class Gate:
        ...     gate = lock()
        >>> with Gate().gate:
        ...     pass
    """
    field: Any = _named("Lock")
    return field  # type: ignore[no-any-return]


def rlock() -> RLock:
    """Declare a field that is a lock which its holder can take again.

    Example:
        >>> from manyhands import rlock, shared_state
        >>> @shared_state
        ... class Gate:
        ...     gate = rlock()
        >>> gate = Gate().gate
        >>> with gate, gate:
        ...     pass
    """
    field: Any = _named("RLock")
    return field  # type: ignore[no-any-return]


def semaphore(value: int = 1) -> Semaphore:
    """Declare a field that is a semaphore: so many may hold it at once; the slot of one that dies is free again.

    Args:
        value: how many.

    Example:
        >>> from manyhands import semaphore, shared_state
        >>> @shared_state
        ... class Site:
        ...     slots = semaphore(2)
        >>> with Site().slots:
        ...     pass
    """
    field: Any = _named("Semaphore", value)
    return field  # type: ignore[no-any-return]


def event() -> Event:
    """Declare a field that is an event: false, until somebody sets it; others wait for that.

    Example:
        >>> from manyhands import event, shared_state
        >>> @shared_state
        ... class Search:
        ...     found = event()
        >>> search = Search()
        >>> search.found.set()
        >>> search.found.wait(1)
        True
    """
    field: Any = _named("Event")
    return field  # type: ignore[no-any-return]


def condition() -> Condition:
    """Declare a field that is a condition: a lock, and waiting for what another holder of it has changed.

    Example:
        >>> from manyhands import condition, shared_state
        >>> @shared_state
        ... class Work:
        ...     news = condition()
        >>> work = Work()
        >>> with work.news:
        ...     work.news.notify_all()
    """
    field: Any = _named("Condition")
    return field  # type: ignore[no-any-return]


def barrier(parties: int) -> Barrier:
    """Declare a field that is a barrier: who comes there waits until so many are there.

    Args:
        parties: how many.

    Example:
        >>> from manyhands import barrier, shared_state
        >>> @shared_state
        ... class Steps:
        ...     step = barrier(1)
        >>> Steps().step.wait()
        0
    """
    field: Any = _named("Barrier", parties)
    return field  # type: ignore[no-any-return]


def queue(maxsize: int = 0) -> Queue:
    """Declare a field that is a queue; closing it ends the loops of its consumers.

    Args:
        maxsize: how many items may wait in it; 0: any number.

    Example:
        >>> from manyhands import queue, shared_state
        >>> @shared_state
        ... class Work:
        ...     jobs = queue()
        >>> jobs = Work().jobs
        >>> jobs.put(1), jobs.put(2), jobs.close()
        (None, None, None)
        >>> list(jobs)
        [1, 2]
    """
    field: Any = _named("Queue", maxsize)
    return field  # type: ignore[no-any-return]


def managed(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """Declare a field that is any object, held by a process of its own: what tasks do to it, all see.

    Each use of it is a message to that process and back. A method call is one step, nobody comes in between; ``with
    state.field:`` keeps the others out for several steps, and is over when its process dies.

    Args:
        kind: ``dict``, ``list``, ``set``, or any class.
        *args: what it is made with.
        **kwargs: what it is made with, by name.

    Raises:
        SharedStateError: it is no class.

    Example:
        >>> from manyhands import managed, parallel_map, shared_state
        >>> @shared_state
        ... class Crawl:
        ...     seen: dict = managed(dict)
        >>> crawl = Crawl()
        >>> @parallel_map(max_workers=2)
        ... def visit(page):
        ...     return crawl.seen.increment(page)
        >>> sorted(visit.map(["a", "b", "a"]))
        [1, 1, 2]
        >>> crawl.seen["a"]
        2
    """
    from manyhands.exceptions import SharedStateError
    from manyhands.shared.managed import assign, clear, make
    from manyhands.shared.objects import Shared

    if not callable(kind):
        raise SharedStateError(
            f"managed({kind!r:.60}): give a class, and what it is made with: managed(dict), managed(list, [1, 2])"
        )
    return Shared(make, (kind, args, kwargs), assign, clear)


# How fields make and change their objects; functions of this module, so that a class that travels by value refers to them.


class _Make:
    """Makes an object of ``manyhands.shared``.

    Args:
        name: of its class.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        from manyhands import shared

        return getattr(shared, self.name)(*arguments)


def _named(name: str, *arguments: Any) -> Any:
    from manyhands.shared.objects import Shared

    return Shared(_Make(name), arguments)


_value, _array = _Make("Value"), _Make("Array")


class _Begin:
    """Sets a value to what it began with.

    Args:
        start: that.
    """

    def __init__(self, start: Any) -> None:
        self.start = start

    def __call__(self, found: Any) -> None:
        found.set(self.start)


def _set_value(found: Any, value: Any) -> None:
    found.set(value)


def _set_array(found: Any, content: Any) -> None:
    shape, given = getattr(found, "shape", None), getattr(content, "shape", None)
    if shape is not None and given is not None and given not in (shape, ()):
        raise ValueError(f"it has the shape {shape}, not {given}")
    found[:] = content


def _clear_array(found: Any) -> None:
    found[:] = [0] * len(found) if not hasattr(found, "shape") else 0
