"""Where tasks run: one small contract, looked up by name on first use.

A backend packs items into chunks and gives back results; ``scheduling.call`` decides what is packed when. "serial" is no
backend of its own: it is a call that never leaves its caller.
"""

from __future__ import annotations

from manyhands.backends.processes import Processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from typing import Protocol as _Protocol

    from manyhands.engine.streams import Deliver
    from manyhands.options import Options

else:  # loading typing costs more than the rest of the package
    _Protocol = object


class Line(_Protocol):
    """One call's way to the workers of a backend."""

    limit: int
    #: What is handed over at a time is divided into so many chunks.
    spread: int

    @property
    def ready(self) -> int:
        """Workers that can take tasks now."""

    def outstanding(self) -> int:
        """Chunks handed over and not finished."""

    def freeze(self, item: Any) -> bytes:
        """Return an item as what travels of it; where tasks do not share objects with their caller."""

    def pack(self, items: Sequence[Any], base: int) -> tuple[Any, int]:
        """Return the items from index ``base`` on as what travels, and its size in bytes; in the caller's thread."""

    def send(self, packed: Any, count: int, base: int, timeout: float | None) -> None:
        """Hand over a chunk, each task of which may take so many seconds."""

    def value(self, outcome: Any) -> Any:
        """Return the value of a result that has come."""

    def error(self, outcome: Any) -> BaseException:
        """Return the exception of a failure that has come."""

    def check_wait(self) -> None:
        """Refuse to wait for results where that would be for ever.

        Raises:
            RuntimeError: in the thread that receives them, or in a forked child.
        """

    def close(self, *, kill: bool) -> None:
        """End the call: what has not begun never will."""


class Backend(_Protocol):
    """Where tasks run."""

    isolated: bool
    #: Tasks get the very objects that the caller has, and change those.
    shares: bool

    @property
    def workers(self) -> int:
        """How many workers there are at most."""

    def warm(self) -> bool:
        """Tell whether workers are running already."""

    def missed(self) -> float:
        """Return the seconds that calls would have saved so far, had there been workers."""

    def miss(self, seconds: float) -> None:
        """Add to them."""

    def open(
        self, function: Any, constants: dict[str, Any], shape: int, deliver: Deliver, *, eager: bool
    ) -> Line:
        """Begin a call; starts workers if there are none. ``eager``: results are wanted as soon as they are there."""


def make(options: Options) -> Backend:
    """Return the backend that the options name.

    Args:
        options: of the call; "serial" is not a backend.
    """
    if options.backend == "threads":
        from manyhands.backends.threads import Threads

        return Threads(options)
    return Processes(options)
