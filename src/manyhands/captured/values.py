"""The contents of module globals: taken in the caller, compared and put in place in a worker.

What is small travels as bytes; the worker puts it in place where what it has itself is different. What is large or does
not pickle cannot travel, and is compared by its outward form: the same form is taken for the same content, another one is
refused by name. Part of ``captured``: ``snapshot`` is used by definitions, ``apply`` by workers.
"""

from __future__ import annotations

import sys
from _pickle import Pickler, dumps, loads
from types import BuiltinFunctionType, FunctionType

from manyhands.captured.kinds import ATOMIC, MISSING, is_lazy, is_module, namespace, settled
from manyhands.exceptions import StaleGlobalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Literal, TypeAlias

    from manyhands.captured.reads import GlobalRef

    Form: TypeAlias = tuple[str, int | None, tuple[int, ...] | None, str, int]
    """What can be seen of a value without looking through it: its type, its length, shape and dtype of an array, a sum
    over a few samples of its content."""

    Captured: TypeAlias = (
        tuple[str, str, Literal["value"], bytes] | tuple[str, str, Literal["shape"], tuple[Form, str]]
    )
    """Module, name, and what is known of the content."""

PROTOCOL = 5

TOO_LARGE, UNPICKLABLE = "too large", "not picklable"

#: Values whose pickle is larger stay where they are.
LIMIT = 1 << 20

#: A buffer is sampled in so many places, of so many bytes each; a sequence in so many items.
SAMPLES, SAMPLE = 64, 256

_SIZED = frozenset({str, bytes, bytearray, list, tuple, dict, set, frozenset})

_BY_REFERENCE = (FunctionType, BuiltinFunctionType, type)

#: So many functions and classes are remembered with what their pickle is.
KEPT = 5_000

_references: dict[int, tuple[Any, tuple[bytes | None, str]]] = {}

#: What was found too large, so that it is not pickled up to the limit before every call: its id and length.
_large: dict[tuple[str, str], tuple[int, int | None]] = {}

#: In a worker: the content that each global was last given, or found to have.
_applied: dict[tuple[str, str], bytes | Form] = {}


def snapshot(refs: Iterable[GlobalRef], limit: int = LIMIT) -> list[Captured]:
    """Return what the globals hold now, in a form that can be sent to a worker.

    Args:
        refs: the globals, from ``globals_read``.
        limit: bytes; what pickles to more is described, not sent.

    Returns:
        For each global that is set: module, name, and either "value" with the pickled content, or "shape" with a description.
        Globals that cannot be sent and that their own readers change are left out: each worker keeps its own.

    Example:
        >>> snapshot([])
        []
    """
    found: list[Captured] = []
    for module, name, kept in refs:
        value = settled(_look_up(module, name))
        if value is MISSING:
            continue
        if type(value) in ATOMIC and (type(value) not in _SIZED or len(value) < limit):
            found.append((module, name, "value", dumps(value, PROTOCOL)))
            continue
        if issubclass(type(value), _BY_REFERENCE):
            data, why = _reference(value)
        else:
            data, why = _content((module, name), value, limit)
        if data is not None:
            found.append((module, name, "value", data))
        elif not kept:
            found.append((module, name, "shape", (_form(value), why)))
    return found


def apply(captured: Iterable[Captured]) -> None:
    """Put the contents of the caller's globals in place in this worker, where they are not there already.

    What a task has changed here since the same content was applied last stays changed: it is the worker's own. When the
    caller's content is another one than last time, the caller's wins.

    Args:
        captured: from ``snapshot``.

    Raises:
        StaleGlobalError: a global that cannot be sent is not in this worker what it is in the caller.

    Example:
        >>> import sys, types
        >>> settings = sys.modules["settings"] = types.ModuleType("settings")
        >>> settings.LIMIT = 1
        >>> apply([("settings", "LIMIT", "value", dumps(2, PROTOCOL))])
        >>> settings.LIMIT
        2
        >>> del sys.modules["settings"]
    """
    for item in captured:
        module, name = item[:2]
        content = item[3] if item[2] == "value" else item[3][0]
        if _applied.get((module, name)) == content:
            continue
        try:
            __import__(module)
        except KeyboardInterrupt:
            raise
        except BaseException:
            continue
        try:
            holder, attribute = _holder(module, name)
            current = _current(holder, attribute)
            if item[2] == "value":
                _put(holder, attribute, current, item[3])
            elif current is MISSING or _form(current) != item[3][0]:
                raise _stale(module, name, *item[3], current)
        except (StaleGlobalError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a __setstate__ may raise anything, SystemExit too
            reason = f"{type(error).__name__}: {error}"
            raise StaleGlobalError(
                f"the global {module}.{name}, which the function reads, cannot be set in a worker: {reason}"
            ) from error
        _applied[module, name] = content


def _content(key: tuple[str, str], value: Any, limit: int) -> tuple[bytes | None, str]:
    mark = (id(value), _length(value))
    if _large.get(key) == mark:
        return None, TOO_LARGE
    data, why = _pickled(value, limit)
    if why == TOO_LARGE:
        _large[key] = mark
    return data, why


def _reference(value: Any) -> tuple[bytes | None, str]:
    """As ``_pickled``, for a function or class: unless it lives in __main__, its pickle is always the same."""
    entry = _references.get(id(value))
    if entry is None:
        found = _pickled(value, LIMIT)
        if _module_of(value) == "__main__":
            return found
        if len(_references) >= KEPT:
            _references.clear()
        entry = _references[id(value)] = (value, found)
    return entry[1]


def _look_up(module: str, name: str) -> Any:
    """Return what a global, or an attribute of a class, is in this process."""
    found = sys.modules.get(module)
    if not is_module(found):
        return MISSING
    first, *rest = name.split(".") if "." in name else (name,)
    value = namespace(found).get(first, MISSING)
    for part in rest:
        value = vars(value).get(part, MISSING) if isinstance(value, type) else MISSING
    return value


def _holder(module: str, name: str) -> tuple[Any, str]:
    """Return the module, or the class in it, and the name to set there."""
    found: Any = sys.modules[module]
    *classes, attribute = name.split(".")
    for part in classes:
        found = getattr(found, part)
    return found, attribute


def _current(holder: Any, attribute: str) -> Any:
    value = vars(holder).get(attribute, MISSING)
    return value.resolve() if is_lazy(value) else value


def _put(holder: Any, attribute: str, current: Any, data: bytes) -> None:
    """Set what the data say, unless that is there already: others may hold the very object that is there."""
    if current is not MISSING and _pickled(current, len(data))[0] == data:
        return
    value = loads(data)
    # The order of a set is each process's own, so that equal sets differ in bytes.
    if type(value) is type(current) and type(value) in (set, frozenset) and _typed(value) == _typed(current):
        return
    setattr(holder, attribute, value)


def _typed(items: Iterable[Any]) -> set[tuple[type, Any]]:
    return {(type(item), item) for item in items}  # 1 and True are equal, and not the same


class _TooLargeError(Exception):
    pass


class _Bounded:
    """A file that holds so many bytes and no more.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.parts: list[bytes] = []

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes  # of a bytes-like object; its len() may be a number of items
        self.left -= size
        if self.left < 0:
            raise _TooLargeError
        self.parts.append(bytes(data))
        return size


def _pickled(value: Any, limit: int) -> tuple[bytes | None, str]:
    """Return the pickle of a value, or None and the reason why there is none."""
    if (_length(value) or 0) > limit or _bytes_held(value) > limit:
        return None, TOO_LARGE
    data = None
    pickler: Any = Pickler
    while True:
        file = _Bounded(limit)
        try:
            pickler(file, PROTOCOL).dump(value)
            data = b"".join(file.parts)
        except KeyboardInterrupt:
            raise
        except BaseException:
            data = None
        if file.left < 0:
            return None, TOO_LARGE
        # A reference to __main__ means nothing in a worker: what lives there has to travel by value.
        of_main = b"__main__" in data if data is not None else _module_of(value) == "__main__"
        if not of_main or pickler is not Pickler:
            break
        import cloudpickle

        pickler = cloudpickle.Pickler
    return (data, "") if data is not None else (None, UNPICKLABLE)


def _module_of(value: Any) -> Any:
    try:
        return value.__module__
    except Exception:
        return None


def _length(value: Any) -> int | None:
    """Return the length of what is certain to be a plain container: that of other things may be a costly question."""
    if type(value).__module__ in ("builtins", "collections", "array"):
        try:
            return len(value)
        except Exception:
            return None
    return None


def _bytes_held(value: Any) -> int:
    if not hasattr(type(value), "nbytes"):
        return 0
    try:
        size = value.nbytes
    except Exception:
        return 0
    return size if type(size) is int else 0


def _form(value: Any) -> Form:
    """Return the outward form of a value."""
    kind = type(value)
    shape: tuple[int, ...] | None = None
    dtype = ""
    if hasattr(kind, "shape"):
        try:
            shape, dtype = tuple(map(int, value.shape)), str(getattr(value, "dtype", ""))
        except Exception:
            shape, dtype = None, ""
    return f"{kind.__module__}.{kind.__qualname__}", _length(value), shape, dtype, _sample(value)


def _sample(value: Any) -> int:
    """Return a sum over parts of a large value's content; 0 where it cannot be had without running the value's code.

    Where a million numbers were filled in after the import, some of those looked at have changed.
    """
    from binascii import crc32

    if type(value) in (list, tuple):
        items = [value[place] for place in _places(len(value), 1)]
        parts = [dumps(item, PROTOCOL) if type(item) in ATOMIC else b"" for item in items]
        return crc32(b"".join(parts))
    try:
        if type(value) is str:
            whole: Any = value
            parts = [
                value[place : place + SAMPLE].encode("utf-8", "surrogatepass")
                for place in _places(len(value), SAMPLE)
            ]
        else:
            whole = memoryview(value).cast("B")
            parts = [bytes(whole[place : place + SAMPLE]) for place in _places(len(whole), SAMPLE)]
    except Exception:
        return 0
    return crc32(b"".join(parts))


def _places(size: int, step: int) -> list[int]:
    if size <= SAMPLES * step:
        return list(range(0, size, step))
    return [place * (size - step) // (SAMPLES - 1) for place in range(SAMPLES)]


def _stale(module: str, name: str, form: Form, why: str, current: Any) -> StaleGlobalError:
    here, there = _words(form), "not set" if current is MISSING else _words(_form(current))
    if here == there:
        there += " with other contents"
    advice = (
        f"Pass it as a keyword constant of the call ({name.rpartition('.')[2]}=...), which is sent once to each worker"
        if why == TOO_LARGE
        else "Open or make it in each worker (initializer=...)"
    )
    return StaleGlobalError(
        f"the global {module}.{name}, which the function reads, is {why} and cannot be sent to a worker. "
        f"It is {here} in the caller, and {there} in a worker, which has imported {module} afresh. "
        f"{advice}, or set it when {module} is imported."
    )


def _words(form: Form) -> str:
    kind, length, shape, dtype, _ = form
    kind = kind.removeprefix("builtins.")
    if shape is not None:
        return f"a {kind} of shape {shape}{dtype and f' and {dtype}'}"
    if kind == "NoneType":
        return "None"
    size = "" if length is None else f" of {length:,} {'characters' if kind == 'str' else 'items'}"
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}{size}"
