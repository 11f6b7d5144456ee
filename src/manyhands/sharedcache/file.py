"""What ``shared_cache(path=...)`` keeps for later runs: a file of entries, by the function's source and the arguments.

The file is a database of ``sqlite3``, which is in the standard library: entries of many processes that write at the same time,
and a file that survives a program that is killed while it writes, are what it is made for. What a function is known by in
every run is said by ``scheduling.fingerprint``, as for checkpoints: one that was changed, or that reads something of its project
that was, finds nothing. Arguments are known by the key of ``lru_cache``: what it takes for equal, finds the same entry here. What
cannot be told from others, and what cannot be pickled, is not kept.

Used by ``cached``.
"""

from __future__ import annotations

from hashlib import blake2b
from weakref import finalize

from manyhands.cache import MISSING
from manyhands.keys import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Another process may write for so many seconds.
PATIENCE = 60.0


class Entries:
    """The entries of one function in a file.

    Args:
        path: the file; made if there is none.
        function: the function.
    """

    def __init__(self, path: str, function: Any) -> None:
        import sqlite3

        from manyhands.scheduling.fingerprint import fingerprint
        from manyhands.transport.errors import add_note

        marks = sorted(fingerprint(function, {}).items())
        self._function = blake2b(repr(marks).encode(), digest_size=16).digest()
        self._database = sqlite3.connect(
            path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        # A function that is gone takes its connection along, which newer Pythons warn of if it was not closed.
        finalize(self, self._database.close)
        try:
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS entries (function BLOB, arguments BLOB, value BLOB, "
                "PRIMARY KEY (function, arguments)) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            self._database.close()
            add_note(
                error,
                f"shared_cache(path={path!r}) needs a file of its own that can be written, made by sqlite3; it makes one where "
                "there is none",
            )
            raise

    def get(self, arguments: Any) -> Any:
        """Return the value that is kept for a key of arguments, or ``MISSING``."""
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

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _key(self, arguments: Any) -> bytes | None:
        from manyhands.scheduling.fingerprint import key

        try:
            data = canonical(arguments, key)
        except Exception:  # what arguments do when they are looked at
            return None
        return None if data is None else blake2b(data, digest_size=16).digest()
