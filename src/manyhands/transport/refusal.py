"""What cannot travel, and why: finds the smallest part of an object that refuses, and says it in words.

Runs only after pickling has failed, so it may take its time, within bounds: it takes an object apart as pickle would, and
tries the parts. Objects that refuse may do anything else as well: nothing here raises because of them, whatever their
``__reduce__`` or ``__getattr__`` do. Used wherever something is encoded; the words are in ``words``.
"""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType

from manyhands.exceptions import UnpicklableError
from manyhands.transport.words import advice, describe, is_known, safe_repr, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Dumps = Callable[[Any], object]
    Part = tuple[str, Any]
    """How to get from an object to its part, as one would write it, and the part."""

__all__ = ["describe", "explain", "refuse", "safe_repr"]

#: Levels of parts that are gone down, and parts that are tried, at most.
DEPTH, TRIALS = 50, 1_000

#: Of more items than this, halves are tried before single ones.
MANY = 8

_ATOMIC = frozenset({int, float, complex, str, bytes, bool, type(None)})


def explain(obj: object, root: str, dumps: Dumps) -> str:
    """Return which part of an object cannot be pickled, and what it is.

    Args:
        obj: an object that ``dumps`` fails on.
        root: what to call the object, such as ``args[0]``.
        dumps: pickles an object or raises; its result is thrown away.

    Returns:
        The way to the part as one would write it, and a description. What has no expression of its own is in angle brackets:
        ``f.<closure>.lock``.

    Example:
        >>> import pickle
        >>> explain({"rows": [1, (i for i in "abc")]}, "args[0]", pickle.dumps)
        "args[0]['rows'][1]: a generator (<genexpr>)"
    """
    path, part, error = _find(obj, root, dumps, None)
    return f"{path}: {_words(part, error)}"


def refuse(obj: object, root: str, cause: BaseException, dumps: Dumps) -> UnpicklableError:
    """Return the error that says what of an object cannot be sent, why, and what to do instead.

    Args:
        obj: the object.
        root: what to call it, such as ``args[0]``; ``the result`` or ``the item`` when it is on its way back.
        cause: what pickling it has raised; becomes the error's cause.
        dumps: as for ``explain``.

    Returns:
        The error, to be raised.

    Example:
        >>> import pickle
        >>> print(refuse((i for i in "abc"), "args[0]", TypeError("cannot pickle 'generator' object"), pickle.dumps))
        cannot send to a worker: args[0]: a generator (<genexpr>). Pass what it yields: list(...).
        (TypeError: cannot pickle 'generator' object)
    """
    path, part, error = _find(obj, root, dumps, cause)
    where = (
        "return from a worker"
        if root.startswith(("the result", "the item", "what was"))
        else "send to a worker"
    )
    deep = _is_too_deep(error)
    todo = "Pass it in a flatter form, such as a list of its nodes" if deep else advice(part)
    text = f"cannot {where}: {path}: {_words(part, error)}{f'. {todo}' if todo else ''}.\n({_said(error)})"
    refusal = UnpicklableError(text)
    refusal.__cause__ = cause
    return refusal


def _words(part: Any, error: BaseException | None) -> str:
    return (
        f"{describe(part)} that is nested too deep to be pickled" if _is_too_deep(error) else describe(part)
    )


def _is_too_deep(error: BaseException | None) -> bool:
    # cloudpickle makes a PicklingError of it.
    return isinstance(error, RecursionError) or (
        error is not None and isinstance(error.__context__, RecursionError)
    )


def _said(error: BaseException | None) -> str:
    """Return the type and text of an exception on one line."""
    if error is None:
        return "it was refused, but not a second time"
    try:
        text = " ".join(str(error).split())
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = "its text could not be had"
    text = text if len(text) <= 300 else text[:300] + "..."
    return f"{type_name(type(error))}: {text}" if text else type_name(type(error))


def _find(
    obj: Any, root: str, dumps: Dumps, cause: BaseException | None
) -> tuple[str, Any, BaseException | None]:
    """Return the way to the smallest part that refuses, that part, and what it raises."""
    search = _Search(dumps)
    if isinstance(cause, KeyboardInterrupt):  # raised by the object, or by somebody who wants no more of this
        return root, obj, cause
    path, error = root, cause if cause is not None else search.refusal(obj)
    for level in range(DEPTH):
        found = search.part(obj)
        if found is None:
            break
        step, part, refusal = found
        # A list of lists, a chain of nodes: the way down is as long as it is deep, and says nothing.
        if _is_too_deep(refusal) and (type(part) is type(obj) or level > 2):
            break
        path, obj, error = path + step, part, refusal
    return path if len(path) <= 300 else f"{path[:140]} ... {path[-140:]}", obj, error


class _Search:
    """Takes objects apart and tries the parts, so many in all.

    Args:
        dumps: pickles an object or raises.
    """

    def __init__(self, dumps: Dumps) -> None:
        self._dumps = dumps
        self._left = TRIALS
        self._seen: dict[int, Any] = {}  # holds the objects, so that an id stays theirs

    def refusal(self, obj: Any) -> BaseException | None:
        """Return what pickling an object raises, or None."""
        if type(obj) in _ATOMIC or self._left <= 0:
            return None
        self._left -= 1
        try:
            self._dumps(obj)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return error
        return None

    def part(self, obj: Any) -> tuple[str, Any, BaseException] | None:
        """Return a part that refuses by itself: how to get there, the part, and what it raises."""
        if id(obj) in self._seen or is_known(obj):
            return None
        self._seen[id(obj)] = obj
        try:
            for step, part in self._parts(obj):
                if id(part) in self._seen:
                    continue
                refusal = self.refusal(part)
                if refusal is not None:
                    return step, part, refusal
        except KeyboardInterrupt:
            raise
        except BaseException:
            return None
        return None

    def _parts(self, obj: Any) -> Iterator[Part]:
        kind = type(obj)
        if kind in (list, tuple, set, frozenset, dict):
            return self._contained(obj)
        if kind is FunctionType:
            return self._function(obj)
        if issubclass(kind, type):
            return self._class(obj)
        if issubclass(kind, ModuleType):
            return iter(())
        if kind.__name__ == "ndarray" and getattr(obj.dtype, "hasobject", False):
            return self._items(list(obj.flat), lambda place, item: f".flat[{place}]")
        return _attributes(obj) or self._reduced(obj)

    def _contained(self, obj: Any) -> Iterator[Part]:
        """The items of a plain container."""
        if type(obj) is dict:
            yield from self._pairs(list(obj), list(obj.values()))
        elif type(obj) in (set, frozenset):
            yield from self._items(list(obj), _item)
        else:
            yield from self._items(obj, lambda place, item: f"[{place}]")

    def _pairs(self, keys: list[Any], values: list[Any]) -> Iterator[Part]:
        yield from self._items(values, lambda place, value: f"[{safe_repr(keys[place], 30)}]")
        yield from self._items(keys, lambda place, key: f".<key {safe_repr(key, 30)}>")

    def _items(self, items: Sequence[Any], step: Callable[[int, Any], str]) -> Iterator[Part]:
        """Yield items; of many only the first that refuses, found by halving."""
        start, end = 0, len(items)
        while end - start > MANY:
            middle = (start + end) // 2
            if self.refusal(list(items[start:middle])) is not None:
                end = middle
            else:
                start = middle
        for place in range(start, end):
            yield step(place, items[place]), items[place]

    def _function(self, function: FunctionType) -> Iterator[Part]:
        """The parts of a function that travels by value; by reference it has none."""
        if self.refusal(lambda: None) is not None:
            return
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield f".<closure>.{name}", cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        defaults = function.__defaults__ or ()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        named = zip(names[len(names) - len(defaults) :], defaults, strict=True)
        for name, value in (*named, *(function.__kwdefaults__ or {}).items()):
            yield f".<default>.{name}", value
        for name in _names(function.__code__):
            if name in function.__globals__:
                yield f".<global>.{name}", function.__globals__[name]
        for name, value in function.__dict__.items():
            yield f".{name}", value

    def _class(self, cls: type) -> Iterator[Part]:
        """The parts of a class that travels by value."""
        if "<locals>" not in cls.__qualname__ and cls.__module__ != "__main__":
            return
        for name, value in vars(cls).items():
            if name not in ("__dict__", "__weakref__", "__doc__", "__module__"):
                yield f".{name}", value
        yield from ((f".__bases__[{place}]", base) for place, base in enumerate(cls.__bases__))

    def _reduced(self, obj: Any) -> Iterator[Part]:
        """The parts that pickle sees of an object, whatever attributes it has besides."""
        import copyreg

        reducer = copyreg.dispatch_table.get(type(obj))
        reduced = reducer(obj) if reducer is not None else obj.__reduce_ex__(5)
        if type(reduced) is not tuple:
            return
        function, arguments, state, items, pairs = (*reduced, None, None, None, None)[:5]
        if (
            isinstance(state, tuple)
            and len(state) == 2
            and all(type(half) in (dict, type(None)) for half in state)
        ):
            yield from ((f".{name}", value) for half in state for name, value in (half or {}).items())
        elif type(state) is dict:
            yield from ((f".{name}", value) for name, value in state.items())
        elif state is not None:
            yield ".<state>", state
        if items is not None:
            yield from self._items(list(items), lambda place, item: f"[{place}]")
        if pairs is not None:
            pairs = list(pairs)
            yield from self._pairs([key for key, _ in pairs], [value for _, value in pairs])
        yield from _arguments(obj, function, arguments)
        yield ".<constructor>", function
        yield ".__class__", type(obj)


def _item(place: int, item: Any) -> str:
    return f".<item {safe_repr(item, 30)}>"


def _attributes(obj: Any) -> Iterator[Part] | None:
    """The parts of an object that is pickled by its attributes, under names that everyone knows; None for any other."""
    kind = type(obj)
    names: tuple[str, ...] = ()
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names = kind._fields
    elif issubclass(kind, partial):
        parts = [(".func", obj.func)]
        parts += [(f".args[{place}]", value) for place, value in enumerate(obj.args)]
        return iter(parts + [(f".keywords[{name!r}]", value) for name, value in obj.keywords.items()])
    elif kind is MethodType:
        names = ("__self__", "__func__")
    elif kind is BuiltinFunctionType and type(obj.__self__) is not ModuleType:
        names = ("__self__",)
    elif kind in (staticmethod, classmethod):
        names = ("__func__",)
    elif kind is property:
        names = ("fget", "fset", "fdel")
    elif kind is CellType:
        names = ("cell_contents",)
    return ((f".{name}", getattr(obj, name)) for name in names) if names else None


def _arguments(obj: Any, function: Any, arguments: Any) -> Iterable[Part]:
    """Name what an object is made again from."""
    name = getattr(function, "__name__", "")
    if name == "__newobj__":
        arguments = arguments[1:]
    elif name == "__newobj_ex__":
        arguments = (*arguments[1], *arguments[2].values())
    if isinstance(obj, BaseException):
        return [(f".args[{place}]", value) for place, value in enumerate(arguments)]
    if type(obj).__name__ == "defaultdict" and len(arguments) == 1:
        return [(".default_factory", arguments[0])]
    if isinstance(obj, (set, frozenset)) and len(arguments) == 1 and type(arguments[0]) is list:
        return [(_item(place, item), item) for place, item in enumerate(arguments[0])]
    return [(f".<argument {place}>", value) for place, value in enumerate(arguments)]


def _names(code: CodeType) -> dict[str, None]:
    """Return the names that a code object and those nested in it use, each once and in order."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names |= _names(constant)
    return names
