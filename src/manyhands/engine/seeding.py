"""Random streams that depend on a seed and on the index of an item, and on nothing else: not on worker, chunk or attempt.

Before each task ``random`` is seeded with a hash of both, and NumPy's global generator if it is loaded, or when the task
loads it. Used by ``worker`` for tasks that came with a seed (see ``ways``), and by ``scheduling`` for tasks that run in the
caller, whose own random state is then as it was before. Generators that a task makes itself from no seed
(``numpy.random.default_rng()``) and the system's (``os.urandom``, ``secrets``) are not touched.
"""

from __future__ import annotations

import random
import sys

try:
    from _blake2 import blake2b
except ImportError:  # an interpreter that was built without
    from hashlib import blake2b

from manyhands.engine.arrivals import forget, when_loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def digest(seed: int, index: int) -> bytes:
    """Return 16 bytes that depend on both.

    Example:
        >>> digest(1, 2) == digest(1, 2), digest(1, 2) == digest(2, 1)
        (True, False)
    """
    return bytes(blake2b(b"%d:%d" % (seed, index), digest_size=16).digest())


def start(seed: int, index: int) -> None:
    """Begin the streams of one item in this process.

    Args:
        seed: of the call.
        index: of the item in its input.
    """
    content = digest(seed, index)
    random.seed(int.from_bytes(content, "little"))
    if "numpy.random" in sys.modules:
        _start_numpy(content)
    else:
        when_loaded("numpy.random", lambda: _start_numpy(content))


def _start_numpy(content: bytes) -> None:
    numpy: Any = sys.modules["numpy.random"]
    numpy.seed(list(memoryview(content).cast("I")))


class Seeded:
    """Calls a function for the items from some index on, each with a stream of its own.

    Args:
        call: what to call with each item.
        seed: the seed.
        index: of the first item.

    Example:
        >>> first, second = (Seeded(lambda item: random.random(), 7, index) for index in (0, 1))
        >>> first("a") != first("b") == second("b")
        True
        >>> first.close(), second.close()
        (None, None)
    """

    def __init__(self, call: Callable[[Any], Any], seed: int, index: int) -> None:
        self._call = call
        self._seed = seed
        self._index = index
        self._state = random.getstate()
        numpy: Any = sys.modules.get("numpy.random")
        self._numpy = None if numpy is None else numpy.get_state()

    def __call__(self, item: Any) -> Any:
        index = self._index
        self._index = index + 1
        start(self._seed, index)
        return self._call(item)

    def close(self) -> None:
        """Put the process's random state back as it was."""
        random.setstate(self._state)
        numpy: Any = sys.modules.get("numpy.random")
        if self._numpy is not None:
            numpy.set_state(self._numpy)
        elif numpy is not None:  # loaded by one of the tasks: as if by nobody
            numpy.seed()
        forget("numpy.random")
