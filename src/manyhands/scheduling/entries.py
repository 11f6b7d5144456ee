"""What ``shared_cache(path=...)`` keeps for later runs: a file of entries, by the function's source and the arguments.

The file is a database of ``sqlite3``, which is in the standard library: entries of many processes that write at the same time,
and a file that survives a program that is killed while it writes, are what it is made for. What a function and an argument are
known by in every run is said by ``fingerprint``, as for checkpoints: a function that was changed, or that calls one of its
project that was, finds nothing. What cannot be told from others, and what cannot be pickled, is not kept.

Used by ``sharedcache``.
"""

from __future__ import annotations

import os
from hashlib import blake2b

from manyhands.cache import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Another process may write for so many seconds.
PATIENCE = 60.0

_open: dict[tuple[str, int, int], Entries] = {}


class Entries:
    """The entries of one function in a file.

    Args:
        path: the file; made if there is none.
        function: the function.
    """

    def __init__(self, path: str, function: Any) -> None:
        import sqlite3

        from manyhands.scheduling.fingerprint import fingerprint

        marks = sorted(fingerprint(function, {}).items())
        self._function = blake2b(repr(marks).encode(), digest_size=16).digest()
        self._database = sqlite3.connect(
            path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS entries (function BLOB, arguments BLOB, value BLOB, PRIMARY KEY (function, arguments)) "
            "WITHOUT ROWID"
        )

    @classmethod
    def of(cls, path: str, function: Any) -> Entries:
        """Return the entries of a function; one object in each process."""
        place = path, id(function), os.getpid()
        if place not in _open:
            _open[place] = cls(path, function)
        return _open[place]

    def get(self, arguments: Any) -> Any:
        """Return the value that is kept for arguments, or ``MISSING``."""
        key = self._key(arguments)
        if key is None:
            return MISSING
        found = self._database.execute(
            "SELECT value FROM entries WHERE function = ? AND arguments = ?", (self._function, key)
        ).fetchone()
        if found is None:
            return MISSING
        from manyhands.transport.serialize import loads

        try:
            return loads(found[0])
        except Exception:  # a class that has changed
            return MISSING

    def put(self, arguments: Any, value: Any) -> None:
        """Keep a value."""
        from manyhands.transport.serialize import dumps

        key = self._key(arguments)
        if key is None:
            return
        try:
            data = dumps(value)
        except Exception:
            return
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (self._function, key, data))

    def clear(self) -> None:
        """Forget the entries of this function."""
        self._database.execute("DELETE FROM entries WHERE function = ?", (self._function,))

    def _key(self, arguments: Any) -> bytes | None:
        from manyhands.scheduling.fingerprint import key

        try:
            return key(arguments)
        except Exception:
            return None


def _close() -> None:
    while _open:
        _open.popitem()[1]._database.close()


def _after_fork_in_child() -> None:
    _inherited.extend(_open.values())  # its parent's: not to be closed, nor used
    _open.clear()


_inherited: list[Entries] = []

if hasattr(os, "register_at_fork"):
    import atexit

    atexit.register(_close)
    os.register_at_fork(after_in_child=_after_fork_in_child)
