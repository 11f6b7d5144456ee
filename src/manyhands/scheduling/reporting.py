"""What the caches of a function's helpers have done in all processes, and what it cost that they are apart: ``cache_report``.

A helper is a function of a module with an ``lru_cache`` that the function calls, itself or through others of its project;
``captured`` finds them. Each process has its own, and workers tell the pool what theirs have done (``engine.helpers``); they are
asked when somebody wants to know. Those that have ended count with what they told last.
"""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manyhands.decorated import Decorated
    from manyhands.engine.counts import Name, Total

#: Workers have so many seconds to answer.
PATIENCE = 5.0


class Helper(NamedTuple):
    """What the caches of one helper have done.

    Args:
        name: the helper's module and name.
        hits: of all its caches.
        misses: of all its caches.
        repeated: so many of the entries that they hold, or held when they ended, others hold as well: they were computed more
            than once.
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
    from manyhands.captured.reads import cached_helpers
    from manyhands.engine.counts import Total
    from manyhands.engine.helpers import digests, named

    here = {named(lru): lru for lru in cached_helpers(function._plain())}
    told = _told(function) if here else {}
    helpers = []
    for name, lru in here.items():
        total, info = told.get(name) or Total(), lru.cache_info()
        total.add((info.hits, info.misses, b"".join(digests(lru) or ())))
        helpers.append(Helper(".".join(name), total.hits, total.misses, total.repeated, total.processes))
    return CacheReport(helpers)


def _told(function: Decorated) -> dict[Name, Total]:
    """What the workers have done."""
    from manyhands.backends.processes import Processes
    from manyhands.decorated import inside_worker

    if function.settings.backend != "processes" or inside_worker():
        return {}
    pool = Processes(function.settings).existing()
    return {} if pool is None else pool.counted(PATIENCE)
