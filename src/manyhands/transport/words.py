"""Words for objects: a repr that is safe and short, and what a thing is that cannot travel, with what to do about it.

Nothing here raises because of the object it is about: its ``__repr__`` and ``__getattr__`` may do what they like. Kinds
are recognised by the names of their classes, so that nothing has to be imported for it. Used by ``refusal``, and
wherever a message shows an argument.
"""

from __future__ import annotations

from itertools import islice
from types import BuiltinFunctionType, FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")

_FILE = "Open it inside the function, and pass its path"
_MAKE = "Make it inside the function, or once in each worker (initializer=...)"
_LOCK = "Processes share no thread locks; leave it out of what is sent (__getstate__), or make it inside the function"
_LIST = "Pass what it yields: list(...)"
_COPY = "Pass a copy of what it shows: list(...), dict(...) or bytes(...)"
_NAME = "Pass what it refers to, or its name"
_TOP = "Define it at the top level of a module"

#: The name of a class -> what its instances are, and what to do instead of sending one.
_KINDS: dict[str, tuple[str, str]] = {
    "_asyncio.Future": ("an asyncio future", "Await it, and pass its result"),
    "_asyncio.Task": ("an asyncio task", "Await it, and pass its result"),
    "_contextvars.Context": ("a context", "Pass the values that the function needs"),
    "_contextvars.ContextVar": ("a context variable", "Pass its value"),
    "_ctypes.CFuncPtr": ("a function of a C library", _MAKE),
    "_ctypes._Pointer": ("a C pointer", _MAKE),
    "_csv.reader": ("a CSV reader", "Pass its rows, or the path of the file"),
    "_csv.writer": ("a CSV writer", "Return the rows, and write them in the caller"),
    "_io._IOBase": ("an open file", _FILE),
    "_queue.SimpleQueue": ("a queue", "Return the values instead: map() brings them back in order"),
    "_socket.socket": ("a socket", _MAKE),
    "_ssl._SSLContext": ("an SSL context", _MAKE),
    "_thread.RLock": ("a thread lock", _LOCK),
    "_thread._local": ("thread-local data", _MAKE),
    "_thread.lock": ("a thread lock", _LOCK),
    "asyncio.events.AbstractEventLoop": (
        "an event loop",
        "Leave it in the caller: amap() is there to be awaited",
    ),
    "builtins.async_generator": ("an async generator", "Pass what it yields, as a list"),
    "builtins.code": ("a code object", "Pass the function"),
    "builtins.coroutine": ("a coroutine", "Await it, and pass its result"),
    "builtins.dict_items": ("a view of a dictionary", _COPY),
    "builtins.dict_keys": ("a view of a dictionary", _COPY),
    "builtins.dict_values": ("a view of a dictionary", _COPY),
    "builtins.frame": ("a running frame", "Pass the values that are wanted of it"),
    "builtins.generator": ("a generator", _LIST),
    "builtins.lazy_import": ("a lazy import", "Import it plainly, or inside the function"),
    "builtins.mappingproxy": ("a read-only view of a dictionary", _COPY),
    "builtins.memoryview": ("a memoryview", _COPY),
    "builtins.traceback": ("a traceback", "Pass its text: traceback.format_exception()"),
    "concurrent.futures._base.Executor": (
        "an executor",
        "Leave it in the caller; a pool is not shared with its workers",
    ),
    "concurrent.futures._base.Future": ("a future", "Pass its result()"),
    "mmap.mmap": ("a memory-mapped file", _FILE),
    "multiprocessing.pool.Pool": ("a pool", "Leave it in the caller; a pool is not shared with its workers"),
    "multiprocessing.process.BaseProcess": ("a process", "Leave it in the caller"),
    "multiprocessing.queues.Queue": (
        "a multiprocessing queue",
        "Return the values instead: map() brings them back",
    ),
    "multiprocessing.synchronize.SemLock": ("a multiprocessing lock", _MAKE),
    "nt.DirEntry": ("a directory entry", "Pass its path"),
    "posix.DirEntry": ("a directory entry", "Pass its path"),
    "queue.Queue": ("a queue", "Return the values instead: map() brings them back in order"),
    "re.Match": ("a match of a regular expression", "Pass its groups"),
    "select.epoll": ("a poll object", _MAKE),
    "select.poll": ("a poll object", _MAKE),
    "sqlite3.Connection": ("a database connection", _MAKE),
    "sqlite3.Cursor": ("a database cursor", "Fetch the rows in the caller, or connect inside the function"),
    "subprocess.Popen": ("a running program", "Start it inside the function"),
    "threading.Barrier": ("a thread barrier", _LOCK),
    "threading.Condition": ("a thread condition", _LOCK),
    "threading.Event": ("a thread event", _LOCK),
    "threading.Semaphore": ("a thread semaphore", _LOCK),
    "threading.Thread": ("a thread", "Leave it in the caller"),
    "weakref.ReferenceType": ("a weak reference", _NAME),
    "weakref.ProxyType": ("a weak reference", _NAME),
    "weakref.WeakKeyDictionary": ("a dictionary of weak references", _COPY),
    "weakref.WeakSet": ("a set of weak references", _COPY),
    "weakref.WeakValueDictionary": ("a dictionary of weak references", _COPY),
    "_weakrefset.WeakSet": ("a set of weak references", _COPY),
}

#: Files that are only memory: they do travel.
_MEMORY = frozenset({"_io.BytesIO", "_io.StringIO"})

_DATABASE = ("a database connection", _MAKE)


def describe(obj: object) -> str:
    """Return what an object is, in a few words; never raises.

    Example:
        >>> describe(i for i in "abc")
        'a generator (<genexpr>)'
        >>> describe(1.5)
        'a float'
    """
    return _safely(lambda: _described(obj), "an object")


def advice(obj: object) -> str:
    """Return what to do instead of sending an object, or nothing where there is nothing to say; never raises.

    Example:
        >>> advice(i for i in "abc")
        'Pass what it yields: list(...)'
    """
    return _safely(lambda: _advised(obj), "")


def is_known(obj: object) -> bool:
    """Return whether an object is of a kind that never travels, so that its parts need no looking at.

    Example:
        >>> is_known(i for i in "abc"), is_known([1])
        (True, False)
    """
    return _safely(lambda: _kind(obj) is not None, False)


def safe_repr(obj: object, limit: int = 60) -> str:
    """Return a repr of at most so many characters; never raises, and does not look through what is large.

    Args:
        obj: anything.
        limit: characters.

    Example:
        >>> safe_repr(list(range(1_000_000)), 30)
        '[0, 1, 2, 3, 4, 5, 6, 7, 8,...'
    """
    text: str = _safely(lambda: _rendered(obj, limit, 5), "")
    text = text or _safely(lambda: f"<{type_name(type(obj))} object>", "<object>")
    return text if len(text) <= limit else text[: max(limit - 3, 0)] + "..."[:limit]


def type_name(kind: type) -> str:
    """Return the name of a class as one would write it.

    Example:
        >>> from collections import deque
        >>> type_name(int), type_name(deque)
        ('int', 'collections.deque')
    """
    return _full_name(kind).removeprefix("builtins.")


def _full_name(kind: type) -> str:
    # From the class itself, whatever its metaclass says.
    name, module = (type.__dict__[key].__get__(kind) for key in ("__qualname__", "__module__"))
    return f"{module}.{name}" if type(module) is str else str(name)


def _safely(function: Callable[[], T], otherwise: T) -> T:
    try:
        return function()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return otherwise


def _kind(obj: object) -> tuple[str, str] | None:
    kind = type(obj)
    names = [
        type_name(base) if base.__module__ != "builtins" else f"builtins.{base.__name__}"
        for base in kind.__mro__
    ]
    if _MEMORY.isdisjoint(names):
        for name in names:
            if name in _KINDS:
                return _KINDS[name]
    if all(hasattr(kind, name) for name in ("cursor", "commit", "rollback")):
        return _DATABASE
    return None


def _described(obj: Any) -> str:
    known = _kind(obj)
    if known is not None:
        words = known[0]
        detail = None
        if words == "an open file":
            detail = repr(obj.name) if type(getattr(obj, "name", None)) in (str, int, bytes) else None
            words = "a closed file" if getattr(obj, "closed", False) is True else words
        elif words == "a thread":
            detail = repr(obj.name)
        elif words.endswith(("generator", "coroutine")):
            detail = obj.__qualname__
        return f"{words} ({_cut(detail)})" if detail else words
    kind = type(obj)
    if kind is FunctionType:
        code = obj.__code__
        if code.co_name == "<lambda>":
            return f"a lambda ({_cut(code.co_filename)}:{code.co_firstlineno})"
        local = "local " if "<locals>" in obj.__qualname__ else ""
        return f"a {local}function ({_cut(obj.__qualname__)})"
    if issubclass(kind, ModuleType):
        return f"a module ({_cut(str(obj.__name__))})"
    if issubclass(kind, type):
        name = type_name(obj)
        return f"a {'local ' if '<locals>' in name else ''}class ({_cut(name)})"
    if issubclass(kind, BuiltinFunctionType):
        return f"a built-in function ({_cut(obj.__qualname__)})"
    name = type_name(kind)
    return f"{'an' if name.lstrip('_')[:1].lower() in 'aeiou' else 'a'} {_cut(name)}"


def _advised(obj: Any) -> str:
    known = _kind(obj)
    if known is not None:
        return known[1]
    if issubclass(type(obj), (FunctionType, type)):
        return _TOP
    if issubclass(type(obj), ModuleType):
        return "Import it inside the function"
    return ""


def _cut(text: str, limit: int = 80) -> str:
    """Keep the end of a name: it says more than its beginning."""
    return text if len(text) <= limit else "..." + text[-limit:]


def _rendered(obj: Any, room: int, depth: int) -> str:
    """Return a repr that stops soon after ``room`` characters, and ``depth`` levels down."""
    kind = type(obj)
    own: Any = kind.__repr__
    if issubclass(kind, int) and own is int.__repr__ and obj.bit_length() > 1000:
        return f"<int of {obj.bit_length()} bits>"
    if kind in (str, bytes, bytearray):
        return repr(obj[: room + 1])
    shape = getattr(obj, "shape", None) if hasattr(kind, "shape") else None
    if type(shape) is tuple:
        dtype = getattr(obj, "dtype", None)
        return f"<{kind.__name__} shape={shape}{'' if dtype is None else f' {dtype}'}>"
    if kind is FunctionType:
        return f"<function {obj.__qualname__}>"
    text = _rendered_container(obj, room, depth)
    if text is not None:
        return text
    if own is object.__repr__:
        return f"<{type_name(kind)} object>"
    if kind.__module__ in ("array", "builtins") and hasattr(kind, "__len__") and len(obj) > 10 * room:
        return f"<{type_name(kind)} of {len(obj)} items>"
    try:
        text = " ".join(repr(obj)[: 10 * room].split())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"<{type_name(kind)} object, whose repr raises {type_name(type(error))}>"
    if " at 0x" in text:  # an address says nothing in another process, and makes equal messages differ
        import re

        text = re.sub(" at 0x[0-9a-fA-F]+", "", text)
    return text


def _rendered_container(obj: Any, room: int, depth: int) -> str | None:
    """Return the repr of a plain container, or None for anything else."""
    kind = type(obj)
    name = kind.__qualname__
    own: Any = kind.__repr__
    if issubclass(kind, tuple) and type(getattr(kind, "_fields", None)) is tuple:
        fields = zip(kind._fields, tuple.__iter__(obj), strict=False)  # type: ignore[attr-defined]
        return _joined(((f"{field}=", value) for field, value in fields), f"{name}(", ")", room, depth)
    if _has_dataclass_repr(kind):
        shown = [field for field in kind.__dataclass_fields__.values() if field.repr]
        items = ((f"{field.name}=", getattr(obj, field.name)) for field in shown)
        return _joined(items, f"{name}(", ")", room, depth)
    if issubclass(kind, dict) and (own is dict.__repr__ or kind.__module__ == "collections"):
        around = ("{", "}") if kind is dict else (f"{name}({{", "})")
        pairs = ((f"{_rendered(key, room, depth - 1)}: ", value) for key, value in dict.items(obj))
        return _joined(pairs, *around, room, depth)
    if kind.__module__ == "collections" and name == "deque":
        return _joined((("", value) for value in obj), "deque([", "])", room, depth)
    for base, left, right in ((list, "[", "]"), (tuple, "(", ")"), (set, "{", "}"), (frozenset, "{", "}")):
        if issubclass(kind, base) and own is base.__repr__:
            size = base.__len__(obj)
            if kind is base and kind is not frozenset and (size or kind is not set):
                around = (left, ",)" if kind is tuple and size == 1 else right)
            else:
                around = (f"{name}({left}", f"{right})") if size else (f"{name}(", ")")
            return _joined((("", value) for value in base.__iter__(obj)), *around, room, depth)
    return None


def _has_dataclass_repr(kind: type) -> bool:
    if "__dataclass_fields__" not in vars(kind):
        return False
    function = getattr(kind.__repr__, "__wrapped__", None)  # the generated one guards against recursion
    return type(function) is FunctionType and function.__code__.co_filename == "<string>"


def _joined(items: Iterable[tuple[str, Any]], left: str, right: str, room: int, depth: int) -> str:
    """Join prefixes and rendered values until there is no more room."""
    if depth <= 0:
        return f"{left}...{right}"
    parts: list[str] = []
    used = len(left)
    for prefix, value in islice(items, room + 1):
        if used > room:
            parts.append("...")
            break
        parts.append(prefix + _rendered(value, max(room - used, 1), depth - 1))
        used += len(parts[-1]) + 2
    return left + ", ".join(parts) + right
