"""The caller's ``contextvars`` in a worker: which of them can travel, and the context that tasks run in.

A ``ContextVar`` has no pickle. One that is a module's attribute travels as that; one of ``__main__``, or of a closure, by a
number drawn by its process, so that a function that comes by value and the context mean the same variable
(``transport.variables``). Used by ``ways``, in both processes.
"""

from __future__ import annotations

from contextvars import Context

from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import ContextVar
    from typing import Any

#: Names of variables that were left out, and said to be.
_told: set[str] = set()


def pack(context: Context) -> bytes:
    """Return what of a context can travel, warning once of each variable that cannot.

    Args:
        context: the context.
    """
    found = []
    for variable, value in context.items():
        try:
            found.append(_entry(variable, value))
        except Exception as error:
            _tell(variable, value, error)
    found.sort()  # the same content is the same definition
    return dumps(found)


def unpack(blob: bytes) -> Context:
    """Return a context in which the variables have their values.

    Args:
        blob: what ``pack`` has returned.
    """
    context = Context()
    for entry in loads(blob):
        variable, value = loads(entry)
        if variable is None:
            from decimal import setcontext

            context.run(setcontext, value)
        else:
            context.run(variable.set, value)
    return context


def _entry(variable: ContextVar[Any], value: Any) -> bytes:
    if variable.name == "decimal_context" and type(value).__module__ == "decimal":
        return dumps((None, value))  # the variable itself is hidden in C
    return dumps((variable, value))


def _tell(variable: ContextVar[Any], value: Any, error: Exception) -> None:
    if variable.name in _told:
        return
    _told.add(variable.name)
    import warnings

    from manyhands.exceptions import LostUpdateWarning

    warnings.warn(
        f"the context variable {variable.name!r} is left out: its value (a {type(value).__name__}) cannot be sent to a worker: "
        f"{error}",
        LostUpdateWarning,
        stacklevel=_outside(),
    )


def _outside() -> int:
    """The stack level of the first frame, seen from our caller, that is not this package's own."""
    import sys

    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "manyhands":
        frame, level = frame.f_back, level + 1
    return level
