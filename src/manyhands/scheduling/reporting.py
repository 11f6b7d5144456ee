"""What the caches of a function's helpers have done in all processes, and what it cost that they are apart: ``cache_report``.

A helper is a function of a module with an ``lru_cache`` that the function calls, itself or through others of its project;
``captured`` finds them. Each process has its own, and nobody counts while they work: the workers are asked when somebody wants
to know; one that has ended can't be. So that each of them answers, the questions wait for each other at a barrier; a worker that
is busy for longer than ``PATIENCE`` seconds is left out.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from manyhands.cache import Wrapper, find
from manyhands.keys import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.decorated import Decorated
    from manyhands.shared import Barrier

    Figures = tuple[int, list[tuple[int, int, list[bytes]] | None]]

#: A worker has so many seconds to answer.
PATIENCE = 5.0


class Helper(NamedTuple):
    """What the caches of one helper have done.

    Args:
        name: the helper's module and name.
        hits: of all its caches.
        misses: of all its caches.
        repeated: so many of the entries that they hold, others hold as well: they were computed more than once.
        processes: in so many it was called.
    """

    name: str
    hits: int
    misses: int
    repeated: int
    processes: int


class CacheReport(tuple[Helper, ...]):
    """The helpers of a function; readable when printed.

    Example:
        >>> print(CacheReport([Helper("texts.stem", 10, 8, 3, 2)]))
        texts.stem: 10 hits, 8 misses in 2 processes; 3 computations were repeated, as each has a cache of its own.
          With affinity= equal keys go to the same worker; with @shared_cache in place of @lru_cache each key is computed once, if
          pickling its result is cheaper than that.
    """

    __slots__ = ()

    def __str__(self) -> str:
        lines = []
        for name, hits, misses, repeated, processes in self:
            where = f"in {processes} process{'' if processes == 1 else 'es'}"
            lines.append(f"{name}: {hits} hits, {misses} misses {where}")
            if repeated:
                lines[-1] += f"; {repeated} computations were repeated, as each has a cache of its own."
                lines.append(
                    "  With affinity= equal keys go to the same worker; with @shared_cache in place of @lru_cache each key is "
                    "computed once, if\n  pickling its result is cheaper than that."
                )
        return "\n".join(lines) or "the function calls no function of a module that has an lru_cache"


def report(function: Decorated) -> CacheReport:
    """Ask all processes for the figures of a function's helpers.

    Args:
        function: the decorated function.
    """
    from manyhands.captured.reads import functions_passed

    plain = function._plain()
    found = {
        (value.__module__, value.__qualname__): value
        for value in functions_passed(plain)
        if isinstance(value, Wrapper)
    }
    names = list(found)
    answers = dict([(os.getpid(), [_figures_of(value) for value in found.values()]), *_ask(function, names)])
    helpers = []
    for place, name in enumerate(names):
        told = [figures[place] for figures in answers.values()]
        used = [figures for figures in told if figures is not None and figures[0] + figures[1]]
        keys = [key for figures in used for key in figures[2]]
        hits, misses = sum(figures[0] for figures in used), sum(figures[1] for figures in used)
        helpers.append(Helper(".".join(name), hits, misses, len(keys) - len(set(keys)), len(used)))
    return CacheReport(helpers)


def _ask(function: Decorated, names: list[tuple[str, str]]) -> list[Figures]:
    from manyhands.backends.processes import Processes
    from manyhands.decorated import Decorated, inside_worker
    from manyhands.scheduling import single

    settings = function.settings
    if not names or settings.backend != "processes" or inside_worker():
        return []
    backend = Processes(settings)
    if not backend.warm():
        return []
    from manyhands.shared import Barrier

    pool = backend.pool()
    workers = pool.ready_count
    same_pool = ("start_method", "max_tasks_per_child", "initializer", "initargs", "memory_limit")
    options = {name: getattr(settings, name) for name in same_pool}
    asking = Decorated(figures, {**options, "max_workers": workers})
    barrier = Barrier(workers)
    futures = [single.send(asking, (names, barrier), {}) for _ in range(workers)]
    return [future.result() for future in futures if future.exception() is None]


def figures(names: list[tuple[str, str]], barrier: Barrier) -> Figures:
    """In a worker: return its process id, and hits, misses and keys of each helper that is there."""
    from threading import BrokenBarrierError

    try:
        barrier.wait(PATIENCE)  # so that no worker answers twice
    except BrokenBarrierError:
        pass
    return os.getpid(), [_figures_of(_found(*name)) for name in names]


def _found(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    found = find(found)
    if found is None:
        from manyhands.transport.serialize import arrived

        for other in list(arrived):
            if (other.__module__, other.__qualname__) == (module, name):
                found = other
    return found


def _figures_of(function: Any) -> tuple[int, int, list[bytes]] | None:
    if function is None:
        return None
    from hashlib import blake2b

    from manyhands.transport.serialize import dumps

    info = function.cache_info()
    warming = sys.modules.get("manyhands.engine.warming")
    told = 0 if warming is None else warming.given.get(function, 0)
    keys = []
    for key in entries(function):
        try:
            keys.append(blake2b(dumps(key), digest_size=16).digest())
        except Exception:
            continue
    return info.hits, max(0, info.misses - told), keys
