"""What a task holds of an accumulator: a number, a counter, a list, a set or a dict that takes, and gives nothing.

A part holds what one task has added, and nothing of the others: who reads it reads something else than in a loop. So what
would read it raises, and says what to do instead. Used by ``merging``.
"""

from __future__ import annotations

from collections import Counter, _count_elements  # type: ignore[attr-defined]
from collections.abc import Mapping
from itertools import repeat
from operator import add

from manyhands.exceptions import SharedStateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Self

    from manyhands.shared.identity import Field


def _read(field: Field, how: str) -> SharedStateError:
    return SharedStateError(
        f"{field} is read inside a task ({how}), where there is only what this task has added. Add to it there, and read it "
        "after the call, in the process that made it; what tasks are to see of each other goes into value(), array() or managed()"
    )


class Adding:
    """The number that a task adds to: it takes, and gives nothing."""

    __slots__ = ("_amount", "_check", "_field")

    def __init__(self, field: Field, amount: Any, check: Callable[[Field, Any], Any]) -> None:
        self._field = field
        self._amount = amount
        self._check = check

    def __iadd__(self, amount: Any) -> Self:
        self._amount += self._check(self._field, amount)
        return self

    def __isub__(self, amount: Any) -> Self:
        self._amount -= self._check(self._field, amount)
        return self

    def __repr__(self) -> str:
        return f"<what this task adds to {self._field}: {self._amount!r}>"


def _refusing(name: str) -> Any:
    def refuse(self: Any, *_: object, **__: object) -> NoReturn:
        raise _read(self._field, name)

    refuse.__name__ = name
    return refuse


#: What would read a part, among what every object has.
_READING = {
    "__eq__",
    "__format__",
    "__ge__",
    "__gt__",
    "__le__",
    "__lt__",
    "__ne__",
    "__reduce_ex__",
    "__str__",
}


def _refused(bases: tuple[type, ...], left: set[str]) -> dict[str, Any]:
    """What stands for the methods of some types, but for those that are left."""
    names = {name for base in bases for name, value in vars(base).items() if callable(value)}
    return {name: _refusing(name) for name in names - {*vars(object)} - left | _READING}


for _name, _method in _refused((int, float, complex), {"__iadd__", "__isub__"}).items():
    setattr(Adding, _name, _method)


class _Part:
    """A container that takes, and gives nothing."""

    _field: Field

    def __repr__(self) -> str:
        return f"<what this task adds to {self._field}>"


def _taking(base: Any, takes: str, **own: Any) -> Any:
    """Return a subclass of a container, of which only the methods that add are left."""
    refused = _refused(base.__mro__[:-1], {*takes.split(), *own, "__class_getitem__"})
    return type(f"{base.__name__.capitalize()}Part", (_Part, base), {**refused, **own, "__hash__": None})


def count(self: Any, iterable: Any = None, /, **counts: int) -> None:
    """As ``Counter.update``, without looking whether there is anything in it.

    Args:
        self: the counter.
        iterable: what is counted, or a mapping of counts.
        **counts: counts by name.
    """
    if type(iterable) in (dict, Counter):  # what has come from a task; the same as below, in half the time
        present = map(dict.get, repeat(self), iterable, repeat(0))
        dict.update(self, zip(iterable, map(add, iterable.values(), present), strict=True))
    elif isinstance(iterable, Mapping):
        get = dict.get
        for element, number in iterable.items():
            dict.__setitem__(self, element, number + get(self, element, 0))
    elif iterable is not None:
        _count_elements(self, iterable)
    if counts:
        count(self, counts)


def _count_in(self: Any, other: Any) -> Any:
    count(self, other)
    return self


def _take_off(self: Any, other: Any) -> Any:
    self.subtract(other)
    return self


CounterPart = _taking(
    Counter, "subtract get __getitem__ __setitem__ __missing__",
    update=count, __iadd__=_count_in, __isub__=_take_off,
)  # fmt: skip
ListPart = _taking(list, "append extend __iadd__")
SetPart = _taking(set, "add update __ior__")
DictPart = _taking(dict, "__setitem__ update __ior__")
