"""Running a pool's initializer in a worker, and what it leaves in ``__main__``.

An initializer sets globals for the tasks that come after it. In a module it does so by itself. A function of ``__main__``
travels by value, with a copy of the globals it names: what the initializer has changed of its copy is put into the copy of
every function that arrives later (``serialize.own``). Loaded by ``worker`` where there is an initializer.
"""

from __future__ import annotations

from _pickle import loads

from manyhands.transport import serialize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def run(packed: bytes, unwrap: Callable[[Any], Any]) -> None:
    """Run an initializer.

    Args:
        packed: the pickled pair of function and arguments.
        unwrap: gives the plain function behind a decorated one.
    """
    function, arguments = loads(packed)
    function = unwrap(function)
    names = _namespace(function)
    before = {name: (value, _content(value)) for name, value in names.items()}
    function(*arguments)
    for name, value in names.items():
        if name not in before or value is not before[name][0] or _content(value) != before[name][1]:
            serialize.own[name] = value


def _namespace(function: Any) -> dict[str, Any]:
    """The globals that a function of ``__main__`` has brought along."""
    while True:
        inner = getattr(function, "func", None) or getattr(function, "__func__", None)
        if inner is None:
            break
        function = inner
    names = getattr(function, "__globals__", {})
    return names if names.get("__name__") == "__main__" else {}


def _content(value: Any) -> bytes | None:
    """What a value holds, to be compared; None where that cannot be said."""
    try:
        return serialize.pickle(value, serialize.PROTOCOL)
    except Exception:
        return None
