"""Where tasks run: one small contract, looked up by name on first use.

A backend packs items into chunks and gives back results; ``scheduling.call`` decides what is packed when. "serial" is no
backend of its own: it is a call that never leaves its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyhands.engine.pool import Deliver
    from manyhands.options import Options


class Line(Protocol):
    """One call's way to the workers of a backend."""

    limit: int

    @property
    def ready(self) -> int:
        """Workers that can take tasks now."""

    def outstanding(self) -> int:
        """Chunks handed over and not finished."""

    def pack(self, items: Sequence[Any]) -> tuple[Any, int]:
        """Return the items as what travels, and its size in bytes; in the caller's thread, where errors belong."""

    def send(self, packed: Any, count: int, base: int) -> None:
        """Hand over a chunk."""

    def value(self, outcome: Any) -> Any:
        """Return the value of a result that has come."""

    def error(self, outcome: Any) -> BaseException:
        """Return the exception of a failure that has come."""

    def close(self, *, kill: bool) -> None:
        """End the call: what has not begun never will."""


class Backend(Protocol):
    """Where tasks run."""

    workers: int
    isolated: bool

    def warm(self) -> bool:
        """Tell whether workers are running already."""

    def open(self, function: Any, constants: dict[str, Any], shape: int, deliver: Deliver) -> Line:
        """Begin a call; starts workers if there are none."""


def make(options: Options) -> Backend:
    """Return the backend that the options name.

    Args:
        options: of the call; "serial" is not a backend.
    """
    if options.backend == "threads":
        from manyhands.backends.threads import Threads

        return Threads(options)
    from manyhands.backends.processes import Processes

    return Processes(options)
