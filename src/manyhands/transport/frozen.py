"""Items that wait while their iterator is asked for more, which may change what it has given.

A generator may fill one list, or one buffer, again and again, and yield it each time. In a loop that does no harm: each item is
used before the next is made. Whoever reads ahead has to keep an item as it is now: by its type where that is enough, else by
pickling it, which an item that travels needs anyway.

``scheduling.source`` freezes items; backends send the bytes, or open them.
"""

from __future__ import annotations

import sys
from _pickle import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer
    from typing import Any

PROTOCOL = 5
#: Bytes of a buffer that is not copied as long as nobody knows whether it is going to travel.
LARGE = 1 << 20

#: Nothing of these can change, and they hold nothing that could.
IMMUTABLE = frozenset({int, float, complex, str, bytes, bool, type(None), range, type(...)})

#: More of them, by module and name: they are not loaded for this.
_NAMES = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID",),
    "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path"),
    "pathlib._local": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path"),
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"),
    "re": ("Pattern",),
}


def immutable(item: Any) -> bool:
    """Tell whether nothing can change an item, as far as types show.

    Example:
        >>> immutable(("a", 1)), immutable(["a"]), immutable(("a", [1]))
        (True, False, False)
    """
    kind = type(item)
    if kind in IMMUTABLE:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(immutable, item))
    if kind.__name__ in _NAMES.get(kind.__module__, ()):
        return True
    if kind.__module__ == "numpy":  # a number: an array is none of these
        generic = getattr(sys.modules.get("numpy"), "generic", ())
        return isinstance(item, generic) and item.dtype.kind not in "VO"
    about = kind.__dict__.get("__dataclass_params__")
    if about is not None and about.frozen:
        inside = getattr(item, "__dict__", None)
        if inside is None:
            inside = {name: getattr(item, name, None) for name in kind.__dataclass_fields__}
        return all(map(immutable, inside.values()))
    if isinstance(item, tuple) and hasattr(kind, "_fields") and not hasattr(item, "__dict__"):
        return all(map(immutable, item))
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(kind, enum.EnumMeta)


#: Iterators over containers: they run nobody's code, and do not change what is in the container.
_INERT = {
    "builtins": (
        "list_iterator", "list_reverseiterator", "tuple_iterator", "range_iterator", "longrange_iterator", "dict_keyiterator",
        "dict_valueiterator", "dict_itemiterator", "dict_reversekeyiterator", "dict_reversevalueiterator",
        "dict_reverseitemiterator", "set_iterator", "str_iterator", "str_ascii_iterator", "bytes_iterator",
        "bytearray_iterator", "memory_iterator", "odict_iterator",
    ),
    "collections": ("_deque_iterator", "_deque_reverse_iterator"),
    "_collections": ("_deque_iterator", "_deque_reverse_iterator"),
    "array": ("arrayiterator",),
    "itertools": ("repeat", "count"),
}  # fmt: skip


def inert(iterable: Any, iterator: Any) -> bool:
    """Tell whether asking an iterator for its next item changes none that it has given.

    Args:
        iterable: what it iterates over.
        iterator: the iterator.

    Example:
        >>> inert([1], iter([1])), inert({}, iter({})), inert(map(str, [1]), map(str, [1]))
        (True, True, False)
    """
    kind = type(iterator)
    if kind.__name__ in _INERT.get(kind.__module__, ()):
        return True
    whole = type(iterable)  # numpy's arrays are iterated over by index: each item is a view of its own
    return whole.__module__ == "numpy" and whole.__name__ in ("ndarray", "memmap")


class Frozen:
    """An item, and what it was when it was given.

    Args:
        item: the item.
        make: makes its pickle.
        local: the pickle is for this process alone: it may refer to what only this one has.

    Raises:
        Exception: whatever ``make`` raises.

    Example:
        >>> item = [1]
        >>> frozen = Frozen(item, plain, local=True)
        >>> frozen.settled() is item
        True
        >>> item[0] = 2
        >>> frozen.settled()
        [1]
    """

    __slots__ = ("_make", "frame", "item", "key", "local")

    def __init__(self, item: Any, make: Callable[[Any], bytes], *, local: bool) -> None:
        self.item = item
        self.frame = make(item)
        self.local = local
        #: Its key, where it is an argument of a cached function; see ``scheduling.sorting``.
        self.key: Any = None
        self._make = make

    def unchanged(self) -> bool:
        """Tell whether the item is still what it was, as far as that is known."""
        if type(self.frame) is not bytes:  # in shared memory: to compare takes longer than to copy
            return False
        try:
            return self._make(self.item) == self.frame
        except Exception:  # it is something else now, that cannot be pickled
            return False

    def settled(self) -> Any:
        """Return the very item if it is still what it was, else a copy of what it was."""
        return self.item if self.unchanged() else self.opened()

    def opened(self) -> Any:
        """Return a copy of what it was."""
        if type(self.frame) is bytes:
            return loads(self.frame)
        from manyhands.transport.arena import reopened

        return reopened(self.frame)  # type: ignore[arg-type]


def plain(item: Any) -> bytes:
    """Pickle an item for this process; quick, for what can be found by its name, and has no part that is large.

    Raises:
        ValueError: it has one.
    """
    files = sys.modules.get("manyhands.transport.files")
    if files is None and "numpy" in sys.modules:
        from manyhands.transport import files
    if files is None:
        return dumps(item, PROTOCOL, buffer_callback=_small)
    before, files.active.on = files.active.on, files.register()
    try:
        return dumps(item, PROTOCOL, buffer_callback=_small)
    finally:
        files.active.on = before


def _small(buffer: PickleBuffer) -> bool:
    if memoryview(buffer).nbytes > LARGE:
        raise ValueError("too large to be copied for what may not be needed")
    return True


def thorough(item: Any) -> bytes:
    """Pickle an item by whichever way there is."""
    try:
        return dumps(item, PROTOCOL)
    except Exception:
        from manyhands.transport.serialize import dumps as by_any_way

        return by_any_way(item)


def opened(item: Any) -> Any:
    """Return what an item was when it was given, whether or not it is frozen."""
    return item.opened() if type(item) is Frozen else item


def given(items: Any) -> Any:
    """Return the very objects that an iterator has given."""
    return [item.item if type(item) is Frozen else item for item in items]
