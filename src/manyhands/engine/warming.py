"""Workers that start warm: entries are put into the cache of a helper, which another worker's held (``warm_cache=``).

An ``lru_cache`` takes no entries from outside, so the calls are made: to the cache itself, which misses, keeps and evicts as
ever, and for as long as that takes the function inside has other code, which gives the answer that is there. So nothing is
computed, the helper stays the object that it was, and its ``cache_info`` and ``cache_clear`` are its own; what was put in counts
as misses there.

Used by ``helpers``, which tells the pool what caches hold.
"""

from __future__ import annotations

from _thread import get_ident
from types import FunctionType

from manyhands.keys import readable
from manyhands.transport.serialize import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Where the function inside finds the answers while it has other code.
ANSWERS = "__manyhands_answers__"


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
            helper(*args, **kwargs)
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
