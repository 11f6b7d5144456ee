"""What becomes of results and failures on their way to the caller: retries, callbacks, and what stands for a failed item.

A ``Call`` has one where its options ask for any of that. ``call`` says what has come of a task; the answer is what to keep
in its place.
"""

from __future__ import annotations

from manyhands.scheduling.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.options import Options
    from manyhands.retries import Retries


class Policy:
    """The error policy and the callbacks of one call.

    Args:
        on_error: "raise", "collect", "skip", or a function that gets a ``Failure`` and returns what to put in its place.
        on_result: called with each result.
        on_error_callback: called with each ``Failure``.
        retries: when a failed task is tried again; None: never.
        stored: called with the index of the first and the results, whenever some have come; with no results, when a task
            has failed for good.

    Example:
        >>> policy = Policy("collect")
        >>> policy.replace(Failure(0, "x", ValueError("no")))
        [<Failure of item 0: ValueError('no')>]
    """

    __slots__ = ("attempts", "on_error", "on_error_callback", "on_result", "raises", "retries", "stored")

    def __init__(
        self,
        on_error: str | Callable[[Failure], Any] = "raise",
        on_result: Callable[[Any], object] | None = None,
        on_error_callback: Callable[[Failure], object] | None = None,
        retries: Retries | None = None,
        stored: Callable[[int, list[Any]], object] | None = None,
    ) -> None:
        self.on_error = on_error
        self.on_result = on_result
        self.on_error_callback = on_error_callback
        self.retries = retries
        self.stored = stored
        #: The first failure ends the call.
        self.raises = on_error == "raise"
        self.attempts: dict[int, int] = {}  # of tasks that have failed and are tried again

    def results(self, index: int, values: list[Any], counted: list[Any] | None = None) -> None:
        """Take note of results: those of the tasks from ``index`` on.

        Args:
            index: of the first.
            values: the results.
            counted: the results with what their tasks have added, if they have.
        """
        if self.stored is not None:
            self.stored(index, values if counted is None else counted)
        if self.on_result is not None:
            for value in values:
                report(self.on_result, value)

    def again(self, index: int, error: BaseException) -> float | None:
        """Tell after how many seconds a failed task is to be tried again; None: never."""
        retries = self.retries
        if retries is None:
            return None
        attempts = self.attempts.get(index, 0) + 1
        if not retries.worth(error, attempts):
            return None
        self.attempts[index] = attempts
        return retries.wait(attempts)

    def failure(self, index: int, item: Any, error: BaseException) -> Failure:
        """A task has failed for good: tell who wants to know."""
        failure = Failure(index, item, error, self.attempts.pop(index, 0) + 1)
        if self.stored is not None:
            self.stored(index, [])
        if self.on_error_callback is not None:
            report(self.on_error_callback, failure)
        return failure

    def replace(self, failure: Failure) -> list[Any]:
        """Return what stands for a failed item among the results: one thing, or nothing.

        Raises:
            BaseException: what the user's function raises.
        """
        if self.on_error == "collect":
            return [failure]
        if self.on_error == "skip":
            return []
        assert callable(self.on_error)
        return [self.on_error(failure)]


def of(options: Options, stored: Callable[[int, list[Any]], object] | None = None) -> Policy | None:
    """Return what the options of a function say; None: they ask for nothing of all this.

    Args:
        options: the options.
        stored: as for ``Policy``.
    """
    asked = options.on_result or options.on_error_callback or options.retries or stored
    if options.on_error == "raise" and not asked:
        return None
    from manyhands.retries import of as retries

    return Policy(options.on_error, options.on_result, options.on_error_callback, retries(options), stored)


def report(callback: Callable[[Any], object], argument: Any) -> None:
    """Call a callback; what it raises is reported, and stops nothing else."""
    try:
        callback(argument)
    except Exception:
        import logging

        logging.getLogger("manyhands").exception("exception calling callback %r with %r", callback, argument)
