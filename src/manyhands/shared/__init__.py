"""What processes share: memory, and what they agree by.

Each of these can be sent anywhere, pickled or by fork, and is the same object there. They work between threads as well.

    >>> from manyhands.shared import Lock, Value
    >>> total = Value(int, 40)
    >>> total.add(2)
    42

Nothing is loaded before it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.shared.array import Array
    from manyhands.shared.barriers import Barrier
    from manyhands.shared.conditions import Condition, Event
    from manyhands.shared.locks import Lock, RLock
    from manyhands.shared.queues import Queue, ShutDown
    from manyhands.shared.semaphores import BoundedSemaphore, Semaphore
    from manyhands.shared.value import Value

__all__ = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "Queue",
    "RLock",
    "Semaphore",
    "ShutDown",
    "Value",
]

_PLACES = {
    "Array": "array",
    "Barrier": "barriers",
    "BoundedSemaphore": "semaphores",
    "Condition": "conditions",
    "Event": "conditions",
    "Lock": "locks",
    "Queue": "queues",
    "RLock": "locks",
    "Semaphore": "semaphores",
    "ShutDown": "queues",
    "Value": "value",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"manyhands.shared.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
