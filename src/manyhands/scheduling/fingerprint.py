"""What makes a function, and an item, the same as in an earlier run of the program.

``checkpoint`` keeps results for another run; here it is told whether they are still those of this function and of these
items. Whatever is compared is compared as a hash that does not depend on the run: not on addresses, not on the order of
sets, which is another in each run, not on line numbers and paths, so that a function may be moved within its file.

A function's results depend on its code, defaults, closure and the arguments of partials; on the functions and classes of its
project that the code names, wherever they are, also in modules that are imported inside of functions (which are imported to be
looked at); on the globals, and the attributes of modules and classes, that this code reads; and on the classes of the values
among these. Left out is what that code itself changes (a counter, a memory of its own), and globals that cannot be pickled
(connections, locks). What is reached by names that are computed, through arguments and through libraries is not seen.

A false difference costs work, a false match would be a wrong answer: where nothing can be said, the answer is "another".
"""

from __future__ import annotations

import marshal
import sys
from dis import hasconst, opmap
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pickle import Pickler, PicklingError
from pickle import dumps as pickle
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

from manyhands.captured.bytecode import facts, instructions
from manyhands.captured.kinds import (
    ANNOTATING,
    ATOMIC,
    MISSING,
    is_code,
    is_module,
    is_special,
    name_of,
    namespace,
    origin,
    settled,
    wrapped,
)
from manyhands.captured.project import Project
from manyhands.captured.reads import globals_changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from manyhands.captured.bytecode import Chain, Facts, Import

PROTOCOL = 5
#: Pickles in which these bytes do not occur hold no set, no frozenset and no reference to a function.
EMPTY_SET, FROZENSET, GLOBAL = b"\x8f", b"\x91", b"\x93"
#: Where a class body of Python 3.13 and later notes its line.
FIRST_LINE = "__firstlineno__"


def key(item: Any) -> bytes | None:
    """Return what an item is known by in every run, 16 bytes; None: it cannot be told from others.

    Plain values, and tuples of them, are compared by type and value; everything else by its pickle, in which sets are
    sorted, and functions stand for their code.

    Args:
        item: the item.

    Example:
        >>> key((1, "a")) == key((1, "a")), key(1) == key(True), key({"a", "b"}) == key({"b", "a"})
        (True, False, True)
    """
    kind = type(item)
    try:
        if kind in ATOMIC or (kind is tuple and ATOMIC.issuperset(map(type, item))):
            return blake2b(marshal.dumps(item, 2), digest_size=16).digest()
        try:
            data = pickle(item, PROTOCOL)
        except Exception:
            data = GLOBAL  # a lambda, perhaps
        if GLOBAL in data or EMPTY_SET in data or FROZENSET in data:
            data = b"+" + _Pickle(Fingerprint(Project("__main__"))).of(item)
        return blake2b(data, digest_size=16, person=b"pickle").digest()
    except Exception:  # what an item does when it is pickled
        return None


def fingerprint(function: Callable[..., Any], constants: dict[str, Any]) -> dict[str, str]:
    """Return what a call's results depend on, each part by its name in words, as a hash.

    Args:
        function: any callable.
        constants: the keywords that are the same for every item.

    Raises:
        PicklingError: a part cannot be told from others; the message names it.

    Example:
        >>> parts = fingerprint(lambda x, k=2: x * k, {"scale": 3})
        >>> sorted(parts)
        ['Python', 'the code of <lambda>()', 'the constant scale', 'the default of k in <lambda>()']
    """
    found = Fingerprint(Project(origin(function)[0]), globals_changed(function))
    found.parts["Python"] = sys.implementation.cache_tag or sys.version  # another one writes other code
    found.callable(function)
    for name, value in constants.items():
        found.value(f"the constant {name}", value)
    return found.parts


class Fingerprint:
    """Collects the parts of a callable: its own, and those of what it names in its project.

    Args:
        project: the project.
        changed: module and name of globals, and of attributes of classes, that are not compared; None: values are compared
            without looking at the code of their classes.
    """

    def __init__(self, project: Project, changed: frozenset[tuple[str, str]] | None = None) -> None:
        self.parts: dict[str, str] = {}
        self.changed = changed
        self._project = project
        self._digests: dict[int, tuple[object, bytes]] = {}  # of functions and classes among values
        self._seen: dict[int, object] = {}  # holds the objects, so that an id stays theirs

    def digest(self) -> bytes:
        """Return all parts in one."""
        return repr(sorted(self.parts.items())).encode()

    def looks_into(self, kind: type) -> bool:
        """Tell whether the code of a class counts among values."""
        return "<locals>" in kind.__qualname__ or (
            self.changed is not None and self._project.has(kind.__module__)
        )

    def digest_of(self, code: Any) -> bytes:
        """Return all parts of a function or class that is met among values, in one."""
        known = self._digests.get(id(code))
        if known is None:
            inner = Fingerprint(self._project, self.changed)
            inner._seen = dict(self._seen)  # what refers to itself comes round to its name
            inner._digests = self._digests
            inner.callable(code)
            known = self._digests[id(code)] = (code, inner.digest())
        return known[1]

    def callable(self, function: Any) -> str:
        """Note a callable, and return its name."""
        kind = type(function)
        name = str(getattr(function, "__qualname__", None) or kind.__qualname__)
        if id(function) in self._seen:
            return name
        self._seen[id(function)] = function
        if isinstance(function, FunctionType):
            self._function(function, name)
        elif isinstance(function, MethodType):
            self.callable(function.__func__)
            self.value(f"the object that {name}() is bound to", function.__self__)
        elif isinstance(function, partial):
            self.callable(function.func)
            for place, value in enumerate(function.args):
                self.value(f"argument {place} of the partial", value)
            for keyword, value in function.keywords.items():
                self.value(f"the argument {keyword} of the partial", value)
        elif isinstance(function, type):
            self._class(function)
        elif (inner := _inside(function)) is not None:
            self.callable(inner)
        elif isinstance(function, BuiltinFunctionType) or kind.__module__ == "builtins":
            self._note(f"the function {name}()", f"{getattr(function, '__module__', '')}.{name}".encode())
            if not isinstance(getattr(function, "__self__", None), (ModuleType, type(None))):
                self.value(f"the object that {name}() is bound to", function.__self__)
        else:
            self._class(kind)
            self.value(f"the object {name}", function)
        return name

    def value(self, label: str, value: Any) -> None:
        """Note a value: by what it is, or, if it is a function, by its code."""
        if isinstance(value, ModuleType):
            self._note(label, value.__name__.encode())
            return
        if isinstance(value, type):
            self._note(label, self.callable(value).encode())
            return
        try:
            self._note(label, _Pickle(self).of(value))
        except Exception as error:
            raise PicklingError(f"{label} cannot be compared with that of another run: {error}") from error

    def _note(self, label: str, data: bytes) -> None:
        place = 2
        unique = label
        while unique in self.parts:  # two functions of one name
            unique = f"{label} ({place})"
            place += 1
        self.parts[unique] = blake2b(data, digest_size=16).hexdigest()

    def _function(self, function: FunctionType, name: str) -> None:
        code = function.__code__
        self._note(f"the code of {name}()", _code(code, function.__doc__))
        for place, value in enumerate(reversed(function.__defaults__ or ()), 1):
            argument = code.co_varnames[code.co_argcount - place]
            self.value(f"the default of {argument} in {name}()", value)
        for argument, value in (function.__kwdefaults__ or {}).items():
            self.value(f"the default of {argument} in {name}()", value)
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            self.value(f"the variable {variable} around {name}()", value)
        self._globals(function, name)

    def _globals(self, function: FunctionType, name: str) -> None:
        """Note what the code of a function of the project names outside of it."""
        if not self._project.has(function.__module__):
            return
        found, names = facts(function.__code__), function.__globals__
        for chain in found.chains:
            self._chain(names, str(names.get("__name__", "")), chain, found, name)
        for statement in found.imports:
            self._import(names, statement, found, name)

    def _chain(self, names: dict[str, Any], module: str, chain: Chain, found: Facts, reader: str) -> None:
        """Note where a chain of names leads: through modules of the project to the first other value."""
        for place, word in enumerate(chain, 1):
            value = settled(names.get(word, MISSING))
            if not is_module(value) or not self._project.has(name_of(value)):
                self._global(module, chain[:place], value, reader)
                return
            module, names = name_of(value), namespace(value)
        self._module(names, module, chain, found, reader)

    def _module(self, names: dict[str, Any], module: str, chain: Chain, found: Facts, reader: str) -> None:
        """A module as such, under whichever local name: any attribute that the code reads may be one of the module's."""
        for attribute in found.attributes:
            value = names.get(attribute, MISSING)
            if not is_module(value):
                self._global(module, (*chain, attribute), value, reader)

    def _import(self, names: dict[str, Any], statement: Import, found: Facts, reader: str) -> None:
        """An import inside a function: of the project's modules, what is taken from them."""
        target = statement.name
        if statement.level:
            package = str(names.get("__package__") or "").split(".")
            target = ".".join([*package[: 1 - statement.level or None], *filter(None, [target])])
        module = self._project.load(target)
        if module is None:
            return
        if not statement.names:
            self._module(namespace(module), target, (target,), found, reader)
        for word in statement.names:
            if not hasattr(module, word):
                self._project.load(f"{target}.{word}")
            self._chain({target: module}, target, (target, word), found, reader)

    def _global(self, module: str, words: Chain, value: Any, reader: str) -> None:
        """Note a global: code of the project by all that it is, other code and modules by name, and data by what they are."""
        label = f"the global {'.'.join(words)} of {reader}()"
        if value is MISSING or is_special(words[-1]) or label in self.parts:
            return
        inner = value
        if not isinstance(value, (FunctionType, MethodType, type, partial)):
            inner = _inside(value) or value
        code = inner.func if isinstance(inner, partial) else inner
        if isinstance(code, (FunctionType, MethodType, type)) and self._project.has(code.__module__):
            self.callable(inner)
        elif is_module(value):
            self._note(label, name_of(value).encode())
        elif is_code(value):
            self._note(
                label, f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".encode()
            )
        else:
            self._data(label, module, words[-1], value)

    def _data(self, label: str, module: str, name: str, value: Any) -> None:
        """Note what can be compared, unless it is changed by who reads it."""
        if self.changed is not None and (module, name) in self.changed:
            return
        try:
            self.value(label, value)
        except PicklingError:
            pass

    def _class(self, kind: type) -> None:
        name = kind.__qualname__
        self._note(f"the class {name}", f"{kind.__module__}.{name}".encode())
        if not self._project.has(kind.__module__):
            return
        for base in kind.__bases__:
            if self._project.has(base.__module__):
                self.callable(base)
        for attribute, member in vars(kind).items():
            if attribute in ANNOTATING:
                continue
            inner = member
            for way in ("__func__", "fget", "func"):
                inner = getattr(inner, way, inner) if is_code(inner) else inner
            inner = _inside(inner) or inner
            if isinstance(inner, FunctionType):
                self.callable(inner)
            elif not is_special(attribute) and not is_code(member):
                self._data(f"{name}.{attribute}", kind.__module__, f"{name}.{attribute}", member)


class _Pickle(Pickler):
    """Pickles for comparison: sets are sorted, functions stand for their code. Nothing can be read back."""

    def __init__(self, owner: Fingerprint) -> None:
        self._file = BytesIO()
        self._owner = owner
        self._sets: dict[int, tuple[int, object]] = {}  # in the order in which they were met; holds them
        super().__init__(self._file, PROTOCOL)

    def of(self, value: object) -> bytes:
        self.dump(value)
        return self._file.getvalue()

    def persistent_id(self, value: Any) -> object:
        kind = type(value)
        if kind is set or kind is frozenset:
            number, _ = self._sets.setdefault(id(value), (len(self._sets), value))
            return kind.__name__, number, sorted(_Pickle(self._owner).of(element) for element in value)
        if kind is FunctionType or (isinstance(value, type) and self._owner.looks_into(value)):
            return kind.__name__, value.__qualname__, self._owner.digest_of(value)
        if kind is CodeType:
            return "code", _code(value)
        if self._owner.changed is not None and _is_ours(getattr(kind, "__reduce__", None)):
            return self._ours(value)
        return None

    def _ours(self, value: Any) -> object:
        """An object of this library: functions by their code, arrays by their content, what else processes share by its kind."""
        kind = type(value)
        inner = _inside(value)
        if inner is not None:
            return kind.__name__, self._owner.digest_of(inner)
        if hasattr(value, "dtype"):
            return kind.__name__, str(value.dtype), value.shape, blake2b(value.tobytes()).digest()
        return kind.__module__, kind.__qualname__


def _is_ours(code: Any) -> bool:
    return str(getattr(code, "__module__", "")).partition(".")[0] == "manyhands"


def _inside(value: Any) -> Any:
    """Return what a wrapper wraps, or None; also of a shared cache, which does not show it to who looks for code that travels."""
    return wrapped(value) or (getattr(value, "__wrapped__", None) if _is_ours(type(value)) else None)


def _code(code: CodeType, doc: str | None = None) -> bytes:
    """Return the bytes of a code object, without lines, paths and, if it is given, the docstring."""
    constants: Iterable[Any] = code.co_consts
    steps: object = code.co_code
    if FIRST_LINE in code.co_names:  # the body of a class, which says on which line it stands
        constants = [each for each in constants if type(each) is not int or each != code.co_firstlineno]
        place = code.co_names.index(FIRST_LINE)
        pairs = [(op, argument) for op, argument, _ in instructions(code)]
        steps = [  # constants by what they are: a small line number is none of them, which moves the others
            (op, _constant(code.co_consts[argument]) if op in hasconst else argument)
            for (op, argument), after in zip(pairs, [*pairs[1:], (0, 0)], strict=True)
            if after != (opmap["STORE_NAME"], place)
        ]
    words = [_constant(each) for each in constants]
    if doc is not None and code.co_consts and code.co_consts[0] == doc:
        words[0] = b"docstring"
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return repr((code.co_name, arguments, names, steps, code.co_exceptiontable, words)).encode(
        errors="surrogatepass"
    )


def _constant(value: Any) -> bytes:
    kind = type(value)
    if kind is CodeType:
        return _code(value)
    if kind is tuple:
        return b"(" + b",".join(map(_constant, value)) + b")"
    if kind is frozenset:
        return b"{" + b",".join(sorted(map(_constant, value))) + b"}"
    if kind is slice:  # a constant from Python 3.14 on
        return b"[" + b":".join(map(_constant, (value.start, value.stop, value.step))) + b"]"
    return f"{kind.__name__} {value!r}".encode(errors="surrogatepass")
