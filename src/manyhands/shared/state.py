"""What ``@shared_state`` makes of a class whose body declares fields, and of a function that is to be given a state.

The class stays what it was, and its instances are handles: typed, picklable, and the same state wherever they get to. A
function with states is called with them as keywords, in whichever process it runs.
"""

from __future__ import annotations

from manyhands.exceptions import SharedStateError
from manyhands.naming import annotated, parameters, take_names
from manyhands.shared.identity import Field, attach, key_for, known, new
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CHANGEABLE = (list, dict, set, bytearray)


def declare(kind: type) -> type:
    """Make states of a class's instances.

    Args:
        kind: the class.

    Raises:
        SharedStateError: it declares no field, or something that every process would have its own of.
    """
    found = fields(kind)
    if not found:
        raise SharedStateError(
            f"{kind.__name__} declares no field: write at least one, such as total: int = accumulator(int)"
        )
    for name, value in vars(kind).items():
        if isinstance(value, _CHANGEABLE) and not name.startswith("__"):
            named = type(value).__name__
            raise SharedStateError(
                f"{kind.__name__}.{name} is a plain {named}, of which every process would have its own: declare it as "
                f"accumulator({named}) if tasks add to it, or as managed({named}) if they also read it"
            )
    taken = [name for name in found if name in _METHODS or name == "_record"]
    if taken:
        raise SharedStateError(
            f"{kind.__name__}.{taken[0]}: the handle has a method of that name; take another name"
        )
    for name in annotated(kind):
        if not hasattr(kind, name):
            raise SharedStateError(
                f"{kind.__name__}.{name} is annotated, and not declared: give it a field, as in {name} = accumulator(int)"
            )
    for name, method in _METHODS.items():
        setattr(kind, name, method)
    return kind


def fields(kind: type) -> dict[str, Field]:
    """Return the fields of a class, those of its bases included.

    Args:
        kind: the class.
    """
    found: dict[str, Field] = {}
    for base in reversed(kind.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Field):
                found[name] = value
            else:
                found.pop(name, None)
    return found


# What handles can do. Functions of this module, so that a class that travels by value refers to them.


def _new(kind: Any, *arguments: Any, **keywords: Any) -> Any:
    if (arguments or keywords) and kind.__init__ is object.__init__:
        raise TypeError(f"{kind.__name__}() takes no arguments")
    key = key_for(kind)
    if key[0] and tally.worker:  # the module that is being imported has made it where the tasks come from
        return known.get(key) or new(kind, key, owned=False)
    handle = new(kind, key, owned=True)
    for field in fields(kind).values():
        field.create(handle._record)
    return handle


def _reduce(self: Any) -> Any:
    record = self._record
    return attach, (type(self), record.key, record.values)


def _set(self: Any, name: str, value: Any) -> None:
    found = getattr(type(self), name, None)
    if isinstance(found, Field):
        found.__set__(self, value)
        return
    if not hasattr(type(found), "__set__"):
        names = ", ".join(fields(type(self)))
        raise SharedStateError(
            f"{type(self).__name__} has no field {name!r}, and what is set here would stay in this process; it has: {names}"
        )
    object.__setattr__(self, name, value)


def _repr(self: Any) -> str:
    key = self._record.key
    number = f"{key[2]}" if key[3] else f"{key[2]} of {key[0]}"
    return f"<{type(self).__qualname__}, shared state {number}: {', '.join(fields(type(self)))}>"


def _reset(self: Any) -> None:
    """Put every field back as it was made; outside of tasks."""
    for field in fields(type(self)).values():
        field.reset(self._record)


def _copy(self: Any, *_: Any) -> Any:
    return self


_METHODS: dict[str, Any] = {
    "__new__": staticmethod(_new),
    "__reduce__": _reduce,
    "__setattr__": _set,
    "__repr__": _repr,
    "__copy__": _copy,
    "__deepcopy__": _copy,
    "reset": _reset,
}


class Stateful:
    """A function that is given states as keywords, in every call.

    Args:
        function: the function.
        states: handles by keyword.
    """

    def __init__(self, function: Callable[..., Any], states: dict[str, Any]) -> None:
        self.__wrapped__ = function
        self.func = function
        self.state = self.__manyhands_state__ = States(states)
        take_names(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **{**vars(self.state), **kwargs})

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        bind = getattr(type(self.func), "__get__", None)
        bound = self.func if bind is None else bind(self.func, instance, owner)
        return self if bound is self.func else Stateful(bound, vars(self.state))

    def __reduce__(self) -> Any:
        from manyhands.transport.serialize import named

        if named(self) is self:
            return self.__qualname__
        return Stateful, (self.func, vars(self.state))

    def __repr__(self) -> str:
        return f"<{getattr(self, '__qualname__', self.func)} with {', '.join(vars(self.state))}>"


class States:
    """The states of a function, as attributes.

    Args:
        states: handles by name.
    """

    def __init__(self, states: dict[str, Any]) -> None:
        vars(self).update(states)

    def __repr__(self) -> str:
        return f"<states: {', '.join(vars(self))}>"


def give(function: Callable[..., Any], wanted: dict[str, Any]) -> Stateful:
    """Return a function that is given states.

    Args:
        function: the function.
        wanted: by keyword, classes, of which states are made here, or handles.

    Raises:
        SharedStateError: there is something else among them, or the function does not take such a keyword.
    """
    states = {}
    for name, state in wanted.items():
        kind = state if isinstance(state, type) else type(state)
        if getattr(kind, "__new__", None) is not _new:
            raise SharedStateError(
                f"shared_state({name}={state!r:.60}): give a class that @shared_state decorates, or one of its instances"
            )
        _check_takes(function, name)
        states[name] = state() if isinstance(state, type) else state
    return Stateful(function, states)


def _check_takes(function: Any, name: str) -> None:
    from inspect import Parameter

    known = parameters(function)
    if known is None:
        return
    parameter = known.get(name)
    if parameter is not None and parameter.kind not in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL):
        return
    if any(each.kind == Parameter.VAR_KEYWORD for each in known.values()):
        return
    raise SharedStateError(
        f"{getattr(function, '__qualname__', function)} takes no keyword {name!r}: add it to its parameters, as in "
        f"def {getattr(function, '__name__', 'f')}(..., *, {name})"
    )
