"""The "processes" backend: a call's way to the shared pool of this process.

Functions share one default pool, started when first needed and closed at exit; options that make workers different (an
initializer, a start method, a life span) have a pool of their own, shared by all calls that ask for the same. Pools belong
to the process that made them: a forked child starts with none. Light to import; the engine is loaded with the first pool.
"""

from __future__ import annotations

import _thread
import os

from manyhands.backends.lines import ProcessLine
from manyhands.engine.cores import cpu_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.engine.pool import Pool
    from manyhands.engine.streams import Deliver
    from manyhands.engine.submissions import Submissions
    from manyhands.engine.ways import Way
    from manyhands.options import Options

#: The worker's word for: send results as they come, not only when there are many.
EAGER = 16

#: Tasks that run by themselves have so many seconds to stop when the program ends.
STOP_WITHIN = 0.7

_pools: dict[tuple[Any, ...], Pool] = {}
_missed = 0.0
_lock = _thread.allocate_lock()
_submissions: dict[Pool, Submissions] = {}


class Processes:
    """The backend of one set of options.

    Args:
        options: how many workers, and of which kind.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        #: Tasks rely on something that the caller's process has not got.
        self.isolated = options.isolated
        #: Tasks get the very objects that they are called with.
        self.shares = False
        self._key: tuple[Any, ...] | None = None
        #: In the context of who makes the call: it may be another thread that opens the way to the workers.
        self.way = _way(options)

    @property
    def workers(self) -> int:
        """How many workers there are at most."""
        return self.options.max_workers or cpu_count()

    def key(self) -> tuple[Any, ...]:
        if self._key is None:
            options = self.options
            initializer = None
            if options.initializer is not None:
                from manyhands.engine.definitions import pack_initializer

                initializer = pack_initializer(options.initializer, options.initargs)
            self._key = (
                options.start_method, options.max_tasks_per_child, initializer, options.memory_limit, options.arena_limit
            )  # fmt: skip
        return self._key

    def warm(self) -> bool:
        pool = self.existing()
        return pool is not None and pool.ready_count > 0

    def existing(self) -> Pool | None:
        """Return the pool for these options if this process has one."""
        pool = _pools.get(self.key())
        return pool if pool is not None and pool.owner == os.getpid() else None

    def missed(self) -> float:
        """Return the seconds that calls would have saved so far, had there been workers."""
        return _missed

    def miss(self, seconds: float) -> None:
        """Add to them."""
        global _missed
        _missed += seconds

    def pool(self) -> Pool:
        """The pool for these options, made if there is none yet, or only a broken one."""
        method, max_tasks, initializer, memory_limit, arena_limit = key = self.key()
        broken = None
        with _lock:
            pool = _pools.get(key)
            if pool is not None and pool.broken is not None:
                broken, pool = pool, None
                _submissions.pop(broken, None)
            if pool is None:
                import atexit

                from manyhands.engine.pool import Pool

                if not _pools:
                    atexit.register(shutdown)
                pool = _pools[key] = Pool(
                    self.workers, method, initializer, max_tasks, memory_limit, arena_limit
                )
        if broken is not None:
            broken.close()
        return pool

    def submissions(self) -> Submissions:
        """The futures of the pool for these options."""
        from manyhands.engine.submissions import Submissions

        pool = self.pool()
        pool.grow(self.workers)
        with _lock:
            found = _submissions.get(pool)
            if found is None:
                found = _submissions[pool] = Submissions(pool, self.options.initializer)
            return found

    def open(
        self, function: Any, constants: dict[str, Any], shape: int, deliver: Deliver, *, eager: bool
    ) -> ProcessLine:
        from manyhands.transport.serialize import reference

        pool = self.pool()
        pool.by_value = reference(getattr(function, "referred", function)) is None
        pool.start()  # before the rest is loaded

        from manyhands.engine.definitions import define

        options = self.options
        definition = define(function, constants, options.initializer, way=self.way, store=pool.keep)
        flags = EAGER if eager else 0
        if options.affinity is None:
            return ProcessLine(pool, pool.open(deliver, self.workers), definition, shape, flags)
        from manyhands.backends.affinity import LaneLine

        return LaneLine(
            pool, deliver, self.workers, definition, shape, flags, options.affinity, options.seed is not None
        )


def _way(options: Options) -> Way | None:
    if not options.has_way:  # as nearly always: not even loaded
        return None
    from manyhands.engine.ways import of

    return of(options)


def shutdown() -> None:
    """End the shared pools of this process; the next call starts new ones.

    Example:
        >>> import manyhands
        >>> manyhands.shutdown()
    """
    with _lock:
        pools = list(_pools.values())
        _pools.clear()
        submissions = list(_submissions.values())
        _submissions.clear()
    import sys

    talks = sys.modules.get("manyhands.engine.talks")
    if talks is not None:
        talks.ask_all_to_stop(STOP_WITHIN)
    for each in submissions:
        each.wait()
    for pool in pools:
        pool.close()


def _after_fork_in_child() -> None:
    global _lock
    _pools.clear()
    _submissions.clear()
    _lock = _thread.allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
