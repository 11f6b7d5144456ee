"""A call's results in a file, from where the same call goes on in another run of the program.

::

    input ──Restored──> what the file has not got ──> here or there ──> ledger ──> the caller
                │                                                    │      ▲
                │                                               kept by     │
                ▼                                                    ▼      │
            the file <───────────────────────────────── Checkpoint.results  │
                └──────── what it has got, if the item is still the same ───┘

The file is an SQLite database with two tables: ``call`` says whose results these are (``fingerprint``), ``results`` has an
item's index, what it is known by, and its result. Each write is a transaction of its own: with a write-ahead log that is no
more than a write to the log, which the system keeps when the program is killed. As long as the call lasts the file is locked.

``functions`` makes both where the option asks for them; a call knows ``Restored`` (in ``restored``) as its source, and its
policy has ``results``. Everything here runs in the thread that runs the call.
"""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import sys
from _thread import allocate_lock
from pathlib import Path
from stat import S_ISREG

from manyhands.exceptions import CheckpointError, UnpicklableError
from manyhands.scheduling.fingerprint import fingerprint, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manyhands.options import Options

#: What the header of our files says, in the place that SQLite has for it.
APPLICATION = 0x6D616E79
#: The number of the form described above.
FORMAT = 1
#: So many items are looked up at a time, unless their results are more than so many bytes.
PIECE, PIECE_BYTES = 256, 4 << 20
#: What an SQLite file begins with, and where its header has the number of the application.
MAGIC, PLACE = b"SQLite format 3\0", slice(68, 72)

SCHEMA = (
    f"PRAGMA application_id = {APPLICATION}",
    "CREATE TABLE call (format INTEGER NOT NULL, runs INTEGER NOT NULL, name TEXT NOT NULL, parts TEXT NOT NULL)",
    "CREATE TABLE results (item INTEGER PRIMARY KEY, key BLOB NOT NULL, result BLOB NOT NULL)",
)
WRITE = "INSERT OR REPLACE INTO results VALUES (?, ?, ?)"

#: Files that calls of this process have, by process, device and number. SQLite refuses a second connection, but before it is
#: asked the header is read, and closing a file breaks every lock that this process has on it.
_taken: set[tuple[int, int, int]] = set()
_taking = allocate_lock()


class Checkpoint:
    """The file of one call: opened when the call begins, locked until it ends.

    Args:
        path: the file.
        function: the function whose results it keeps.
        name: what messages call it.
        constants: the keywords that are the same for every item.
        shape: how an item becomes arguments, as for ``call.Job``.
        options: of the function; what results depend on is compared, too.
    """

    def __init__(
        self, path: str, function: Any, name: str, constants: dict[str, Any], shape: int, options: Options
    ) -> None:
        self.path = path
        self.last = -1  # the highest index in the file
        self.ahead = 0  # how many results it has that have not been looked up
        self.piece = 8  # how many items to look up at a time
        self._function = function
        self._name = name
        self._constants = constants
        self._shape = shape
        self._options = options
        self._keys: dict[int, bytes] = {}  # of items that have been read and have no result
        self._changed = 0  # items that are others than those whose results the file had
        self._unknown = 0  # items that cannot be compared
        self._file: sqlite3.Connection | None = None
        self._place: tuple[int, int, int] | None = None
        self._open = False
        self._raised: BaseException | None = None

    # the file

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            CheckpointError: it is another function's, or in use, or none of ours, or cannot be written.
        """
        self._raised = sys.exc_info()[1]
        try:
            parts = fingerprint(self._function, self._constants)
            options = self._options
            if options.seed is not None:
                parts["seed"] = str(options.seed)
            if options.initializer is not None:
                arguments = {f"initargs[{place}]": value for place, value in enumerate(options.initargs)}
                found = fingerprint(options.initializer, arguments)
                parts.update({f"{name}, of the initializer": value for name, value in found.items()})
        except pickle.PicklingError as error:
            raise CheckpointError(f"{self._name} cannot have a checkpoint: {error}") from error
        parts["how an item becomes arguments"] = str(self._shape)
        try:
            self._take()
            self._connect(parts)
        except BaseException as error:
            self.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise self._trouble(error) from error
            raise

    def _take(self) -> None:
        """See that no call of this process has the file, and that it is one of ours; without changing it."""
        with _taking:
            if not os.path.exists(self.path):
                open(self.path, "ab").close()
            found = os.stat(self.path)
            place = (os.getpid(), found.st_dev, found.st_ino)
            if place in _taken:
                raise self._in_use()
            header = b"something else: a folder, or a pipe, which would keep us waiting"
            if S_ISREG(found.st_mode):
                with open(self.path, "rb") as file:
                    header = file.read(100)
            if header and (not header.startswith(MAGIC) or header[PLACE] != APPLICATION.to_bytes(4, "big")):
                raise CheckpointError(
                    f"{self.path} is not a checkpoint, and is left as it is: give checkpoint= another name"
                )
            if not os.access(self.path, os.W_OK):
                raise PermissionError("it is read-only")
            _taken.add(place)
            self._place = place

    def _connect(self, parts: dict[str, str]) -> None:
        address = f"{Path(self.path).absolute().as_uri()}?mode=rw"
        # Whoever runs the call uses it, one thread at a time; an iterator may be closed by another.
        file = self._file = sqlite3.connect(
            address, uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        file.execute("PRAGMA locking_mode = EXCLUSIVE")
        file.execute("BEGIN EXCLUSIVE")
        if not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in SCHEMA:
                file.execute(statement)
        call = file.execute("SELECT format, name, parts FROM call").fetchone()
        if call is None:
            file.execute("INSERT INTO call VALUES (?, 1, ?, ?)", (FORMAT, self._name, json.dumps(parts)))
        else:
            self._compare(parts, *call)
            file.execute("UPDATE call SET runs = runs + 1")  # also shows whether it can be written
        file.execute("COMMIT")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")  # a power failure may cost the last results, not the file
        last, count = file.execute("SELECT max(item), count(*) FROM results").fetchone()
        if count:
            self.last, self.ahead = last, count
        self._open = True

    def _compare(self, parts: dict[str, str], number: int, name: str, before: str) -> None:
        """Refuse results that are not this function's."""
        if number != FORMAT:
            differs = f"in format {number}, which this version of manyhands does not read"
        elif name != self._name:
            differs = f"of {name}, not of {self._name}"
        else:
            old = json.loads(before)
            names = [each for each in {**old, **parts} if old.get(each) != parts.get(each)]
            if not names:
                return
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            differs = f"of {name} as it was; what has changed: {', '.join(names[:5])}{more}"
        raise CheckpointError(
            f"{self.path} holds results {differs}. Delete the file to begin anew, or give checkpoint= another name"
        )

    def _in_use(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is in use: another call, or another program, is writing its results there. Wait for its end, or "
            "give checkpoint= another name"
        )

    def _trouble(self, error: BaseException) -> CheckpointError:
        """What SQLite or the system says, in our words."""
        number = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if number in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._in_use()
        if number in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return CheckpointError(f"{self.path} is damaged ({error}): delete it to begin anew")
        return CheckpointError(f"{self.path} cannot be used ({error}); the results that are in it are kept")

    def close(self) -> None:
        """Let go of the file; what has been written is in it."""
        file, self._file = self._file, None
        try:
            if file is not None:
                if file.in_transaction and self._open:  # Ctrl-C came in the middle of writing
                    file.execute("COMMIT")
                file.close()
        except sqlite3.Error:  # what could not be written has been said where it was written
            pass
        finally:
            place, self._place = self._place, None
            if place is not None:
                _taken.discard(place)

    def say(self) -> None:
        """Warn, once, of what the file was no help with; not where the call ends by an exception."""
        changed, unknown = self._changed, self._unknown
        self._changed = self._unknown = 0
        if not (changed or unknown) or sys.exc_info()[1] is not self._raised:
            return
        import warnings

        from manyhands.scheduling.arriving import outside

        if changed:
            items = (
                "1 item was another, or its result"
                if changed == 1
                else f"{changed} items were others, or their results"
            )
            words = f"{items} could not be read, and ran again"
        else:
            items = "1 item" if unknown == 1 else f"{unknown} items"
            words = f"{items} cannot be compared with those of another run, as pickling fails: their results are not kept"
        warnings.warn(f"{self.path}: {words}", UserWarning, stacklevel=outside())

    # results

    def held(self, first: int, items: Sequence[Any]) -> dict[int, Any]:
        """Return those results of some items that the file has, by index.

        Args:
            first: the index of the first item.
            items: the items, which follow each other.
        """
        assert self._file is not None
        found = {}
        rows: dict[int, tuple[bytes, bytes]] = {}
        if first <= self.last:
            end = min(first + len(items), self.last + 1)
            query = "SELECT item, key, result FROM results WHERE item >= ? AND item < ?"
            try:
                rows = {index: row for index, *row in self._file.execute(query, (first, end))}
            except sqlite3.Error as error:
                raise self._trouble(error) from error
            self.ahead -= len(rows)
            size = sum(len(result) for _, result in rows.values()) // len(items)
            self.piece = max(1, min(PIECE, 2 * self.piece, PIECE_BYTES // (size or 1)))
        for index, item in enumerate(items, first):
            known = key(item)
            if index in rows:
                before, result = rows.pop(index)
                if before == known:
                    try:
                        found[index] = pickle.loads(result)  # noqa: S301 - our own file
                        continue
                    except Exception:  # its class is gone, perhaps
                        pass
                self._changed += 1
            if known is None:
                self._unknown += 1
            else:
                self._keys[index] = known
        return found

    def results(self, index: int, values: list[Any]) -> None:
        """Write the results of the tasks from ``index`` on; no results stand for a task that has failed for good.

        Raises:
            UnpicklableError: one of them cannot be pickled.
            CheckpointError: the file cannot be written.
        """
        rows: list[tuple[int, bytes, bytes]] = []
        keys = self._keys
        if not values:
            keys.pop(index, None)
            return
        try:
            for place, value in enumerate(values, index):
                known = keys.pop(place, None)
                if known is not None:
                    rows.append((place, known, pickle.dumps(value, pickle.HIGHEST_PROTOCOL)))
        except Exception as error:
            self._write(rows)
            place = index + len(rows)
            raise self._refusal(place, values[place - index], error) from error
        self._write(rows)

    def _refusal(self, index: int, value: Any, error: Exception) -> UnpicklableError:
        from manyhands.transport.refusal import explain

        what = explain(value, "the result", pickle.dumps)
        return UnpicklableError(
            f"item {index} of {self._name}: {what} cannot be kept in {self.path}; return something that can be pickled "
            f"({type(error).__name__}: {error})"
        )

    def _write(self, rows: list[tuple[int, bytes, bytes]]) -> None:
        file = self._file
        assert file is not None
        try:
            if len(rows) == 1:
                file.execute(WRITE, rows[0])
            elif rows:
                file.execute("BEGIN")
                file.executemany(WRITE, rows)
                file.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            if file.in_transaction:
                file.execute("ROLLBACK")
            raise self._trouble(error) from error
