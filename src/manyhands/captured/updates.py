"""What a function assigns outside itself: a worker process changes its own copy, and the caller never sees it.

Runs when a function is decorated, so it imports next to nothing and looks at raw bytes first: for a function without
such an assignment, which is nearly every one, the answer costs a few microseconds. Part of ``captured``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FunctionType
    from typing import Any

#: Wrappers around wrappers are followed so many steps.
LAYERS = 50

#: The code objects that were warned about; few programs have any.
_warned: set[CodeType] = set()


_sample: None = None


def _samples() -> tuple[FunctionType, ...]:
    """Functions that differ in one instruction each: ``opcode`` need not be loaded to learn its number."""
    local = None

    def plain() -> None:
        here = None  # noqa: F841

    def assigns() -> None:
        global _sample
        _sample = None

    def deletes() -> None:
        global _sample
        del _sample

    def reads() -> None:
        return local

    def rebinds() -> None:
        nonlocal local
        local = None

    def unbinds() -> None:
        nonlocal local
        del local

    return plain, assigns, deletes, reads, rebinds, unbinds  # type: ignore[return-value]


def _numbers() -> tuple[int, ...]:
    plain, assigns, deletes, reads, rebinds, unbinds = (
        set(sample.__code__.co_code[::2]) for sample in _samples()
    )
    alone = (assigns - plain, deletes - plain, rebinds - plain - reads, unbinds - plain - reads)
    if all(len(numbers) == 1 for numbers in alone):
        return tuple(number for numbers in alone for number in numbers)
    from opcode import opmap  # a compiler that writes these functions in another way

    return tuple(opmap[name] for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"))


_STORE_GLOBAL, _DELETE_GLOBAL, _STORE_DEREF, _DELETE_DEREF = _numbers()
_Function = type(_samples)
_Code = type(_samples.__code__)


def lost_updates(func: Callable[..., Any]) -> list[tuple[str, int]]:
    """Return the module globals that a function assigns or deletes.

    Args:
        func: any callable; partials, methods, wrappers and callable objects are looked through, functions written inside
            it are looked into, functions that it calls are not.

    Returns:
        Each name with the line of its first assignment. A global that only an ``import`` statement sets is not among
        them: every process may import for itself.

    Example:
        >>> def count(x):
        ...     global total
        ...     total = total + x
        >>> [name for name, line in lost_updates(count)]
        ['total']
        >>> lost_updates(len)
        []
    """
    return _first(lost for code in layers(func) for lost in _assigned(code))


def lost_nonlocals(func: Callable[..., Any]) -> list[tuple[str, int]]:
    """Return the variables of enclosing functions that a function assigns or deletes (``nonlocal n; n += 1``).

    Args:
        func: any callable, as for ``lost_updates``.

    Returns:
        Each name with the line of its first assignment. Variables that belong to the function itself, and that
        functions written inside it assign, are not among them: they travel and return with the call.

    Example:
        >>> def outer():
        ...     n = 0
        ...     def inner(x):
        ...         nonlocal n
        ...         n += x
        ...     return inner
        >>> [name for name, line in lost_nonlocals(outer())]
        ['n']
    """
    return _first(lost for code in layers(func) for lost in _rebound(code, frozenset(code.co_freevars)))


def warn_lost_updates(func: Callable[..., Any], stacklevel: int = 1) -> None:
    """Warn, once for each function, about what it assigns outside itself.

    Args:
        func: any callable, as for ``lost_updates``.
        stacklevel: whose line the warning shows, as for ``warnings.warn``: 1 is the caller of this function.

    Example:
        >>> warn_lost_updates(len)
    """
    for code in layers(func):
        changes = [f"the global {name!r} (line {line})" for name, line in _first(_assigned(code))]
        rebound = _first(_rebound(code, frozenset(code.co_freevars)))
        changes += [f"the enclosing variable {name!r} (line {line})" for name, line in rebound]
        if not changes or code in _warned:
            continue
        _warned.add(code)
        import warnings

        from manyhands.exceptions import LostUpdateWarning

        warnings.warn(
            f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno}) assigns {' and '.join(changes)}: a worker "
            "process changes a copy of its own, which the caller never sees. Return the value instead, and combine the "
            "results in the caller; or add to an accumulator of a class that @shared_state decorates: "
            "total: int = accumulator(int). Where each worker is meant to keep a value of its own, such as a cache, ignore "
            "warnings of the category LostUpdateWarning.",
            LostUpdateWarning,
            stacklevel=stacklevel + 1,
        )


def layers(func: object) -> list[CodeType]:
    """Return the code objects that a call of ``func`` runs first: its own, and those of what it wraps.

    Example:
        >>> from functools import partial
        >>> [code.co_name for code in layers(partial(layers, len))]
        ['layers']
    """
    found: list[CodeType] = []
    pending: list[Any] = [func]
    seen: set[int] = set()
    while pending and len(seen) < LAYERS:
        obj = pending.pop()
        if id(obj) in seen:
            continue
        seen.add(id(obj))
        if type(obj) is _Function:
            found.append(obj.__code__)
            pending.append(obj.__dict__.get("__wrapped__"))
            continue
        try:
            pending += _inside(obj)
        except Exception:
            continue
    return found


def _inside(obj: Any) -> list[Any]:
    """Return what a callable that is no plain function calls in its turn."""
    kind = type(obj)
    if obj is None or kind.__name__ in {"builtin_function_or_method", "module"}:
        return []
    if isinstance(obj, type):
        return [vars(base).get(name) for name in ("__new__", "__init__") for base in obj.__mro__[:1]]
    if kind.__module__ == "functools" and hasattr(obj, "func"):  # partial
        return [obj.func]
    for name in ("__func__", "__wrapped__"):  # methods, staticmethod and classmethod objects; wrappers
        inner = getattr(obj, name, None)
        if inner is not None:
            return [inner]
    return [getattr(kind, "__call__", None)]  # noqa: B004 - what the call runs is wanted, not whether it can be called


def _first(found: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return each name with the first line it was found on."""
    lines: dict[str, int] = {}
    for name, line in found:
        lines.setdefault(name, line)
    return list(lines.items())


def _assigned(code: CodeType) -> list[tuple[str, int]]:
    """Return the globals assigned in a code object and those written inside it, with lines."""
    found: list[tuple[str, int]] = []
    operations = code.co_code[::2]
    if _STORE_GLOBAL in operations or _DELETE_GLOBAL in operations:
        from manyhands.captured.bytecode import assigned_globals

        found = assigned_globals(code)
    for constant in code.co_consts:
        if type(constant) is _Code:
            found += _assigned(constant)
    return found


def _rebound(code: CodeType, outside: frozenset[str]) -> list[tuple[str, int]]:
    """Return the variables among ``outside`` that a code object, or one written inside it, assigns, with lines."""
    outside &= frozenset(code.co_freevars)
    if not outside:
        return []
    found: list[tuple[str, int]] = []
    operations = code.co_code[::2]
    if _STORE_DEREF in operations or _DELETE_DEREF in operations:
        from manyhands.captured.bytecode import assigned_variables

        found = [(name, line) for name, line in assigned_variables(code) if name in outside]
    for constant in code.co_consts:
        if type(constant) is _Code:
            found += _rebound(constant, outside)
    return found
