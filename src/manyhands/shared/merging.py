"""How what tasks have added becomes a total, and what a task may do with its part: add to it, and not read it.

A part holds what one task has added, and nothing of the others: who reads it there reads something else than in a loop. So
the part of a number, a counter, a list, a set or a dict only takes (``parts``). An array is the exception (adding to it means
reading it), and what has a ``merge=`` of its own, whose part is the task's own affair.

Parts are merged one by one, in the order of the tasks, also where all tasks run in one process: so floats have the same sum, to
the last bit, with any number of workers and any chunks.
"""

from __future__ import annotations

import operator
import sys
from collections import Counter

from manyhands.exceptions import SharedStateError
from manyhands.shared.parts import Adding, CounterPart, DictPart, ListPart, SetPart, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.shared.identity import Field


class Kind:
    """How values of a type are added up; this one by a function of the user's.

    Args:
        zero: gives a new zero.
        start: gives what the total is to begin with.
        merge: makes one of two, returning it, or None where it has changed the first.
    """

    def __init__(
        self, zero: Callable[[], Any], start: Callable[[], Any], merge: Callable[[Any, Any], Any] | None
    ) -> None:
        self.zero = zero
        self.start = start
        self.merge = merge

    def open(self, field: Field) -> Any:
        """Return the part of a task, to which nothing was added yet."""
        return self.zero()

    def close(self, part: Any) -> Any:
        """Return what a part holds, in the form that travels."""
        return part

    def merged(self, total: Any, share: Any) -> Any:
        """Return a total with what a task has added; it may be changed in place."""
        assert self.merge is not None
        result = self.merge(total, share)
        return total if result is None else result

    def joined(self, part: Any, share: Any) -> Any:
        """Return a part with what a task that this one has called has added."""
        return self.merged(part, share)

    def checked(self, field: Field, value: Any) -> Any:
        """Return a new total if it is one, outside tasks.

        Raises:
            SharedStateError: it is not.
        """
        return value

    def assigned(self, field: Field, part: Any, value: Any) -> Any:
        """Return the part after an assignment in a task, which is what ``+=`` ends with.

        Raises:
            SharedStateError: it was something else.
        """
        return value


class Number(Kind):
    """Numbers are added.

    Args:
        kind: their type.
        start: what the total begins with.
    """

    def __init__(self, kind: type, start: Any) -> None:
        super().__init__(kind, lambda: start, None)
        self._type = kind
        self._start = start

    def open(self, field: Field) -> Any:
        return Adding(field, self._type(), self.checked)

    def close(self, part: Any) -> Any:
        return part._amount

    def merged(self, total: Any, share: Any) -> Any:
        return total + share

    def joined(self, part: Any, share: Any) -> Any:
        part._amount += share
        return part

    def checked(self, field: Field, value: Any) -> Any:
        kind = self._type
        try:
            if type(value) is kind:
                return value
            if kind is int:
                return operator.index(value)
            if not isinstance(value, (str, bytes, bytearray)):
                return kind(value)
        except (TypeError, ValueError, ArithmeticError):
            pass
        cure = (
            f"; declare it as accumulator({type(value).__name__})" if type(value) in (float, complex) else ""
        )
        raise SharedStateError(
            f"{field} adds up {kind.__name__} values and cannot hold {value!r:.60} (a {type(value).__name__}){cure}"
        )

    def assigned(self, field: Field, part: Any, value: Any) -> Any:
        return _same(field, part, value)

    def __reduce__(self) -> Any:
        return Number, (self._type, self._start)


def _same(field: Field, part: Any, value: Any) -> Any:
    if value is not part:
        raise SharedStateError(
            f"{field} is assigned inside a task, where it can only be added to: what one task assigns, the others would not see. "
            "Use += or the methods that add; to begin anew, assign it, or call reset(), outside of tasks"
        )
    return part


class Container(Kind):
    """Counters, lists, sets and dicts, taken in by a method that they have.

    Args:
        kind: the type.
        start: what the total begins with.
    """

    def __init__(self, kind: type, start: Any) -> None:
        super().__init__(kind, start.copy, None)
        self._type = kind
        self._start = start
        self._part, self._plain, self._take = _CONTAINERS[kind]

    def open(self, field: Field) -> Any:
        part = self._part()
        part._field = field
        return part

    def close(self, part: Any) -> Any:
        return self._plain(part)

    def merged(self, total: Any, share: Any) -> Any:
        self._take(total, share)
        return total

    def checked(self, field: Field, value: Any) -> Any:
        if not isinstance(value, self._type):
            raise SharedStateError(
                f"{field} adds up values of type {self._type.__name__} and cannot be {value!r:.60} (a {type(value).__name__})"
            )
        return value

    def assigned(self, field: Field, part: Any, value: Any) -> Any:
        return _same(field, part, value)

    def __reduce__(self) -> Any:
        return Container, (self._type, self._start)


def _plain_counter(part: Any) -> Any:
    part.__class__ = Counter
    del part._field
    return part


#: The part of a task; how it becomes what it is without the refusals; how another one takes that in.
_CONTAINERS: dict[type, tuple[Any, Callable[[Any], Any], Callable[[Any, Any], object]]] = {
    Counter: (CounterPart, _plain_counter, count),
    list: (ListPart, lambda part: list.__getitem__(part, slice(None)), list.extend),
    set: (SetPart, lambda part: set.union(set(), set.__iter__(part)), set.update),
    dict: (DictPart, lambda part: dict(dict.items(part)), dict.update),
}


class Array(Kind):
    """NumPy's arrays are added element by element.

    Args:
        start: what the total begins with.
    """

    def __init__(self, start: Any) -> None:
        numpy: Any = sys.modules["numpy"]
        super().__init__(lambda: numpy.zeros_like(start), start.copy, None)
        self._start = start

    def merged(self, total: Any, share: Any) -> Any:
        total += share
        return total

    def checked(self, field: Field, value: Any) -> Any:
        if getattr(value, "shape", None) != self._start.shape or type(value) is not type(self._start):
            raise SharedStateError(
                f"{field} is an array of shape {self._start.shape} and cannot be {value!r:.60} (a {type(value).__name__})"
            )
        return value

    def assigned(self, field: Field, part: Any, value: Any) -> Any:
        return _same(field, part, value)

    def __reduce__(self) -> Any:
        return Array, (self._start,)


# which it is

_NUMBERS = (int, float, complex)


def kind_of(zero: Any, merge: Callable[[Any, Any], Any] | None) -> Kind:
    """Return how the values of an accumulator are added up.

    Args:
        zero: a type or another function without arguments that gives the zero; or what the total begins with.
        merge: makes one of two; None: as is usual for the type.

    Raises:
        SharedStateError: a type needs ``merge``, or a zero that could be changed would be shared by all tasks.

    Example:
        >>> kind_of(list, None).merged([1], [2])
        [1, 2]
        >>> kind_of(str, None)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        manyhands.exceptions.SharedStateError: accumulator(str): there is no usual way to add up values of type str; say how ...
    """
    made = callable(zero)
    try:
        start = zero() if made else zero
    except TypeError as error:
        raise SharedStateError(
            f"accumulator({zero!r:.60}): it has to give the zero when it is called without arguments ({error}); give a "
            "function that does, as in accumulator(lambda: np.zeros(5))"
        ) from error
    if merge is not None:
        if not callable(merge):
            raise SharedStateError(
                f"accumulator(merge={merge!r:.60}): merge is a function of two values that makes one of them"
            )
        if not made and _changeable(zero):
            raise SharedStateError(
                f"accumulator({zero!r:.60}): the zero could be changed, and would then be another one for the next task; give "
                f"a function that makes it: accumulator(lambda: {zero!r:.60}, merge=...)"
            )
        give = zero if made else _Constant(zero)
        return Kind(give, give, merge)
    number: Any
    for number in _NUMBERS:
        if isinstance(start, number):
            return Number(number, number(start))
    if type(start) in _CONTAINERS:
        return Container(type(start), start)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(start, numpy.ndarray):
            return Array(start)
        if isinstance(start, numpy.number):
            return kind_of(start.item(), None)
    if _adds(start):
        return Number(type(start), start)
    name = type(start).__name__
    given = getattr(zero, "__name__", None) or repr(zero)
    raise SharedStateError(
        f"accumulator({given}): there is no usual way to add up values of type {name}; say how two of them "
        "become one: accumulator(..., merge=lambda a, b: ...)"
    )


class _Constant:
    """A function without arguments that always gives the same."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self) -> Any:
        return self._value


def _adds(value: Any) -> bool:
    """Whether a value is a number of another kind: a fraction, a decimal, a time span."""
    return type(value).__module__ in ("fractions", "decimal", "datetime", "_decimal", "_pydecimal") and (
        hasattr(value, "__abs__")
    )


def _changeable(value: Any) -> bool:
    return getattr(value, "__hash__", None) is None or hasattr(value, "__dict__")
