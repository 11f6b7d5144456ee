"""What a task does besides returning: the arguments, globals and variables that it changes.

Runs the same way in the caller and in a worker, where ``Probe`` stands in for the function: what surrounds the function
is pickled before and after each task and compared. Used by ``check``.
"""

from __future__ import annotations

import builtins
import io
import pickle
import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.captured import globals_read
from manyhands.captured.bytecode import facts
from manyhands.captured.project import Project
from manyhands.scheduling.compare import mismatch
from manyhands.transport.refusal import safe_repr
from manyhands.transport.serialize import dumps, loads
from manyhands.transport.tally import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Place = tuple[str, str]
    """A module, and a name in it; dotted for an attribute of what has that name."""

#: What pickles to more bytes than this is only looked at from outside: which object it is, how long.
LIMIT = 16 << 20
#: So many functions are looked at.
BOUND = 500

_MISSING: Any = type("Missing", (), {"__repr__": lambda _: "not set"})()


class Change(NamedTuple):
    """Something that a task changed.

    Args:
        kind: "argument", "global" or "variable".
        root: what was changed, as a whole.
        place: the part of it that is different now.
        before: what that was, shown.
        after: what it is.
    """

    kind: str
    root: str
    place: str
    before: str
    after: str


class Surroundings:
    """All that a function can see and may change, arguments apart.

    Args:
        function: the plain function.
        constants: the keywords that are the same for all tasks.
        places: the globals to look at, from ``globals_of``.
    """

    def __init__(
        self, function: Callable[..., Any], constants: dict[str, Any], places: tuple[Place, ...]
    ) -> None:
        self._function = function
        self._constants = constants
        self._places = places
        self._functions = list(_plain(function))
        self._last = {root: (kind, _frozen(value)) for kind, root, value in self._now()}

    def changes(self) -> list[Change]:
        """Return what has changed since the last time, or since the beginning."""
        found = []
        for kind, root, value in self._now():
            before = self._last.get(root, (kind, _frozen(_MISSING)))[1]
            after = _frozen(value)
            if after != before:
                self._last[root] = (kind, after)
                change = _change(kind, root, before, value)
                if change is not None:
                    found.append(change)
        return found

    def _now(self) -> Iterator[tuple[str, str, Any]]:
        for name, value in self._constants.items():
            yield "argument", name, value
        for name, value in bound(self._function):
            yield "argument", name, value
        for function in self._functions:
            yield from _variables(function)
        names: dict[str, Any] = next((each.__globals__ for each in self._functions), {})
        home = names.get("__name__")
        for module, name in self._places:
            root = name if module == home else f"{module}.{name}"
            yield "global", root, _look_up(names if module == home else _names(module), name)


class Probe:
    """In a worker: runs one task in place of the function, and tells what it did besides returning.

    Args:
        function: the function, in the form in which it is sent to workers.
        plain: the function behind it.
        constants: the keywords that are the same for all tasks.
        places: the globals to look at.
    """

    def __init__(
        self, function: Any, plain: Any, constants: dict[str, Any], places: tuple[Place, ...]
    ) -> None:
        self.function = function
        self.constants = constants
        self.places = places
        self.__wrapped__ = plain  # the globals that it reads are sent along
        self.__qualname__ = getattr(plain, "__qualname__", type(plain).__qualname__)
        self._surroundings: Surroundings | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        return self.function, self.constants, self.places

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        function, constants, places = state
        plain = getattr(function, "__manyhands__", function)
        self.__init__(function, plain, constants, places)  # type: ignore[misc]

    def __call__(self, frame: bytes) -> tuple[bool, bytes, list[Change]]:
        if self._surroundings is None:
            self._surroundings = Surroundings(self.__wrapped__, self.constants, self.places)
        failed, outcome, changes = observe(
            self.__wrapped__, loads(frame), frame, self.constants, self._surroundings
        )
        return *_package(failed, outcome), changes


def observe(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    frame: bytes,
    constants: dict[str, Any],
    around: Surroundings,
) -> tuple[bool, Any, list[Change]]:
    """Run one task.

    Args:
        function: the function.
        arguments: its positional arguments.
        frame: the same, pickled.
        constants: its keyword arguments.
        around: what else it may change.

    Returns:
        Whether it raised, the result or the exception, and what it changed.

    Raises:
        KeyboardInterrupt: somebody wants all of it to end.
    """
    failed = False
    try:
        outcome: Any = apart(function)(*arguments, **constants)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        failed, outcome = True, error
    changes = []
    for index, (before, after) in enumerate(zip(loads(frame), arguments, strict=True)):
        found = mismatch(before, after, f"args[{index}]")
        if found is not None:
            changes.append(Change("argument", f"args[{index}]", *found))
    return failed, outcome, changes + around.changes()


def _package(failed: bool, outcome: Any) -> tuple[bool, bytes]:
    """The bytes of an outcome, made as a worker makes them."""
    from manyhands.transport.errors import pack
    from manyhands.transport.refusal import refuse

    if failed:
        return True, pack(outcome)
    try:
        return False, dumps(outcome)
    except BaseException as error:
        return True, pack(refuse(outcome, "the result", error, dumps))


def bound(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects that a callable carries with it as arguments: a method's, a partial's, an object's own."""
    if isinstance(function, MethodType):
        if not isinstance(function.__self__, (type, ModuleType)):
            yield "self", function.__self__
        yield from bound(function.__func__)
    elif isinstance(function, partial):
        for index, value in enumerate(function.args):
            yield f"partial.args[{index}]", value
        yield from function.keywords.items()
        yield from bound(function.func)
    elif not isinstance(function, (FunctionType, BuiltinFunctionType, type)) and not hasattr(
        function, "__wrapped__"
    ):
        yield "self", function


def copied(function: Any) -> Any:
    """Return a callable with copies of what it carries; the code, with its globals and variables, stays the same.

    Raises:
        Exception: what it carries cannot be pickled.
    """
    if isinstance(function, MethodType):
        owner = function.__self__
        return (
            function if isinstance(owner, (type, ModuleType)) else MethodType(function.__func__, _copy(owner))
        )
    if isinstance(function, partial):
        return partial(copied(function.func), *_copy(function.args), **_copy(function.keywords))
    return _copy(function) if [*bound(function)] else function


def _copy(obj: Any) -> Any:
    return loads(dumps(obj))


def _variables(function: FunctionType) -> Iterator[tuple[str, str, Any]]:
    """Yield the variables of enclosing functions that a function sees, and its defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield "variable", name, cell.cell_contents
        except ValueError:  # not assigned yet
            yield "variable", name, _MISSING
    defaults = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield "argument", f"{name} (its default)", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield "argument", f"{name} (its default)", value


def globals_of(function: Any) -> tuple[Place, ...]:
    """Return the globals that a function, and the functions of its project that it calls, read or change."""
    found: dict[Place, None] = {(ref.module, ref.name): None for ref in globals_read(function)}
    pending = list(_plain(function))
    seen = {id(each) for each in pending}
    for each in pending:  # grows meanwhile
        if len(pending) > BOUND:
            break
        names = each.__globals__
        project = Project(str(names.get("__name__", "")))
        shown = facts(each.__code__)
        for chain in (*shown.changed, *shown.chains):
            module, name, value, rest = _follow(names, chain)
            if isinstance(value, ModuleType) or not module:
                continue
            if value is _MISSING and (hasattr(builtins, name) or chain not in shown.changed):
                continue
            functions = [] if value is _MISSING else list(_plain(value))
            if functions or isinstance(value, type):
                if chain in shown.changed:
                    found[module, ".".join((name, *rest))] = None
                inner = [one for one in functions if project.has(one.__module__) or one.__globals__ is names]
                pending += [one for one in inner if id(one) not in seen]
                seen.update(map(id, inner))
            elif not callable(value):
                found[module, name] = None
    return tuple(found)


def _follow(names: dict[str, Any], chain: tuple[str, ...]) -> tuple[str, str, Any, tuple[str, ...]]:
    """Follow ``a.b.c`` through modules: the module and name where it leaves them, the value there, and what is left."""
    module = str(names.get("__name__", ""))
    name, *rest = chain
    value = names.get(name, _MISSING)
    while isinstance(value, ModuleType) and rest:
        names, module = vars(value), str(vars(value).get("__name__", ""))
        name, *rest = rest
        value = names.get(name, _MISSING)
    return module, name, value, tuple(rest)


def _plain(function: Any, depth: int = 20) -> Iterator[FunctionType]:
    """Yield the functions that a call of a callable runs first: its own, and those that it wraps."""
    if isinstance(function, FunctionType):
        yield function
        inner = function.__dict__.get("__wrapped__")
    elif isinstance(function, (MethodType, staticmethod, classmethod)):
        inner = function.__func__
    elif isinstance(function, partial):
        inner = function.func
    elif isinstance(function, (type, ModuleType)):
        return
    else:
        inner = getattr(function, "__wrapped__", None) or getattr(type(function), "__call__", None)  # noqa: B004
    if inner is not None and depth:
        yield from _plain(inner, depth - 1)


def _names(module: str) -> dict[str, Any]:
    found = sys.modules.get(module)
    return vars(found) if isinstance(found, ModuleType) else {}


def _look_up(names: dict[str, Any], name: str) -> Any:
    first, *rest = name.split(".")
    value = names.get(first, _MISSING)
    for part in rest:
        value = getattr(value, "__dict__", {}).get(part, _MISSING)
    return value


class _Bounded(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > LIMIT:
            raise OverflowError
        return super().write(data)


def _frozen(value: Any) -> bytes | tuple[int, int | None]:
    """What a value looks like now: its pickle, or only which object it is, and its length."""
    import cloudpickle

    for pickler in (pickle.Pickler, cloudpickle.Pickler):
        file = _Bounded()
        try:
            pickler(file, 5).dump(value)
            return file.getvalue()
        except OverflowError:
            break
        except KeyboardInterrupt:
            raise
        except BaseException:
            continue
    try:
        return id(value), len(value)
    except BaseException:
        return id(value), None


def _change(kind: str, root: str, before: Any, value: Any) -> Change | None:
    """Say what has changed; None when only the bytes have."""
    if before == _frozen(_MISSING):
        return Change(kind, root, root, "not set", safe_repr(value))
    if not isinstance(before, bytes):
        return Change(kind, root, root, "another object, or another length", safe_repr(value))
    found = mismatch(loads(before), value, root)
    return None if found is None else Change(kind, root, *found)
