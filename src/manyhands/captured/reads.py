"""Which module globals a function reads, itself and through the functions of its own project that it calls.

The walk goes from function to function by the names that their code shows, looked up in their globals as these are
now. What it passed on its way is kept with the answer: asked again, a few identity checks tell whether the names still
mean what they meant. Part of ``captured``: above ``bytecode`` and ``project``; ``values`` takes the contents.
"""

from __future__ import annotations

import builtins
import sys
from _weakref import ref as weak_reference
from collections import deque
from functools import _lru_cache_wrapper as _CACHED  # noqa: N812 - it is a type
from functools import cached_property, partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.captured.bytecode import facts
from manyhands.captured.kinds import (
    ANNOTATING,
    ATOMIC,
    MISSING,
    class_key,
    is_at_home,
    is_code,
    is_importable,
    is_lazy,
    is_module,
    is_special,
    lazy_name,
    name_of,
    namespace,
    origin,
    settled,
    wrapped,
)
from manyhands.captured.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable

    from manyhands.captured.bytecode import Chain, Facts, Import

#: So many functions are looked at for one call: a program's, not those of every library it uses.
BOUND = 2_000
#: Where shared caches are made: data, which travels, and has code inside that reads globals as any other.
SHARED = "manyhands.sharedcache.cached"

#: So many functions' answers are kept.
KEPT = 2_000

#: Where the classes are from whose own methods call special methods only.
_QUIET = frozenset(
    {
        "builtins",
        "abc",
        "enum",
        "typing",
        "typing_extensions",
        "dataclasses",
        "collections",
        "collections.abc",
    }
)


class GlobalRef(NamedTuple):
    """A module global, or an attribute of a class, that a function reads.

    Args:
        module: the name of the module.
        name: the name in it; dotted for an attribute of a class.
        kept: the code that reads it also changes it, as it would a cache or a connection opened when first used: workers may
            differ in it, and where it cannot be sent it is left to them.

    Example:
        >>> GlobalRef("settings", "LIMIT")
        GlobalRef(module='settings', name='LIMIT', kept=False)
    """

    module: str
    name: str
    kept: bool = False


def globals_read(
    func: Callable[..., Any], initializer: Callable[..., Any] | None = None
) -> tuple[GlobalRef, ...]:
    """Return the module globals holding data that a function reads, in the order in which its code shows them.

    Followed are the functions, methods and classes of its own project: its top-level package, or, for a plain module and
    for ``__main__``, what lies beside it in the same folder (unless libraries are installed there). They are found by
    name: globals, attributes of modules and classes, imports inside functions, what closures and defaults hold. Of a class
    it names, the methods whose names occur. A name that is computed (``getattr``) makes all of them count; what is reached
    through ``globals()`` or a library's call-back stays unseen.

    Globals of ``__main__`` itself are never among them, nor those of namespaces that cannot be imported: functions from
    there travel by value, together with the globals they read.

    Data is everything but modules, and functions and classes where they are at home: a function that was put under another
    name (``hook = my_hook``) counts.

    Args:
        func: any callable; partials, methods, wrappers and callable objects are looked through.
        initializer: the pool's initializer: what it sets is each worker's own, and left out.

    Returns:
        The globals, each once.

    Example:
        >>> import json
        >>> globals_read(json.dumps)  # of the standard library, which nobody changes
        ()
    """
    reads = _walked(func).refs
    if initializer is None or not reads:
        return reads
    own = _walked(initializer).changed
    return tuple(ref for ref in reads if (ref.module, ref.name) not in own) if own else reads


def globals_changed(func: Callable[..., Any]) -> frozenset[tuple[str, str]]:
    """Return module and name of the globals that a function, or what it calls in its project, changes.

    Args:
        func: any callable.
    """
    return _walked(func).changed


def cached_helpers(func: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the functions with an ``lru_cache`` that a function calls, itself or through others of its project.

    Args:
        func: any callable.
    """
    return _walked(func).cached


class _Answer:
    """What a walk found, and what has to be as it was for that to be still right."""

    __slots__ = ("absent", "cached", "changed", "data", "passed", "refs", "root")

    def __init__(self, walk: _Walk) -> None:
        self.refs = tuple(GlobalRef(*key, key in walk.changed) for key in walk.refs)
        self.changed = frozenset(walk.changed)
        self.passed = [(names, name, value) for (_, name), (names, value) in walk.passed.items()]
        passed = {id(value): value for _, _, value in self.passed}  # under several names, some of them
        self.cached = tuple(value for value in passed.values() if isinstance(value, _CACHED))
        self.data = [(names, name, kind) for (_, name), (names, kind) in walk.data.items()]
        self.absent = tuple(walk.absent)
        self.root: Any = None

    def valid(self) -> bool:
        # Plain loops, without the cost of generators: this runs before every call.
        for names, name, value in self.passed:
            if names.get(name, MISSING) is not value:
                return False
        for names, name, kind in self.data:
            if type(names.get(name, MISSING)) is not kind:
                return False
        return not any(map(sys.modules.__contains__, self.absent))


_answers: dict[tuple[int, int], _Answer] = {}


def _walked(func: Any) -> _Answer:
    # A bound method is a new object each time it is looked up: the function and the class decide.
    base, kind = (func.__func__, type(func.__self__)) if type(func) is MethodType else (func, None)
    key = (id(base), id(kind))
    answer = _answers.get(key)
    if answer is not None and answer.root() is base and answer.valid():
        return answer
    walk = _Walk(func)
    walk.run()
    answer = _Answer(walk)
    try:
        answer.root = weak_reference(base, partial(_forget, _answers, key))
    except TypeError:  # could not be told from another object that gets its id later
        return answer
    if len(_answers) >= KEPT:
        _answers.clear()
    _answers[key] = answer
    return answer


def _forget(answers: dict[tuple[int, int], _Answer], key: tuple[int, int], root: Any) -> None:
    """A function is gone: what was kept for it may hold what it alone has used.

    At the end of the program, too: it uses no names of this module.
    """
    answer = answers.get(key)
    if answer is not None and answer.root is root:
        answers.pop(key, None)


class _Walk:
    """One walk over the code that a callable may reach."""

    def __init__(self, func: Any) -> None:
        module, owner = origin(func)
        self.project = Project(module)
        self.refs: dict[tuple[str, str], None] = {}
        self.changed: dict[tuple[str, str], None] = {}
        self.passed: dict[tuple[int, str], tuple[dict[str, Any], Any]] = {}
        self.data: dict[tuple[int, str], tuple[dict[str, Any], type]] = {}
        self.absent: dict[str, None] = {}  # modules that were not loaded
        self._pending: deque[FunctionType] = deque()
        self._seen: dict[int, Any] = {}  # holds the objects, so that an id stays theirs
        self._attributes: set[str] = set()
        self._waiting: dict[str, list[Any]] = {}  # methods whose names have not occurred so far
        self._classes: dict[int, type] = {}  # by id: a metaclass may say that two of its classes are equal
        self._modules: set[tuple[int, int]] = set()
        self._computed = False  # an attribute's name was computed: any method may be meant
        self._see(func)
        self._see(owner)

    def run(self) -> None:
        for _ in range(BOUND):
            if not self._pending:
                break
            self._function(self._pending.popleft())

    def _see(self, value: Any) -> None:
        """Note the code behind a value, to be looked at when its turn comes."""
        kind = type(value)
        if kind in ATOMIC or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if kind is FunctionType:
            self._pending.append(value)
        elif kind is MethodType:
            self._see(value.__func__)
            self._class(value.__self__ if isinstance(value.__self__, type) else type(value.__self__))
        elif issubclass(kind, type):
            self._class(value)
        elif issubclass(kind, partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                self._see(part)
        elif kind is property:
            for part in (value.fget, value.fset, value.fdel):
                self._see(part)
        elif kind is cached_property:
            self._see(value.func)
        elif not issubclass(kind, (BuiltinFunctionType, ModuleType)):
            if kind.__module__ == SHARED:
                self._see(value.__dict__.get("_function"))
            self._see(wrapped(value))
            self._class(kind)

    def _class(self, cls: type) -> None:
        """Note the methods of a class whose names have occurred; the others wait until theirs do."""
        if id(cls) in self._classes or not self.project.has(cls.__module__):
            return
        self._classes[id(cls)] = cls
        # A library's base class calls what we cannot see: visit_Name(), run(), ...
        called_back = any(
            not self.project.has(base.__module__) and base.__module__ not in _QUIET for base in cls.__mro__
        )
        for base in cls.__mro__:
            self._class(base)
            if (base is cls or called_back) and self.project.has(base.__module__):
                self._methods(base, every=called_back)

    def _methods(self, cls: type, *, every: bool) -> None:
        for name, member in vars(cls).items():
            if not is_code(member) or name in ANNOTATING:
                continue
            if every or self._computed or name in self._attributes or is_special(name):
                self._see(member)
            else:
                self._waiting.setdefault(name, []).append(member)

    def _function(self, function: FunctionType) -> None:
        """Look at the code of one function."""
        self._see(function.__dict__.get("__wrapped__"))
        for cell in function.__closure__ or ():
            try:
                self._see(cell.cell_contents)
            except ValueError:  # not assigned yet
                continue
        names = function.__globals__
        module = str(names.get("__name__", ""))
        if not self.project.has(module):  # a library's wrapper: only what it wraps is ours
            return
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._see(default)
        found = facts(function.__code__)
        self._occurred(found.attributes)
        for chain in found.chains:
            if chain[0] == "getattr":
                self._occur_all()
            self._read(names, module, chain, found)
        for chain in found.changed:
            self._change(names, module, chain)
        for statement in found.imports:
            self._import(names, statement, found)

    def _occurred(self, attributes: tuple[str, ...]) -> None:
        for name in attributes:
            if name not in self._attributes:
                self._attributes.add(name)
                for method in self._waiting.pop(name, ()):
                    self._see(method)

    def _occur_all(self) -> None:
        self._computed = True
        for methods in self._waiting.values():
            for method in methods:
                self._see(method)
        self._waiting.clear()

    def _read(self, names: dict[str, Any], module: str, chain: Chain, found: Facts) -> None:
        """Look up what the code reads: note it if it is data, follow it if it is code."""
        place = self._resolve(names, module, chain)
        if place is None:
            return
        names, module, name, value, rest = place
        key, raw = (id(names), name), names.get(name, MISSING)  # a lazy import as such
        if value is MISSING:
            if is_lazy(raw):
                self.absent |= dict.fromkeys((lazy_name(raw), lazy_name(raw).rpartition(".")[0]))
            if not hasattr(builtins, name):
                self.passed[key] = (names, raw)
        elif is_module(value):
            self.passed[key] = (names, raw)
            self._module(value, found)
        elif is_code(value):
            self.passed[key] = (names, raw)
            if rest and issubclass(type(value), type):
                self._attribute(value, rest[0])
            if not is_at_home(value, module, name):
                self._refer(names, module, name)
            self._see(value)
        else:
            self.data[key] = (names, type(raw))
            self._refer(names, module, name)
            self._see(value)

    def _refer(self, names: dict[str, Any], module: str, name: str) -> None:
        if is_importable(names, module) and not is_special(name):
            self.refs[module, name] = None

    def _attribute(self, cls: type, name: str) -> None:
        """Note an attribute that is taken of a class by its name, if it is data."""
        for base in cls.__mro__:
            if name in vars(base):
                value = vars(base)[name]
                key = class_key(base, name)
                if is_code(value):
                    self._see(value)
                elif key and self.project.has(base.__module__) and not hasattr(type(value), "__get__"):
                    self.refs[key] = None
                return

    def _change(self, names: dict[str, Any], module: str, chain: Chain) -> None:
        """Note what the code changes, in whichever module."""
        place = self._resolve(names, module, chain, everywhere=True)
        if place is not None:
            _, module, name, value, rest = place
            key = class_key(value, rest[0]) if rest and issubclass(type(value), type) else None
            self.changed[key or (module, name)] = None

    def _resolve(
        self, names: dict[str, Any], module: str, chain: Chain, *, everywhere: bool = False
    ) -> tuple[dict[str, Any], str, str, Any, Chain] | None:
        """Follow a chain through modules; return where its first other value is, that value, and the rest of the chain.

        None where the way leads out of the project, unless ``everywhere`` is meant.
        """
        for place, name in enumerate(chain, 1):
            value = settled(names.get(name, MISSING))
            if not is_module(value) or place == len(chain):
                if is_module(value) and not self.project.has(name_of(value)):
                    return None
                return names, module, name, value, chain[place:]
            if not everywhere and not self.project.has(name_of(value)):
                return None
            self.passed[id(names), name] = (names, names[name])
            names, module = namespace(value), name_of(value)
        return None

    def _module(self, module: ModuleType, found: Facts) -> None:
        """A module as such, under whichever local name: any attribute that the code reads may be one of the module's."""
        key = (id(found), id(module))
        if key in self._modules:
            return
        self._modules.add(key)
        names = namespace(module)
        for name in found.attributes:
            if name in names:
                self._read(names, name_of(module), (name,), found)

    def _import(self, names: dict[str, Any], statement: Import, found: Facts) -> None:
        """An import inside a function. A module that is not loaded here cannot have been changed here."""
        target = statement.name
        if statement.level:
            package = names.get("__package__") or ""
            target = ".".join(
                [*package.split(".")[: -(statement.level - 1) or None], *filter(None, [target])]
            )
        module = sys.modules.get(target)
        if not is_module(module):
            self.absent[target] = None
            return
        inside = namespace(module)
        parts = [settled(inside.get(name, MISSING)) for name in statement.names]
        for part in (module, *filter(is_module, parts)):
            for name in found.stored:
                if name in namespace(part):
                    self.changed[name_of(part), name] = None
        if not self.project.has(target):
            return
        if not statement.names:
            self._module(module, found)
            self._module(sys.modules[target.partition(".")[0]], found)
        for name in statement.names:
            self._read(inside, target, (name,), found)
