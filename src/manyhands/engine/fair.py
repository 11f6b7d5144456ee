"""A fair share of the cores for the thread pools of BLAS and OpenMP in workers.

Each of them starts as many threads as there are cores, in every worker: with eight workers on eight cores, sixty-four threads.
They read their environment when they are loaded: workers that load them anew get it from ``environment``. A worker that was
forked from a program that has loaded them has them as they are; ``threadpoolctl``, where it is installed, tells them
(``limit``).
"""

from __future__ import annotations

import os
import sys

from manyhands.engine.cores import cpu_count

#: Where the libraries look for how many threads they may have.
NAMES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
#: Libraries that bring such pools along.
_USERS = ("numpy", "scipy", "sklearn", "torch", "numexpr")


def share(workers: int) -> int:
    """Return how many threads each of so many workers may have, at least one.

    Example:
        >>> share(1_000_000)
        1
    """
    return max(1, cpu_count() // max(1, workers))


def environment(workers: int) -> dict[str, str]:
    """Return the environment for so many workers; what the user has set stays as it is.

    Args:
        workers: how many of them share the cores.
    """
    return {**dict.fromkeys(NAMES, str(share(workers))), **os.environ}


def prepare() -> None:
    """Before forking from this process: load what ``limit`` needs, once for all workers."""
    if not any(name in sys.modules for name in _USERS):
        return
    try:
        import threadpoolctl  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except Exception:  # not installed, or broken: their threads are as many as they are
        pass


def limit(workers: int) -> None:
    """In a worker that was forked from a program: limit the pools that it has inherited.

    Args:
        workers: how many of them share the cores.
    """
    for name in NAMES:
        os.environ.setdefault(name, str(share(workers)))
    threadpoolctl = sys.modules.get("threadpoolctl")
    if threadpoolctl is None:
        return
    given = os.environ.get("OMP_NUM_THREADS", "")
    try:
        threadpoolctl.threadpool_limits(int(given) if given.isdigit() else share(workers))
    except Exception:
        pass
