"""What a function reads and writes outside itself, as far as its code shows.

A worker process has module globals of its own: it sees neither what the caller has set since import, nor does the
caller see what a task sets there. This package finds both by looking at bytecode, never by running anything::

    updates   names that a function assigns outside itself, lost with its worker: warned about at decoration
    bytecode  the facts one code object shows: names read, names changed, modules imported
    reads     the module globals that a function and the functions of its project read, found through those facts
    values    their contents: taken in the caller (``snapshot``), compared and put in place in the worker (``apply``)

Used by ``functions`` at decoration, by ``backends`` for definitions, by ``engine.worker``. Everything here is loaded
when first used: a program that only decorates pays for ``updates`` alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.captured.reads import GlobalRef, globals_read
    from manyhands.captured.updates import lost_nonlocals, lost_updates, warn_lost_updates
    from manyhands.captured.values import apply, snapshot

__all__ = [
    "GlobalRef",
    "apply",
    "globals_read",
    "lost_nonlocals",
    "lost_updates",
    "snapshot",
    "warn_lost_updates",
]


_HOMES = {
    "GlobalRef": "reads",
    "apply": "values",
    "globals_read": "reads",
    "lost_nonlocals": "updates",
    "lost_updates": "updates",
    "snapshot": "values",
    "warn_lost_updates": "updates",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(__import__(f"{__name__}.{_HOMES[name]}", fromlist=(name,)), name)
    return value
