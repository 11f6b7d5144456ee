"""When a worker is idle and another has a long chunk: whether to move a part, and which. Arithmetic only.

A chunk's size was a guess. Where the guess was wrong (one slow task among quick ones, costs that grow), the tasks that the
worker has not begun can still be given to another one. ``pool`` asks here.
"""

from __future__ import annotations

#: Moving is worth it above this much work, in seconds; it costs two messages.
WORTH_MOVING = 0.002


def worth_moving(begun: int, stop: int, elapsed: float) -> bool:
    """Tell whether the rest of a running chunk is worth taking away for a worker that has nothing to do.

    Args:
        begun: tasks of the chunk that were begun.
        stop: tasks of the chunk.
        elapsed: seconds since the chunk was sent.

    Example:
        >>> worth_moving(begun=10, stop=20, elapsed=0.010)
        True
        >>> worth_moving(begun=19, stop=20, elapsed=10.0)
        True
        >>> worth_moving(begun=20, stop=20, elapsed=10.0)
        False
    """
    if begun >= stop:
        return False
    return (stop - begun) * elapsed / max(begun, 1) > WORTH_MOVING


def cut(begun: int, stop: int, idle: int) -> int:
    """Return the task from which on to take a chunk away, so that its worker and the idle ones get equal shares.

    Args:
        begun: tasks of the chunk that were begun.
        stop: tasks of the chunk.
        idle: workers that have nothing to do.

    Example:
        >>> cut(begun=10, stop=20, idle=1)
        15
    """
    return begun + (stop - begun) // (idle + 1)
