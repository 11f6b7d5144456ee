"""What the task that runs has added to accumulators: kept apart until the task is done, and thrown away if it fails.

::

    a task adds ──> its parts ──done──> shares ──with the result──> the caller ──when its turn has come──> the totals
                        └─────failed──> nowhere

A worker runs one task at a time, and whatever thread of it adds, adds for that one: ``in_worker``. In the caller's process
tasks run in several threads, each with its own ``running.parts``. Loaded in every process; knows nothing of fields.
"""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Key: TypeAlias = tuple[str, str, int, str]
    Share: TypeAlias = tuple[Key, str, Any]
    """State, field, and what was added."""


class Parts(dict[tuple[int, str], list]):  # type: ignore[type-arg]
    """What a task adds to: by state (its record's id) and field, how the part is closed, the part itself, and the record."""

    __slots__ = ()

    def turn(self) -> None:
        """It is about to add; here for those who run several tasks with one of these."""


class _Running(_local):
    """Of each thread: the parts of the task that it runs; None: it runs none."""

    parts: Parts | None = None


running = _Running()

#: In a worker: the parts of its task; None: it runs none.
in_worker: Parts | None = None

#: Whether this process is a worker: what modules make here while they are imported, the caller has.
worker = False

#: Whether there is any state in this process: where there is none, nobody can have added to it.
made = False


class Counted:
    """What a task has returned, with what it has added.

    Args:
        value: what it has returned.
        shares: what it has added.
    """

    __slots__ = ("shares", "value")

    def __init__(self, value: Any, shares: list[Share]) -> None:
        self.value = value
        self.shares = shares

    def __reduce__(self) -> Any:
        return Counted, (self.value, self.shares)


def close(parts: Parts) -> list[Share]:
    """Return what a task has added, in the form that travels, and begin anew.

    Args:
        parts: of the task.
    """
    shares = [(record.key, name, kind.close(part)) for (_, name), (kind, part, record) in list(parts.items())]
    parts.clear()
    return shares


def counted(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a task in this thread, and returns a ``Counted`` if the task has added anything.

    Args:
        call: what to run.

    Example:
        >>> counted(abs)(-1)
        1
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        before = running.parts
        parts = running.parts = Parts()
        try:
            value = call(*args, **kwargs)
            return Counted(value, close(parts)) if parts else value
        finally:
            running.parts = before

    return run


def apart(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a task that only wants to be looked at: what it adds goes nowhere.

    Args:
        call: what to run.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        value = counted(call)(*args, **kwargs)
        return value.value if type(value) is Counted else value

    return run
