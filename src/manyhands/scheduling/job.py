"""What a call does with each item: the function in its two forms, what is known of it, and how its tasks are named in errors."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.engine.ways import Way

#: Where a task ran, in words.
HERE = "in the caller's process"


class Job:
    """What a call does with each item: the function in its two forms, and what is known of it.

    Args:
        function: the plain function, to call here.
        shipped: gives what is sent to workers in its place (itself, or what refers to it).
        constants: keywords that are the same for every task.
        shape: how an item becomes arguments: 0 ``f(item)``, 1 ``f(*item)``.
        memory: remembers across calls what a task cost, in its attribute ``cost``, and in ``deadly`` that one has ended its
            process.
        way: how tasks are run, if there is more to that than calling the function; see ``engine.ways``.
    """

    __slots__ = ("constants", "function", "here", "memory", "name", "shape", "shipped", "way")

    def __init__(
        self, function: Callable[..., Any], shipped: Any, constants: dict[str, Any], shape: int, memory: Any,
        way: Way | None = None,
    ) -> None:  # fmt: skip
        self.function = function
        self.shipped = shipped
        self.constants = constants
        self.shape = shape
        self.memory = memory
        self.way = way
        self.name = getattr(function, "__qualname__", None) or type(function).__name__
        if constants and shape:
            self.here: Callable[[Any], Any] = lambda item: function(*item, **constants)
        elif constants:
            self.here = lambda item: function(item, **constants)
        elif shape:
            self.here = lambda item: function(*item)
        else:
            self.here = function


def note_here(error: BaseException, index: int, job: Job, item: Any) -> BaseException:
    """Add to an exception that was raised here which task raised it."""
    from manyhands.scheduling.failures import note

    return note(error, index, job.name, item, job.shape, HERE)


def in_worker(pid: int) -> str:
    """Where a task ran, in words."""
    return f"in worker {pid}"
