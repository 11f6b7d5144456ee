"""The function that ``caching`` measures, in a module of its own: joblib and mpire find what has an ``lru_cache`` by its name."""

from __future__ import annotations

import functools
import os
import tempfile
import time

SECONDS = 0.002
FOLDER = os.path.join(tempfile.gettempdir(), f"manyhands-caching-{os.getuid()}")


def compute(key: int) -> int:
    """Take 2 ms of processor time, and leave a mark of it."""
    descriptor = os.open(os.path.join(FOLDER, "computed"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"x")
    os.close(descriptor)
    until = time.thread_time() + SECONDS
    while time.thread_time() < until:
        pass
    return key * key


def computed() -> int:
    """Return how many computations there were since this was last asked."""
    path = os.path.join(FOLDER, "computed")
    count = os.path.getsize(path) if os.path.exists(path) else 0
    if count:
        os.remove(path)
    return count


@functools.cache
def cached(key: int) -> int:
    """For those who pickle by name; each of their processes begins with it empty."""
    return compute(key)
