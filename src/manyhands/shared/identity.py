"""Which state a handle means, in every process; what is common to all fields.

A state that a module makes while it is imported (``totals = Totals()``) is known by the module and its number there: a worker
that imports the module makes the same handle, and no state. Any other is known by a number, and by a token drawn by the
process that made it. Handles travel as that key; one process has one handle for one key.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref

from manyhands.exceptions import SharedStateError
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.transport.tally import Key, Parts

#: The handles of this process.
known: weakref.WeakValueDictionary[Key, Any] = weakref.WeakValueDictionary()

_token = ""
_count = 0
#: Of modules that have made states: their import, and how many it has made.
_imports: dict[str, tuple[Any, int]] = {}


class Record:
    """What a handle has inside.

    Args:
        key: of the state.
        owned: it was made by this process.
    """

    __slots__ = ("born", "key", "lock", "owned", "totals", "values")

    def __init__(self, key: Key, *, owned: bool) -> None:
        self.key = key
        self.owned = owned
        #: Of accumulators; None: another process has them.
        self.totals: dict[str, Any] | None = {} if owned else None
        #: What the other fields need to reach their content, from any process.
        self.values: dict[str, Any] = {}
        #: The task that has made it, for which it is no state to add to, but its own.
        self.born: Parts | None = tally.running.parts
        self.lock = threading.RLock()


class Field:
    """A field of a state; a descriptor in its class."""

    name = "?"
    owner = "?"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.owner = owner.__name__

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"

    def __set__(self, handle: Any, value: Any) -> None:
        raise NotImplementedError

    def create(self, record: Record) -> None:
        """Make what the field holds, in the process that makes the state."""

    def reset(self, record: Record) -> None:
        """Put it back as it was made."""

    def __delete__(self, handle: Any) -> None:
        raise SharedStateError(f"{self} is a field of a shared state and cannot be deleted")


def key_for(kind: type) -> Key:
    """Return the key of a state that is being made.

    Args:
        kind: its class.
    """
    global _token, _count
    name = f"{kind.__module__}.{kind.__qualname__}"
    module, spec = _importing()
    if module:
        before, number = _imports.get(module, (spec, 0))
        if before is not spec:  # it was reloaded
            number = 0
        _imports[module] = spec, number + 1
        return module, name, number, ""
    if not _token:
        _token = os.urandom(8).hex()
    _count += 1
    return "", name, _count, _token


def _importing() -> tuple[str, Any]:
    """The module that is being imported, further up the stack, and its import; ("", None): none is."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            spec = frame.f_globals.get("__spec__")
            if spec is not None and getattr(spec, "_initializing", False):
                return spec.name, spec
        frame = frame.f_back
    return "", None


def of_this_process(key: Key) -> bool:
    """Tell whether a state was made by this process, by its token.

    Args:
        key: of the state.
    """
    return bool(_token) and key[3] == _token


def find(key: Key) -> Any:
    """Return the handle of a state, importing the module that makes it if need be; None: nobody has it.

    Args:
        key: of the state.
    """
    handle: Any = known.get(key)
    if handle is None and key[0] and key[0] not in sys.modules:
        from importlib import import_module

        try:
            import_module(key[0])
        except ImportError:
            return None
        handle = known.get(key)
    return handle


def attach(kind: type, key: Key, values: dict[str, Any]) -> Any:
    """Return the handle of a state that has come from another process.

    Args:
        kind: its class.
        key: of the state.
        values: what its fields need to reach their content.
    """
    handle = known.get(key)
    if handle is None:
        handle = new(kind, key, owned=False)
    record = handle._record
    if not record.owned:
        record.values.update(values)
    return handle


def new(kind: type, key: Key, *, owned: bool) -> Any:
    """Return a new handle.

    Args:
        kind: its class.
        key: of the state.
        owned: the state is made here.
    """
    handle: Any = object.__new__(kind)
    object.__setattr__(handle, "_record", Record(key, owned=owned))
    known[key] = handle
    tally.made = True
    return handle


def apart(field: Field) -> SharedStateError:
    """The error for a state that is used where it means nothing.

    Args:
        field: the one that was used.
    """
    return SharedStateError(
        f"{field} belongs to a state that another process has made, and no task runs here that could add to it. Use it inside "
        f"tasks (map, submit, ...), and read it in the process that made it; a process that is to have totals of its own "
        f"makes a state: {field.owner}()"
    )


def _after_fork_in_child() -> None:
    """What was made before the fork is the parent's."""
    global _token
    _token = ""
    tally.running.parts = None
    for handle in list(known.values()):
        record = handle._record
        record.owned, record.totals, record.lock = False, None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
