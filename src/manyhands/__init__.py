"""Many hands make light work: put a decorator on a function you already have, and its calls spread over every core.

    >>> from manyhands import parallel_map
    >>> @parallel_map
    ... def square(x: int) -> int:
    ...     return x * x
    >>> square.map(range(5))
    [0, 1, 4, 9, 16]

Importing the package loads what decorating needs and no more; the rest comes when it is first used.
"""

from __future__ import annotations

from manyhands import _startup as _startup
from manyhands._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.backends.processes import shutdown
    from manyhands.decorators import parallel_map, process_task, shared_state
    from manyhands.engine.cores import cpu_count
    from manyhands.engine.executor import ProcessPool
    from manyhands.exceptions import (
        CheckpointError,
        InitializerError,
        LostUpdateWarning,
        ManyhandsError,
        OptionsError,
        RemoteTraceback,
        SharedStateError,
        StaleGlobalError,
        TaskTimeoutError,
        UnpicklableError,
        WorkerCrashedError,
    )
    from manyhands.functions import ParallelFunction
    from manyhands.options import Options, configure
    from manyhands.scheduling.failures import Collected, Failure
    from manyhands.scheduling.running import RunningTask
    from manyhands.scheduling.streaming import TaskStream
    from manyhands.shared.array import share, shared_array
    from manyhands.shared.fields import (
        accumulator,
        array,
        barrier,
        condition,
        event,
        lock,
        managed,
        queue,
        rlock,
        semaphore,
        value,
    )
    from manyhands.sharedcache import shared_cache
    from manyhands.tasks import ProcessTask

__all__ = [
    "CheckpointError",
    "Collected",
    "Failure",
    "InitializerError",
    "LostUpdateWarning",
    "ManyhandsError",
    "Options",
    "OptionsError",
    "ParallelFunction",
    "ProcessPool",
    "ProcessTask",
    "RemoteTraceback",
    "RunningTask",
    "SharedStateError",
    "StaleGlobalError",
    "TaskStream",
    "TaskTimeoutError",
    "UnpicklableError",
    "WorkerCrashedError",
    "__version__",
    "accumulator",
    "array",
    "barrier",
    "condition",
    "configure",
    "cpu_count",
    "event",
    "lock",
    "managed",
    "parallel_map",
    "process_task",
    "queue",
    "rlock",
    "semaphore",
    "share",
    "shared_array",
    "shared_cache",
    "shared_state",
    "shutdown",
    "value",
]

_PLACES = {
    "Collected": "scheduling.failures",
    "Failure": "scheduling.failures",
    "ParallelFunction": "functions",
    "Options": "options",
    "configure": "options",
    "parallel_map": "decorators",
    "process_task": "decorators",
    "shared_state": "decorators",
    "accumulator": "shared.fields",
    "value": "shared.fields",
    "array": "shared.fields",
    "managed": "shared.fields",
    "lock": "shared.fields",
    "rlock": "shared.fields",
    "semaphore": "shared.fields",
    "event": "shared.fields",
    "condition": "shared.fields",
    "barrier": "shared.fields",
    "queue": "shared.fields",
    "ProcessTask": "tasks",
    "RunningTask": "scheduling.running",
    "TaskStream": "scheduling.streaming",
    "ProcessPool": "engine.executor",
    "cpu_count": "engine.cores",
    "share": "shared.array",
    "shared_array": "shared.array",
    "shared_cache": "sharedcache",
    "shutdown": "backends.processes",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'manyhands' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"manyhands.{_PLACES.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
