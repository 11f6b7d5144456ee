"""The errors that are a ``BrokenProcessPool``; part of ``exceptions``, apart from it because their base is dear to load."""

from __future__ import annotations

try:
    from concurrent.futures.process import BrokenProcessPool
except RuntimeError:
    # The interpreter is ending, and takes no more of the hooks that module registers. What is not loaded by now, nobody
    # waits to catch; its base is.
    from concurrent.futures import BrokenExecutor as BrokenProcessPool  # type: ignore[assignment]

from manyhands.exceptions import ManyhandsError


class WorkerCrashedError(ManyhandsError, BrokenProcessPool):
    """The worker process died while it ran the task; every other task gets its answer.

    Args:
        message: what happened, to which task, and the likely causes.
        pid: the process id of the worker.
        exitcode: its exit code; negative for a signal, as with ``subprocess``; None where it is not known.
        peak_memory: the most memory that it has used, bytes; None where it is not known.
        out_of_memory: after SIGKILL, whether the kernel has killed somebody for want of memory meanwhile; None where it does
            not say.

    Example:
        >>> error = WorkerCrashedError("worker 4711 was killed by SIGSEGV", pid=4711, exitcode=-11)
        >>> error.exitcode
        -11
    """

    def __init__(
        self, message: str = "", *, pid: int | None = None, exitcode: int | None = None, peak_memory: int | None = None,
        out_of_memory: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode
        self.peak_memory = peak_memory
        self.out_of_memory = out_of_memory


class InitializerError(ManyhandsError, BrokenProcessPool):
    """The initializer of a pool failed, so that no worker could start; its own exception is the cause.

    Example:
        >>> str(InitializerError("the initializer failed"))
        'the initializer failed'
    """


for _class in (WorkerCrashedError, InitializerError):
    _class.__module__ = "manyhands.exceptions"  # where people look for them, and how they pickle
