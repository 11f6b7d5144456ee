"""Context variables as bytes: the attribute of a module where they are one, else a number that stands for them.

``serialize`` has its pickler ask ``reduce_variable``. What travels by number is the same variable for all that comes from one
process: in a function's globals, in a closure, and in the context that ``engine.contexts`` packs.
"""

from __future__ import annotations

import sys
from contextvars import Context, ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Here: where each variable was found, its module and name there; None: nowhere that a worker could find it.
_places: dict[ContextVar[Any], tuple[str, str] | None] = {}
#: In a worker: variables by the number that they have where they come from.
_variables: dict[int, ContextVar[Any]] = {}


def reduce_variable(variable: ContextVar[Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return how to make, or find, a variable in another process; for ``pickle``.

    Args:
        variable: the variable; it is never let go, so that its number stays its own.

    Example:
        >>> make, arguments = reduce_variable(ContextVar("user", default="nobody"))
        >>> make is make_variable, arguments[0], arguments[2]
        (True, 'user', ('nobody',))
    """
    if variable not in _places:
        _places[variable] = None
        _find()
    place = _places[variable]
    if place is not None and getattr(sys.modules.get(place[0]), place[1], None) is variable:
        return find_variable, place
    try:
        default: tuple[Any, ...] = (Context().run(variable.get),)
    except LookupError:
        default = ()
    return make_variable, (variable.name, id(variable), default)


def find_variable(module: str, name: str) -> Any:
    """Return an attribute of a module."""
    from importlib import import_module

    return getattr(import_module(module), name)


def make_variable(name: str, number: int, default: tuple[Any, ...]) -> ContextVar[Any]:
    """Return the variable with that number, made if it is new here."""
    for variable in _places:
        if id(variable) == number and variable.name == name:  # it has come back, or this worker was forked
            return variable
    found = _variables.get(number)
    if found is None:
        found = ContextVar(name, default=default[0]) if default else ContextVar(name)
        _variables[number] = found
    return found


def _find() -> None:
    """Look for the variables that have no place yet among the attributes of all modules."""
    missing = {variable for variable, place in _places.items() if place is None}
    for module, content in list(sys.modules.items()):
        if module == "__main__":
            continue
        for name, value in list(getattr(content, "__dict__", {}).items()):
            if type(value) is ContextVar and value in missing:
                _places[value] = module, name
