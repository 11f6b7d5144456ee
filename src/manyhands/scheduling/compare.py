"""Where two values differ: the first place, in the words of Python, such as ``result[1]['a']``.

Two values that came about in two processes are never the same object, so identity says nothing, and neither does ``==``
for objects of classes without an ``__eq__``: these are compared by their attributes, or else by their pickles. NaN equals
NaN. Nothing here raises because of the values, whatever their own code does. Used by ``check``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from manyhands.transport.refusal import safe_repr
from manyhands.transport.serialize import dumps, loads

__all__ = ["Mismatch", "mismatch"]

#: Compared by what ``==`` says, and nothing else.
_PLAIN = (str, bytes, bytearray, int, bool, type(None), range, type, ModuleType, BuiltinFunctionType)


class Mismatch(NamedTuple):
    """The first place where two values differ.

    Args:
        place: the place, as an expression.
        here: what the one value has there, shown.
        there: what the other has.
    """

    place: str
    here: str
    there: str


def mismatch(here: object, there: object, place: str) -> Mismatch | None:
    """Return the first place where two values differ, None if they do not.

    Args:
        here: the one value.
        there: the other value.
        place: what to call the values themselves.

    Example:
        >>> mismatch([1, {"a": 2}], [1, {"a": 3}], "result")
        Mismatch(place="result[1]['a']", here='2', there='3')
        >>> mismatch(float("nan"), float("nan"), "result") is None
        True
    """
    try:
        return _Comparison().differ(here, there, place)
    except RecursionError:  # nested too deep to be walked through
        return None if _same_bytes(here, there) else Mismatch(place, safe_repr(here), safe_repr(there))


class _Comparison:
    """Walks through two values side by side; pairs that have been met are taken for equal, so that cycles end."""

    def __init__(self) -> None:
        self._met: dict[tuple[int, int], tuple[object, object]] = {}

    def differ(self, here: Any, there: Any, place: str) -> Mismatch | None:
        if here is there:
            return None
        if type(here) is not type(there):
            names = [f"{safe_repr(value)} (a {type(value).__qualname__})" for value in (here, there)]
            return Mismatch(place, *names)
        if isinstance(here, _PLAIN):
            return None if here == there else self._values(here, there, place)
        if isinstance(here, (float, complex)):
            nan = here != here and there != there  # noqa: PLR0124
            return None if here == there or nan else self._values(here, there, place)
        pair = (id(here), id(there))
        if pair in self._met:
            return None
        self._met[pair] = (here, there)
        try:
            return self._composed(here, there, place)
        except (RecursionError, KeyboardInterrupt):
            raise
        except BaseException:
            return None if _same_bytes(here, there) else self._values(here, there, place)

    def _composed(self, here: Any, there: Any, place: str) -> Mismatch | None:
        if isinstance(here, (list, tuple)):
            return self._items(here, there, place)
        if isinstance(here, Mapping):
            return self._entries(here, there, place)
        if isinstance(here, BaseException):
            return self.differ(here.args, there.args, f"{place}.args") or self.differ(
                _attributes(here), _attributes(there), f"vars({place})"
            )
        if isinstance(here, AbstractSet):
            return None if here == there else self._members(here, there, place)
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(here, (numpy.ndarray, numpy.generic)):
            return self._arrays(numpy, here, there, place)
        if isinstance(here, (FunctionType, MethodType)):
            return None if _same_code(here, there) else self._values(here, there, place)
        kind = type(here)
        if hasattr(kind, "equals") and (hasattr(kind, "dtype") or hasattr(kind, "dtypes")):  # pandas, polars
            return None if here.equals(there) else self._values(here, there, place)
        if _says_equal(here):
            verdict = here == there
            if verdict is True or (verdict is not NotImplemented and bool(verdict)):
                return None
        return self._objects(here, there, place)

    def _values(self, here: object, there: object, place: str) -> Mismatch:
        return Mismatch(place, safe_repr(here), safe_repr(there))

    def _items(self, here: Any, there: Any, place: str) -> Mismatch | None:
        names = getattr(here, "_fields", None) if isinstance(here, tuple) else None
        for index, (one, other) in enumerate(zip(here, there, strict=False)):
            spot = f"{place}.{names[index]}" if names else f"{place}[{index}]"
            found = self.differ(one, other, spot)
            if found:
                return found
        if len(here) != len(there):
            return Mismatch(f"len({place})", str(len(here)), str(len(there)))
        return self._extra(here, there, place)

    def _entries(self, here: Any, there: Any, place: str) -> Mismatch | None:
        if not all(map(_says_equal, here)):  # each key is in one process only: they are compared in order
            keys = self.differ([*here], [*there], f"list({place})")
            return keys or self.differ([*here.values()], [*there.values()], f"list({place}.values())")
        for key, value in here.items():
            spot = f"{place}[{safe_repr(key)}]"
            if key not in there:
                return Mismatch(spot, safe_repr(value), "nothing")
            found = self.differ(value, there[key], spot)
            if found:
                return found
        for key in there:
            if key not in here:
                return Mismatch(f"{place}[{safe_repr(key)}]", "nothing", safe_repr(there[key]))
        return self.differ([*here], [*there], f"list({place})") or self._extra(here, there, place)

    def _extra(self, here: Any, there: Any, place: str) -> Mismatch | None:
        """What a subclass of a container has beside its items."""
        if type(here) in {list, tuple, dict}:
            return None
        return self._parts(_attributes(here), _attributes(there), place)

    def _members(self, here: Any, there: Any, place: str) -> Mismatch | None:
        if not all(map(_says_equal, here)) and sorted(map(dumps, here)) == sorted(map(dumps, there)):
            return None
        for member in here:
            if member not in there:
                return Mismatch(f"{safe_repr(member)} in {place}", "True", "False")
        for member in there:
            if member not in here:
                return Mismatch(f"{safe_repr(member)} in {place}", "False", "True")
        return self._values(here, there, place)

    def _arrays(self, numpy: Any, here: Any, there: Any, place: str) -> Mismatch | None:
        for name in ("dtype", "shape"):
            one, other = getattr(here, name), getattr(there, name)
            if one != other:
                return Mismatch(f"{place}.{name}", str(one), str(other))
        unequal = here != there
        if here.dtype.kind in "fcmM":  # NaN and NaT differ from themselves
            unequal &= ~((here != here) & (there != there))  # noqa: PLR0124
        if not numpy.any(unequal):
            return None
        if here.dtype.kind == "V" and here.tobytes() == there.tobytes():
            return None
        if not here.shape:
            return self._values(here[()], there[()], place)
        spots = numpy.argwhere(unequal)
        if here.dtype.kind == "O":  # what an element's own == says is not the whole truth
            for spot in map(tuple, spots):
                found = self.differ(here[spot], there[spot], f"{place}[{', '.join(map(str, spot))}]")
                if found:
                    return found
            return None
        spot = tuple(spots[0])
        return self._values(here[spot].item(), there[spot].item(), f"{place}[{', '.join(map(str, spot))}]")

    def _objects(self, here: Any, there: Any, place: str) -> Mismatch | None:
        """Objects that say they differ, or say nothing: find the attribute that does."""
        mine, theirs = _attributes(here), _attributes(there)
        if mine or theirs:
            found = self._parts(mine, theirs, place)
            if found or not _says_equal(here):
                return found
        elif type(here) is object:
            return None
        return None if _same_bytes(here, there) else self._values(here, there, place)

    def _parts(self, here: dict[str, Any], there: dict[str, Any], place: str) -> Mismatch | None:
        for name in {**here, **there}:
            if name not in here or name not in there:
                shown = [safe_repr(part[name]) if name in part else "nothing" for part in (here, there)]
                return Mismatch(f"{place}.{name}", *shown)
            found = self.differ(here[name], there[name], f"{place}.{name}")
            if found:
                return found
        return None


def _says_equal(obj: Any) -> bool:
    """Whether the class of an object has an ``__eq__`` of its own."""
    return any("__eq__" in base.__dict__ for base in type(obj).__mro__ if base is not object)


def _attributes(obj: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots included."""
    found = dict(getattr(obj, "__dict__", {}))
    for base in type(obj).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{base.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if name not in {"__dict__", "__weakref__"} and hasattr(obj, mangled):
                found[mangled] = getattr(obj, mangled)
    return found


def _same_code(here: Any, there: Any) -> bool:
    if isinstance(here, MethodType):
        return (
            _same_code(here.__func__, there.__func__) and mismatch(here.__self__, there.__self__, "") is None
        )
    return (here.__module__, here.__qualname__) == (there.__module__, there.__qualname__) and (
        here.__code__ == there.__code__
    )


def _same_bytes(here: object, there: object) -> bool:
    """Whether two values pickle alike, once both have been through a pickle: that evens out what they share inside."""
    try:
        return dumps(loads(dumps(here))) == dumps(loads(dumps(there)))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False
