"""Workers that start warm: what the caches of a function's helpers hold goes to who replaces a worker (``warm_cache=``).

::

    worker ──between chunks, now and then, and before it leaves: its entries──> pool (keeps them, by lane)
    its replacement <──with what it is set up with, at its start──┘   (puts them into its caches when it has the function)

A helper is a function with an ``lru_cache`` that the function calls; ``captured`` finds them. An ``lru_cache`` takes no entries
from outside, so the calls are made: to the cache itself, which misses, keeps and evicts as ever, and for as long as that
takes the function inside has other code, which gives the answer that is there. So nothing is computed, the helper stays the
object that it was, and its ``cache_info`` and ``cache_clear`` are its own; what was put in counts as misses there.

Only in workers, between tasks; ``worker`` loads it when the first function comes that asks for it.
"""

from __future__ import annotations

from _thread import get_ident
from time import perf_counter
from types import FunctionType
from weakref import WeakKeyDictionary

from manyhands.cache import Wrapper
from manyhands.captured.reads import functions_passed
from manyhands.keys import contents, readable
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Name = tuple[str, str]

#: Entries are told to the pool at most once in so many seconds, and in so small a part of a worker's time.
PAUSE, PART = 0.1, 0.02
#: So many bytes of them at most, of all helpers together.
LARGEST = 8 << 20
#: Where the function inside finds the answers while it has other code.
ANSWERS = "__manyhands_answers__"
#: How many entries were put into the caches of helpers here: misses at which nothing was computed.
given: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class Warming:
    """The caches of one worker's helpers.

    Args:
        send: takes what the pool is to keep.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._helpers: dict[Name, tuple[Any, int]] = {}
        self._told = 0  # misses when they were told last
        self._next = 0.0

    def meet(self, function: Any, most: int) -> list[Name]:
        """Have the helpers of a function looked after, and return those that are new.

        Args:
            function: the function.
            most: so many entries of each.
        """
        new = []
        for helper in functions_passed(function):
            if isinstance(helper, Wrapper):
                name = helper.__module__, helper.__qualname__
                before, entries = self._helpers.get(name, (None, 0))
                if before is not helper:  # one that travels by value comes with each function that calls it
                    new.append(name)
                self._helpers[name] = helper, max(most, entries)
        return new

    def fill(self, names: list[Name], heritage: bytes) -> None:
        """Put entries that another worker had into caches, the oldest first.

        Args:
            names: of the helpers.
            heritage: as another worker has sent it.
        """
        found: dict[Name, list[bytes]] = loads(heritage)
        for name in names:
            helper, most = self._helpers[name]
            if name in found:
                fill(helper, found[name][-most:])

    def tell_in_time(self, ready: Callable[[float], object]) -> None:
        """Tell the pool what the caches hold, if they have changed, when it is time and nothing else is to be done.

        Args:
            ready: waits so many seconds for something to do, and tells whether there is.
        """
        while self._misses() != self._told:
            if ready(max(0.0, self._next - perf_counter())) and perf_counter() < self._next:
                return
            self.tell()

    def tell(self) -> None:
        """Tell the pool what the caches hold, if they have changed."""
        misses = self._misses()
        if misses == self._told:
            return
        self._told, start = misses, perf_counter()
        self._send(dumps(self._packed()))
        end = perf_counter()
        self._next = end + max(PAUSE, (end - start) / PART)

    def _misses(self) -> int:
        return sum(helper.cache_info().misses for helper, _ in self._helpers.values())

    def _packed(self) -> dict[Name, list[bytes]]:
        """The entries that can be pickled, those used last rather than others where they are too many."""
        room, packed = LARGEST, {}
        for name, (helper, most) in self._helpers.items():
            entries: list[bytes] = []
            try:
                held = contents(helper)[-most:]
            except Exception:  # a thread of a task's is at it
                continue
            for entry in reversed(held):
                try:
                    frame = dumps(entry)
                except BaseException:  # it stays here
                    continue
                room -= len(frame)
                if room < 0:
                    break
                entries.append(frame)
            packed[name] = entries[::-1]
        return packed


def fill(helper: Any, entries: list[bytes]) -> None:
    """Put entries into the cache of a helper, if that is a function whose code can be taken out.

    Args:
        helper: the function with the ``lru_cache``.
        entries: arguments, keywords and value of each, pickled.
    """
    inner = helper.__wrapped__
    if type(inner) is not FunctionType or inner.__closure__ or not readable():
        return
    answers = Answers(inner)
    with answers:
        for entry in entries:
            try:
                args, kwargs, value = loads(entry)
                answers.put(helper, args, kwargs, value)
            except BaseException:  # of a class that is not what it was, say: it is computed when it is wanted
                continue


class Answers:
    """Other code for a function, for as long as its cache is told what it would compute.

    Args:
        function: the function inside of a cache, without a closure.
    """

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self._before = function.__code__, function.__kwdefaults__
        self._itself = FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__
        )
        self._itself.__kwdefaults__ = function.__kwdefaults__
        self._thread = 0
        self._value: Any = None

    def put(self, helper: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        """Make a call to the cache whose answer is there."""
        self._thread, self._value = get_ident(), value
        try:
            before = helper.cache_info().misses
            helper(*args, **kwargs)
            if helper.cache_info().misses > before:
                given[helper] = given.get(helper, 0) + 1
        finally:
            self._thread, self._value = 0, None

    def give(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the answer; another thread's call is computed."""
        return self._value if get_ident() == self._thread else self._itself(*args, **kwargs)

    def __enter__(self) -> None:
        defaults = self._before[1]
        self._function.__kwdefaults__ = {
            **(defaults or {}),
            ANSWERS: self,
        }  # in this order a call finds both at any moment
        self._function.__code__ = _answering.__code__

    def __exit__(self, *_: object) -> None:
        self._function.__code__, self._function.__kwdefaults__ = self._before


def _answering(*args: Any, __manyhands_answers__: Any, **kwargs: Any) -> Any:
    return __manyhands_answers__.give(args, kwargs)
