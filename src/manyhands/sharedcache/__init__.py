"""``shared_cache``: a stand-in for ``lru_cache`` whose entries all processes of the program see; with a path, later runs, too.

::

    f(x) ──> what this process has seen ──> the log in shared memory ──> (the file) ──> compute, and append
             (a dictionary)                 (read forward, once)

``cached`` has the object that a function becomes, ``log`` the entries in shared memory and the keys that are under way, ``file``
the entries of earlier runs. Keys are those of ``lru_cache`` (``manyhands.keys``), in every process and in the file.

**Computed once.** Who computes a key holds a lock that stands for it. Others who want that key wait for that lock. It passes on
when its holder ends, however it ends: then there is no entry, and the next one computes. There is a lock for each key that is
under way, so that nobody waits but for who computes what he wants.
"""

from __future__ import annotations

import os

from manyhands.sharedcache.cached import SharedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SharedCache", "shared_cache"]


def shared_cache(
    function: Any = None, /, *, maxsize: int | None = 128, typed: bool = False, path: Any = None
) -> Any:
    """Remember what a function returns, for all processes of the program; otherwise as ``functools.lru_cache``.

    Of two processes that want the same key at the same time one computes it, and the other waits; if the one ends before it
    has finished, the other computes it. Exceptions are not kept. What cannot be pickled is kept by the process that
    has computed it, for itself.

    Args:
        function: the function.
        maxsize: so many entries are kept, the most recently used of all processes; None: all.
        typed: arguments of different types are different.
        path: a file that keeps the entries for later runs as well, by the function's source, what that reads in its
            project, and the arguments: a function that was changed computes anew. It is a database of the standard library's
            ``sqlite3``.

    Returns:
        The function with a cache, and ``cache_info``, ``cache_clear`` and ``cache_parameters``.

    Raises:
        TypeError: what is decorated cannot be called, or ``maxsize`` is no number.

    Example:
        >>> from manyhands import shared_cache
        >>> @shared_cache(maxsize=None)
        ... def square(x):
        ...     return x * x
        >>> square(3), square(3), square.cache_info().hits
        (9, 9, 1)
    """
    if function is not None and not callable(function):
        raise TypeError(
            f"shared_cache needs a function, not {function!r:.60} (a {type(function).__name__}); options are given by name: "
            "@shared_cache(maxsize=1000)"
        )
    if maxsize is not None and (isinstance(maxsize, bool) or not hasattr(maxsize, "__index__")):
        raise TypeError(f"maxsize must be a whole number or None, not {maxsize!r:.60}")
    path = None if path is None else os.path.abspath(os.fsdecode(path))

    def decorate(function: Any) -> SharedCache:
        return SharedCache(function, None if maxsize is None else max(0, maxsize), typed, path)

    return decorate if function is None else decorate(function)
