"""What kind of thing a value is, told without running any code of it. Part of ``captured``; used by ``reads`` and ``values``."""

from __future__ import annotations

import sys
from functools import cached_property, partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    GenericAlias,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    UnionType,
    WrapperDescriptorType,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard

ATOMIC = frozenset({int, float, complex, str, bytes, bool, type(None)})
"""Immutable types that refer to nothing."""

MISSING: Any = type("Missing", (), {})()
"""Stands for a name that is not set."""


_CODE = (
    BuiltinFunctionType,
    FunctionType,
    GenericAlias,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    UnionType,
    WrapperDescriptorType,
    cached_property,
    classmethod,
    property,
    staticmethod,
    type,
)


def is_code(value: Any) -> bool:
    """Return whether a value is no data: a function, a class, what wraps one, or an annotation's type."""
    kind = type(value)
    return (
        issubclass(kind, _CODE)
        or kind.__module__ in ("typing", "typing_extensions")
        or (callable(value) and wrapped(value) is not None)
    )


def wrapped(value: Any) -> Any:
    """Return what a wrapper wraps, as ``functools.wraps`` notes it; None for everything else."""
    try:
        # Asked of those only that have it: __getattr__ of anything else may load or connect whatever it stands for.
        if any("__wrapped__" in vars(base) for base in type(value).__mro__):
            return value.__wrapped__
        return object.__getattribute__(value, "__dict__").get("__wrapped__")
    except Exception:
        return None


#: What a class has for its annotations (PEP 649): functions that nobody's code calls, and what they have given.
ANNOTATING = frozenset({"__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__"})


def is_special(name: str) -> bool:
    """Return whether a name is one of the language's own, such as ``__init__``."""
    return name.startswith("__") and name.endswith("__")


def is_at_home(value: Any, module: str, name: str) -> bool:
    """Return whether a function or class is found where it says it is; True for those that do not say."""
    try:
        home, own = value.__module__, value.__qualname__
    except Exception:
        return True
    return type(home) is not str or type(own) is not str or (home, own) == (module, name)


def is_importable(names: dict[str, Any], module: str) -> bool:
    """Return whether a worker that imports the module gets a namespace that corresponds to this one."""
    found = sys.modules.get(module)
    return module != "__main__" and is_module(found) and namespace(found) is names


def class_key(cls: type, name: str) -> tuple[str, str] | None:
    """Return module and dotted name of a class's attribute; None where it cannot be found or set by these."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    plain = type(cls) is type or type(cls).__module__ == "abc"
    if found is not cls or not plain or cls.__module__ == "__main__" or is_special(name):
        return None
    return cls.__module__, f"{cls.__qualname__}.{name}"


def is_module(value: Any) -> TypeGuard[ModuleType]:
    """Return whether a value is a module."""
    # Not isinstance(): a proxy would answer that for what is behind it.
    return issubclass(type(value), ModuleType)


def namespace(module: ModuleType) -> dict[str, Any]:
    """Return the globals of a module."""
    # Not vars(): a module that loads itself when first used would do so.
    names: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return names


def name_of(module: ModuleType) -> str:
    """Return the name that a module has given itself."""
    return str(namespace(module).get("__name__", ""))


def is_lazy(value: Any) -> bool:
    """Return whether a value stands for a lazy import (PEP 810) that has not happened yet."""
    return type(value).__name__ == "lazy_import" and type(value).__module__ == "builtins"


def lazy_name(value: Any) -> str:
    """Return the dotted name of what a lazy import stands for: a module, or a name in one."""
    return repr(value).partition("'")[2].rpartition("'")[0]


def settled(value: Any) -> Any:
    """Return what a lazy import stands for if that is loaded, MISSING if not; any other value as it is.

    What is not loaded here cannot have been changed here.
    """
    if not is_lazy(value):
        return value
    name = lazy_name(value)
    if name in sys.modules:
        return sys.modules[name]
    holder, _, attribute = name.rpartition(".")
    module = sys.modules.get(holder)
    return MISSING if module is None else settled(namespace(module).get(attribute, MISSING))


def origin(func: Any) -> tuple[str, Any]:
    """Return the module of the function behind a callable, and the class it was written in, if any."""
    for _ in range(50):
        if type(func) is MethodType:
            func = func.__func__
        elif issubclass(type(func), partial):
            func = func.func
        elif (inner := wrapped(func)) is not None:
            func = inner
        elif type(func) is FunctionType:
            owner: Any = func.__globals__
            for part in func.__qualname__.split(".")[:-1]:
                owner = (
                    owner.get(part)
                    if type(owner) is dict
                    else vars(owner).get(part)
                    if isinstance(owner, type)
                    else None
                )
            return str(func.__globals__.get("__name__", "")), owner if isinstance(owner, type) else None
        else:
            break
    cls = func if isinstance(func, type) else type(func)
    return str(cls.__module__), None
