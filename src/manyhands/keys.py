"""The keys of cached calls, by the rules of ``lru_cache``: what makes one, when two are the same, how one looks in every process.

Two calls find the same entry when their keys are *equal*: ``1`` and ``1.0`` and ``True`` are, in a tuple. They are the *same*
when the function gets the same to see: of equal arguments a function may make different things, and where the loop would compute
again, it would compute with these. ``canonical`` gives bytes that are equal where keys are, in whichever process, whatever
seed its hashes have.

An ``lru_cache`` shows its table to the garbage collector, and so to ``gc.get_referents``, the oldest entry first. ``readable``
tries that once.

Used by ``cache``, ``scheduling`` and ``sharedcache``; knows nothing of them.
"""

from __future__ import annotations

import functools
import gc
import sys
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Single arguments of these types are their own keys, as for ``lru_cache``; what equals such a key is the same.
FAST = frozenset({int, str})
#: Equal values of one of these types are the same.
_PLAIN = frozenset({int, str, bytes, bool})
#: A number with a larger exponent is not written out.
_EXPONENT = 5_000


class Keywords:
    """Stands between arguments and keywords in keys, where they have to be found in other processes."""


class Then:
    """A key as it was when it was looked at, where what it is made of may change: it is found by the hash that it had.

    So is a key in a dictionary. Of two that had the same hash, what they are made of tells whether they are equal: the very same
    object is, whatever it holds by now.

    Args:
        key: the key.

    Raises:
        TypeError: it cannot be hashed.

    Example:
        >>> Then(("a",)) == ("a",), {("a",): 1}[Then(("a",))]
        (True, 1)
    """

    __slots__ = ("_hash", "key")

    def __init__(self, key: Any) -> None:
        self.key = key
        self._hash = hash(key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return bool(self.key == (other.key if isinstance(other, Then) else other))

    def holds(self) -> bool:
        """Tell whether it would be found by what it is made of, as that is now."""
        key = self.key
        try:
            # A tuple of its own: since 3.14 they remember their hashes.
            return hash((*key,) if type(key) is tuple else key) == self._hash
        except Exception:
            return False


def make_key(args: tuple[Any, ...], kwargs: dict[str, Any], *, typed: bool, mark: Any = Keywords) -> Any:
    """Return the key of a call, equal for the calls for which ``lru_cache`` finds the same entry.

    Source: ``lru_cache_make_key`` in CPython's ``Modules/_functoolsmodule.c``.

    Args:
        args: positional arguments.
        kwargs: keyword arguments, in their order.
        typed: arguments of different types are different.
        mark: what stands between arguments and keywords.

    Example:
        >>> make_key((1,), {}, typed=False), make_key((1.0,), {}, typed=False), make_key((1,), {}, typed=True)
        (1, (1.0,), (1, <class 'int'>))
    """
    if not kwargs and not typed:
        return args[0] if len(args) == 1 and type(args[0]) in FAST else args
    key = (*args, mark, *chain.from_iterable(kwargs.items())) if kwargs else args
    return (*key, *map(type, args), *map(type, kwargs.values())) if typed else key


def same(one: Any, other: Any) -> bool:
    """Tell whether two equal keys are the same all the way down; False as well where that cannot be seen.

    Args:
        one: a key.
        other: a key that equals it.

    Example:
        >>> same((1, "a"), (1, "a")), same((1, "a"), (True, "a")), same((0.0,), (-0.0,))
        (True, False, False)
    """
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _PLAIN:
        return True
    if kind is tuple:
        kinds = list(map(type, one))
        if kinds == list(map(type, other)) and _PLAIN.issuperset(kinds):
            return True
        return all(map(same, one, other))
    return (kind is float or kind is complex) and repr(one) == repr(other)  # zeros have signs


def refusal(key: Any, error: Exception) -> Exception:
    """Return what ``lru_cache`` raises of a key that cannot be looked up; newer Pythons' dictionaries say it in other words.

    Args:
        key: the key.
        error: what looking it up in a dictionary has raised.

    Example:
        >>> refusal(([],), KeyError())
        TypeError("unhashable type: 'list'")
    """
    try:
        hash(key)
    except Exception as plain:
        return plain
    return error


# in other processes


def canonical(value: Any, other: Callable[[Any], bytes | None]) -> bytes | None:
    """Return bytes that are equal for equal keys and their parts, and different for different ones.

    Args:
        value: a key, or a part of one.
        other: gives the bytes of what is no number, no text and no tuple or frozenset of such; None: it has none.

    Returns:
        The bytes; None: nothing is equal to this in another process.

    Example:
        >>> canonical((1, "a"), lambda _: None) == canonical((True, "a"), lambda _: None)
        True
        >>> canonical(float("nan"), lambda _: None)
    """
    kind = type(value)
    if value is Keywords:
        return b"*"
    if isinstance(value, str) and _as(kind, str):
        return _framed(b"s", str.encode(value, "utf-8", "surrogatepass"))
    if isinstance(value, bytes) and _as(kind, bytes):
        return _framed(b"b", bytes(value))
    if isinstance(value, tuple) and _as(kind, tuple):
        return _joined(b"(", [canonical(part, other) for part in tuple.__iter__(value)])
    if isinstance(value, frozenset) and _as(kind, frozenset):
        parts = [canonical(part, other) for part in frozenset.__iter__(value)]
        return _joined(b"{", parts if None in parts else sorted(parts))  # type: ignore[type-var]
    if any(isinstance(value, number) and _as(kind, number) for number in _numbers()):
        return _number(value)
    found = other(value)
    return None if found is None else _framed(b"o", found)


def _as(kind: type, base: Any) -> bool:
    """Whether a type compares its values as its base does."""
    return kind is base or (kind.__eq__ is base.__eq__ and kind.__hash__ is base.__hash__)


def _framed(tag: bytes, data: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(data), data)


def _joined(tag: bytes, parts: list[bytes | None]) -> bytes | None:
    found = [part for part in parts if part is not None]
    return _framed(tag, b"".join(found)) if len(found) == len(parts) else None


def _numbers() -> list[Any]:
    """The types of numbers that equal each other, as far as they are loaded."""
    homes = (("decimal", "Decimal"), ("fractions", "Fraction"))
    return [
        int,
        float,
        complex,
        *(getattr(sys.modules[home], name) for home, name in homes if home in sys.modules),
    ]


def _number(value: Any) -> bytes | None:
    if isinstance(value, complex):
        if value.imag:
            return _joined(b"c", [_number(value.real), _number(value.imag)])
        value = value.real
    if value != value:  # noqa: PLR0124 - not a number
        return None
    if isinstance(value, int):
        return b"n%x/1;" % value
    if not isinstance(value, float) and hasattr(value, "as_tuple"):
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and abs(exponent) > _EXPONENT:
            return None
    try:
        return b"n%x/%x;" % value.as_integer_ratio()
    except OverflowError:
        return b"n+;" if value > 0 else b"n-;"


# of an lru_cache


def table(lru: Any) -> tuple[dict[Any, Any], Any]:
    """Return what an ``lru_cache`` knows, and what it puts between arguments and keywords.

    Args:
        lru: the function with the cache.

    Raises:
        LookupError: that cannot be seen.
    """
    found = gc.get_referents(lru)
    for place in range(len(found) - 1, 0, -1):
        if found[place] is lru.__wrapped__ and type(found[place - 1]) is dict:
            break
    else:
        raise LookupError
    known, links = found[place - 1], found[1 : place - 1]
    if lru.cache_parameters()["maxsize"] is not None:
        # Keys that have changed find something else now, or nothing: in another dictionary they would find their own value.
        held = {id(key) for key, link in known.items() if type(key) in FAST or _finds(known, key, link)}
        pairs = zip(links[0::3], links[1::3], strict=True)  # key and value; the third is the type of the link
        known = {key: value for key, value in pairs if id(key) in held}
    return known, found[place + 1]


def _finds(known: dict[Any, Any], key: Any, link: Any) -> bool:
    try:
        return known.get(key) is link
    except Exception:  # what keys do when they are compared
        return False


def entries(lru: Any) -> list[Any]:
    """Return the keys that an ``lru_cache`` has entries of, as it has them; see ``unmarked``.

    Args:
        lru: the function with the cache.
    """
    return list(table(lru)[0]) if readable() and lru.cache_parameters()["maxsize"] != 0 else []


def unmarked(key: Any) -> Any:
    """Return a key with ``"**"`` where ``lru_cache`` marks the beginning of keywords: that mark is another in each process.

    Args:
        key: the key.
    """
    return tuple("**" if part is mark() else part for part in key) if type(key) is tuple else key


def contents(lru: Any) -> list[tuple[tuple[Any, ...], dict[str, Any], Any]]:
    """Return what an ``lru_cache`` knows as arguments, keywords and value: the one used last comes last.

    Without a ``maxsize`` it does not note what is used; then the one computed last comes last.

    Args:
        lru: the function with the cache.

    Example:
        >>> power = functools.lru_cache(pow)
        >>> power(2, 5), power(2, exp=3), power(2, 5)
        (32, 8, 32)
        >>> contents(power)
        [((2,), {'exp': 3}, 8), ((2, 5), {}, 32)]
    """
    parameters = lru.cache_parameters()
    if not readable() or parameters["maxsize"] == 0:
        return []
    return [(*_arguments(key, parameters["typed"]), value) for key, value in table(lru)[0].items()]


def _arguments(key: Any, typed: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments and keywords that a key was made of; see ``make_key``."""
    if type(key) is not tuple:
        return (key,), {}
    place = next((place for place, part in enumerate(key) if part is mark()), None)
    if place is None:
        return key[: len(key) // 2] if typed else key, {}
    rest = key[place + 1 :]
    keywords = rest[: (len(rest) - place) // 3 * 2] if typed else rest
    return key[:place], dict(zip(keywords[0::2], keywords[1::2], strict=True))


@functools.cache
def readable() -> bool:
    """Tell whether this Python shows what an ``lru_cache`` knows."""

    def same(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    one, two = object(), object()
    expected: dict[Any, Any] = {1: ((1,), {}), "a": (("a",), {}), (one, two): ((one, two), {})}
    try:
        for maxsize in (None, 3):
            lru = functools.lru_cache(maxsize)(same)
            for key in (2, *expected, 1, *expected) if maxsize else expected:
                lru(*key) if isinstance(key, tuple) else lru(key)
            if table(lru)[0] != expected:
                return False
    except Exception:
        return False
    return True


@functools.cache
def mark() -> Any:
    """Return what ``lru_cache`` puts between arguments and keywords in its keys."""
    lru = functools.lru_cache(None)(lambda *_, **__: None)
    return table(lru)[1] if readable() else object()
