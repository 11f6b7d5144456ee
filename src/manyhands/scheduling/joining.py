"""Single calls of a function with an ``lru_cache``: those with equal arguments that are under way together become one.

The first is sent to a worker, the others wait for it; then each of them goes through the cache once, the first as a miss that
has its answer, the others as hits, as in a loop. If the first fails or is cancelled, the others are sent after all. Beside
``caching``, which does the same for the items of a call; used by ``single`` and ``functions``.
"""

from __future__ import annotations

import os
from functools import partial

from manyhands.cache import MISSING, through
from manyhands.engine.attending import TaskFuture
from manyhands.engine.submissions import resolve
from manyhands.keys import Then
from manyhands.transport.frozen import immutable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from manyhands.cache import Cache
    from manyhands.decorated import Decorated


def join(
    function: Decorated, cache: Cache, args: tuple[Any, ...], kwargs: dict[str, Any], send: Callable[[], Future[Any]]
) -> Future[Any]:  # fmt: skip
    """Make a single call of a cached function: from the cache, together with an equal one, or by sending it.

    Args:
        function: the function.
        cache: its cache.
        args: positional arguments.
        kwargs: keyword arguments.
        send: sends the call and returns its future.
    """
    plain = function.__wrapped__
    before = (plain.__self__,) if hasattr(plain, "__self__") else ()
    joined = Joined(cache, partial(through(cache, plain), *args, **kwargs), send)
    with cache.lock:
        try:
            value = cache.ask(joined.call)
            if cache.maxsize != 0:
                joined.key = cache.key((*before, *args), kwargs)
                if not immutable(joined.key):
                    joined.key = joined.then = Then(joined.key)
            waiting = None if value is not MISSING else cache.flying.get(joined.key)
        except Exception as error:  # lru_cache refuses the arguments
            resolve(joined, error=error)
            return joined
        if waiting is not None:
            waiting.append(joined)
            return joined
        if value is MISSING:
            cache.flying[joined.key] = []
    if value is MISSING:
        joined.lead()
    else:
        resolve(joined, value)
    return joined


class Joined(TaskFuture):
    """The future of one of the calls.

    Args:
        cache: the cache.
        call: makes the call to the cache.
        send: sends it to a worker.
    """

    def __init__(self, cache: Cache, call: Callable[[], Any], send: Callable[[], Future[Any]]) -> None:
        super().__init__()
        self.cache = cache
        self.call = call
        self.key: Any = self
        #: The key, if it may change before the answer is there.
        self.then: Then | None = None
        self._send = send

    def lead(self) -> None:
        """Send it."""
        try:
            self.source = self._send()
        except BaseException:
            with self.cache.lock:
                waiting = self.cache.flying.pop(self.key, ())
            for other in waiting:
                other.follow_nobody()
            raise
        self.source.add_done_callback(self._done)

    def follow_nobody(self) -> None:
        """What it has waited for has failed."""
        if self.cancelled():
            return
        self.key = self
        try:
            self.lead()
        except BaseException as error:
            resolve(self, error=error)

    def cancel(self) -> bool:
        """As ``Future.cancel``; the worker's task goes on if somebody else waits for it."""
        if not super().cancel():
            return False
        with self.cache.lock:
            alone = not self.cache.flying.get(self.key)
        if alone and self.source is not None:
            self.source.cancel()
        return True

    def _done(self, source: Future[Any]) -> None:
        cache, error, value = self.cache, None, None
        failed = source.cancelled()
        if not failed:
            error = source.exception()
            failed = error is not None
        process = getattr(source, "worker", os.getpid())  # None: no worker has begun it
        if process and not source.cancelled():
            cache.ran(process, 1)
        with cache.lock:  # nobody finds it neither under way nor known
            if not failed:
                value = source.result()
                self._tell(value)
            waiting = cache.flying.pop(self.key, ())
        if error is not None:
            cache.tell_failed(self.call)
        self._resolve(value, error)
        for other in waiting:
            if failed:
                other.follow_nobody()
            else:
                other._tell(value)
                other._resolve(value, None)

    def _tell(self, value: Any) -> None:
        if self.cancelled() or (self.then is not None and not self.then.holds()):
            return
        try:
            self.cache.tell(value, self.call)
        except Exception:  # a key that is no good: equal today, and not tomorrow
            pass

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        if self.set_running_or_notify_cancel():
            resolve(self, value, error)
