"""When a worker is idle and another has a long chunk: whether to move a part, and which. Arithmetic only.

A chunk's size was a guess. Where the guess was wrong (one slow task among quick ones, costs that grow), the tasks that the
worker has not begun can still be given to another one. ``pool`` asks here.
"""

from __future__ import annotations

#: Moving is worth it above this much work, in seconds; it costs two messages.
WORTH_MOVING = 0.002
#: Nobody looks more often than this, in seconds.
SOON = 0.001


def work_left(begun: int, stop: int, elapsed: float, pace: float = 0.0) -> float:
    """Return how many seconds the tasks of a running chunk that were not begun are going to take, as far as can be seen.

    As long as those before them took on average, or those of late, whichever is more: behind a task that does not end
    there may be others of its kind, and they wait for it in any case.

    Args:
        begun: tasks of the chunk that were begun.
        stop: tasks of the chunk.
        elapsed: seconds since the chunk was sent.
        pace: seconds for a task since somebody last looked; 0: nobody has.

    Example:
        >>> work_left(begun=10, stop=20, elapsed=0.010)
        0.01
        >>> work_left(begun=10, stop=20, elapsed=0.010, pace=0.005)
        0.05
    """
    return (stop - begun) * max(elapsed / max(begun, 1), pace)


def worth_moving(begun: int, stop: int, elapsed: float, pace: float = 0.0) -> bool:
    """Tell whether the rest of a running chunk is worth taking away for a worker that has nothing to do.

    Args:
        begun: tasks of the chunk that were begun.
        stop: tasks of the chunk.
        elapsed: seconds since the chunk was sent.
        pace: seconds for a task since somebody last looked; 0: nobody has.

    Example:
        >>> worth_moving(begun=10, stop=20, elapsed=0.010)
        True
        >>> worth_moving(begun=19, stop=20, elapsed=10.0)
        True
        >>> worth_moving(begun=20, stop=20, elapsed=10.0)
        False
    """
    return begun < stop and work_left(begun, stop, elapsed, pace) > WORTH_MOVING


def look_again(elapsed: float) -> float:
    """Return after how many seconds to look again at a chunk that was not worth a move.

    Args:
        elapsed: seconds since the chunk was sent.

    Example:
        >>> look_again(0.080)
        0.01
    """
    return max(SOON, elapsed / 8)


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
