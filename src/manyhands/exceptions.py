"""Everything manyhands raises or warns with; imported by every other module, importing none of them.

::

    ManyhandsError                       catches all of ours
    ├── OptionsError                     (ValueError)  an option is unknown, of the wrong kind or out of range
    ├── UnpicklableError                 (pickle.PicklingError, TypeError)  something cannot travel to or from a worker
    ├── StaleGlobalError                 (RuntimeError) a module global differs in the worker and cannot be sent
    ├── SharedStateError                 (RuntimeError) something shared is used where it is not, or is no more
    ├── TaskTimeoutError                 (TimeoutError)  a task, or the whole call, took longer than it may
    ├── CheckpointError                  (ValueError)  a checkpoint is of another function, or no checkpoint at all
    ├── WorkerCrashedError               (BrokenProcessPool)  the worker died while it ran the task
    └── InitializerError                 (BrokenProcessPool)  the initializer failed, no worker could start
    RemoteTraceback                      the cause of an exception that a worker raised: its traceback as text
    LostUpdateWarning                    (UserWarning)  a change made in a worker process does not come back

The two kinds of ``BrokenProcessPool`` live in ``_broken`` and are loaded when first used: the standard library's class
costs an import of ``multiprocessing``, which programs that never see a crash should not pay for.
"""

from __future__ import annotations

from _pickle import PicklingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands._broken import InitializerError, WorkerCrashedError

__all__ = [
    "CheckpointError",
    "InitializerError",
    "LostUpdateWarning",
    "ManyhandsError",
    "OptionsError",
    "RemoteTraceback",
    "SharedStateError",
    "StaleGlobalError",
    "TaskTimeoutError",
    "UnpicklableError",
    "WorkerCrashedError",
]


class ManyhandsError(Exception):
    """The base class of the errors that manyhands itself raises.

    Example:
        >>> issubclass(OptionsError, ManyhandsError)
        True
    """


class OptionsError(ManyhandsError, ValueError):
    """An option is unknown, of the wrong kind or out of range.

    Example:
        >>> from manyhands import parallel_map
        >>> parallel_map(abs, max_workers=0)
        Traceback (most recent call last):
        manyhands.exceptions.OptionsError: max_workers must be at least 1, not 0; leave it out to use every core
    """


class UnpicklableError(ManyhandsError, PicklingError, TypeError):
    """Something cannot be sent to a worker, or back from it; the message names the part that cannot.

    Both ``except pickle.PicklingError`` and ``except TypeError`` (what ``pickle`` raises itself for most objects) catch it.

    Example:
        >>> issubclass(UnpicklableError, TypeError)
        True
    """


class StaleGlobalError(ManyhandsError, RuntimeError):
    """A module global that the function reads differs between the caller and a worker, and cannot be sent.

    Example:
        >>> issubclass(StaleGlobalError, RuntimeError)
        True
    """


class SharedStateError(ManyhandsError, RuntimeError):
    """Something shared is used in a process that has no part in it, or after its owner has gone.

    Example:
        >>> issubclass(SharedStateError, RuntimeError)
        True
    """


class TaskTimeoutError(ManyhandsError, TimeoutError):
    """A task took longer than its ``timeout``, or a call longer than its ``deadline``, and was ended.

    Args:
        message: which limit it was, and where the task was.
        limit: seconds.
        stack: where the worker was, as ``faulthandler`` writes it; empty if it could not be had.
        pid: the process id of the worker.

    Example:
        >>> TaskTimeoutError("the task ran longer than its timeout of 5 s", limit=5.0).limit
        5.0
    """

    def __init__(
        self, message: str = "", *, limit: float | None = None, stack: str = "", pid: int | None = None
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.stack = stack
        self.pid = pid


class CheckpointError(ManyhandsError, ValueError):
    """A checkpoint cannot be gone on with: it is another function's, or another version's, or no checkpoint.

    Example:
        >>> issubclass(CheckpointError, ValueError)
        True
    """


class RemoteTraceback(Exception):  # noqa: N818 - a cause that carries text, not an error anyone catches
    """The cause of an exception that was raised in a worker: the worker's traceback, as text.

    Args:
        text: the formatted traceback.

    Example:
        >>> print(RemoteTraceback("Traceback ...").text)
        Traceback ...
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class LostUpdateWarning(UserWarning):
    """A change that a task makes in place stays in its worker process and is lost to the caller.

    Example:
        >>> issubclass(LostUpdateWarning, UserWarning)
        True
    """


def __getattr__(name: str) -> Any:
    if name in {"WorkerCrashedError", "InitializerError"}:
        from manyhands import _broken

        return getattr(_broken, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
