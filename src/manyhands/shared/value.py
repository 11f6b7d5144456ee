"""``Value``: one number in shared memory, with operations that nobody can come in between.

Reading takes no lock: a number is stored and loaded as a whole, by one instruction, because it is aligned. What changes it
takes the value's lock. ``value.value += 1`` is both, one after the other, and so needs ``with value.lock:`` around it;
``value.add(1)`` does not. No operation leaves a number half done: when a process dies in one, it has happened or it has not.
"""

from __future__ import annotations

from operator import index
from typing import Generic, TypeVar, overload

from manyhands.shared.handles import Handle, found
from manyhands.shared.locks import RLock
from manyhands.shared.mutex import EOWNERDEAD, SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

T = TypeVar("T")

#: What Python's own types are in memory.
_CODES: dict[object, str] = {int: "q", float: "d", bool: "?"}
_WHOLE, _REAL = frozenset("bBhHiIlLqQ"), frozenset("fd")


class Value(Handle, Generic[T]):
    """A number in shared memory, which every process sees as soon as it is changed.

    Args:
        ctype: ``int`` (64 bits, signed), ``float`` or ``bool``; or a type of ``ctypes``, or its code in ``struct`` ("i", "d",
            ...).
        start: the value at the beginning.

    Raises:
        TypeError: there is no such type, or the value is of another.
        OverflowError: the value is outside of what the type can hold.

    Example:
        >>> from manyhands.shared import Value
        >>> best = Value(float, 0.5)
        >>> best.max(0.75), best.max(0.25)
        (0.75, 0.75)
        >>> count = Value(int)
        >>> count.add(3), count.add(-1), count.value
        (3, 2, 2)
        >>> with count.lock:
        ...     count.value *= 10
        >>> count.compare_and_set(20, 0)
        True
    """

    __slots__ = ("_code", "_give", "_lock", "_number", "_take")

    @overload
    def __init__(self: Value[bool], ctype: type[bool], start: bool = ...) -> None: ...
    @overload
    def __init__(self: Value[int], ctype: type[int], start: int = ...) -> None: ...
    @overload
    def __init__(self: Value[float], ctype: type[float], start: float = ...) -> None: ...
    @overload
    def __init__(self: Value[Any], ctype: Any, start: Any = ...) -> None: ...
    def __init__(self, ctype: Any, start: Any = 0) -> None:
        code = _code(ctype)
        start = _converted(code, start)
        self._begin(8 + SIZE, code)
        self._store(start)

    def _attach(self, code: str, *, fresh: bool) -> None:
        self._code = code
        self._number: Any = self._words(code, 0, 1)
        self._lock = found(RLock, self._memory, self._offset + 8, fresh=fresh)
        self._take: Callable[[], int] = self._lock._take
        self._give: Callable[[], int] = self._lock._give

    def _more(self) -> tuple[Any, ...]:
        return (self._code,)

    @property
    def lock(self) -> RLock:
        """An ``RLock`` that goes with the value, for steps that belong together; all methods can be called while it is held.

        Example:
            >>> value = Value(int, 5)
            >>> with value.lock:
            ...     value.set(2 * value.get())
            >>> value
            Value(10)
        """
        return self._lock

    @property
    def value(self) -> T:
        """The number: what it is now, and what it is to be.

        Example:
            >>> flag = Value(bool)
            >>> flag.value = True
            >>> flag.value
            True
        """
        number: T = self._number[0]
        return number

    @value.setter
    def value(self, value: T) -> None:
        self.set(value)

    def get(self) -> T:
        """Return what it is now.

        Example:
            >>> Value(int, 3).get()
            3
        """
        number: T = self._number[0]
        return number

    def set(self, value: T) -> None:
        """Change it, whatever it is now.

        Args:
            value: what it is to be.

        Example:
            >>> value = Value("i")
            >>> value.set(7)
            >>> value
            Value(7)
        """
        value = _converted(self._code, value)
        with self._lock:  # or it could get lost between the reading and the writing of another's add()
            self._store(value)

    def add(self, number: T, /) -> T:
        """Add to it, as one step.

        Args:
            number: how much; it may be negative.

        Returns:
            What it is then.

        Example:
            >>> Value(int, 40).add(2)
            42
        """
        if self._code == "?":
            raise TypeError(
                "a Value of type bool cannot be added to; use an int, or set() and compare_and_set()"
            )
        if type(number) is not int:
            number = _converted(self._code, number)
        busy = -1  # not known: an exception came between taking the mutex and knowing so
        try:
            busy = self._take()
            if busy == EOWNERDEAD:  # a number is whole whenever somebody dies
                self._lock._mutex.repair()
                busy = 0
            elif busy:
                return self._added(number)
            new: T = self._number[0] + number
            self._number[0] = new
            return new
        except (ValueError, TypeError):
            self._refuse(self._number[0] + number if isinstance(number, (int, float)) else number)
        finally:
            if busy == 0:
                self._give()
            elif busy < 0 and not self._lock._is_owned():
                self._lock._undo()

    def max(self, value: T, /) -> T:
        """Make it the greater of the two, as one step.

        Args:
            value: what it is to be at least.

        Returns:
            What it is then.

        Example:
            >>> Value(float, 1.5).max(1.0)
            1.5
        """
        new: T = self._changed(max, value)
        return new

    def min(self, value: T, /) -> T:
        """Make it the smaller of the two, as one step.

        Args:
            value: what it is to be at most.

        Returns:
            What it is then.

        Example:
            >>> Value(float, 1.5).min(1.0)
            1.0
        """
        new: T = self._changed(min, value)
        return new

    def compare_and_set(self, expected: T, new: T) -> bool:
        """Change it if it is what is expected, as one step.

        Args:
            expected: what it has to be.
            new: what it is to become.

        Returns:
            Whether it was, and so has been changed.

        Example:
            >>> taken = Value(bool)
            >>> taken.compare_and_set(False, True), taken.compare_and_set(False, True)
            (True, False)
        """
        with self._lock:
            if self._number[0] != expected:
                return False
            self._store(_converted(self._code, new))
            return True

    def __repr__(self) -> str:
        return f"Value({self._number[0]!r})"

    def _changed(self, function: Callable[[Any, Any], Any], value: Any) -> Any:
        value = _converted(self._code, value)
        with self._lock:
            now = self._number[0]
            new = function(now, value)
            if new != now:
                self._store(_converted(self._code, new))
            return self._number[0]  # as it is held: an int in a float is a float

    def _added(self, number: Any) -> T:
        new: T = self._changed(_sum, number)
        return new

    def _store(self, value: Any) -> None:
        try:
            self._number[0] = value
        except (ValueError, TypeError, OverflowError):
            self._refuse(value)

    def _refuse(self, value: object) -> NoReturn:
        code, size = self._code, self._number.itemsize
        if code in _WHOLE and isinstance(value, int):
            raise OverflowError(
                f"a Value of type {_name(code)} cannot hold {value}: it holds whole numbers of {size} bytes"
                f"{'' if code.islower() else ', none of them negative'}. "
                + ("Use float, or a managed object" if size == 8 else "Use int, which has 8 bytes")
            ) from None
        cure = "Use float, or round it" if code in _WHOLE and isinstance(value, float) else "Convert it"
        raise TypeError(
            f"a Value of type {_name(code)} cannot hold {value!r}, which is of type {type(value).__name__}. {cure}"
        ) from None


def _code(ctype: Any) -> str:
    code = _CODES.get(ctype) if ctype.__hash__ is not None else None
    if code is None:
        # A simple type of ctypes knows its code.
        code = ctype if isinstance(ctype, str) else getattr(ctype, "_type_", None)
    if not isinstance(code, str) or len(code) != 1 or code not in "?" + "".join(_WHOLE | _REAL):
        raise TypeError(
            f"a Value cannot be of type {ctype!r}: it is one number of a fixed size. Use int, float or bool, a ctypes type "
            "such as c_int, or its code; an Array for many numbers, a managed object for anything else"
        )
    return code


def _converted(code: str, value: Any) -> Any:
    """Return the value as memory takes it: numbers of other libraries as Python's own; nothing is rounded or guessed."""
    if code == "?":
        if value in (0, 1):
            return bool(value)
        raise TypeError(f"a Value of type bool cannot hold {value!r}. Use True or False")
    kind = type(value)
    if kind is int or kind is float:
        return value
    for name, convert in (("__index__", index), ("__float__", float)):
        if hasattr(kind, name):
            return convert(value)
    return value


def _sum(first: Any, second: Any) -> Any:
    return first + second


def _name(code: str) -> str:
    return {"q": "int", "d": "float", "?": "bool"}.get(code, repr(code))
