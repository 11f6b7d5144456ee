"""What came of tasks, as bytes: values, failures, and plain values, which most results are.

Each outcome has an entry, a number that says where its bytes end and of which kind they are. A value is a pickle, a failure
is made by ``errors.pack``, and a plain value (an ``ATOMIC`` one: a number, a string, ...) is written by ``marshal``, which
takes a third of the time. Plain values one after the other are what ``marshal`` writes for the members of a list, so that a
message of nothing but plain values is read in one go. What a task has added to accumulators (``tally``) travels with its value,
as a fourth kind of outcome.

Source: ``Python/marshal.c``, version 2 of the format: a list is ``[``, its length as a 32-bit number, its members.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Kinds of outcomes.
VALUE, FAILED, COUNTED, PLAIN = 0, 1, 2, 3
_SHIFT = 60
POSITION = (1 << _SHIFT) - 1
#: To be combined with the end of an outcome.
ENTRIES = (VALUE << _SHIFT, FAILED << _SHIFT, COUNTED << _SHIFT, PLAIN << _SHIFT)
FAILED_ENTRY, COUNTED_ENTRY, PLAIN_ENTRY = ENTRIES[FAILED], ENTRIES[COUNTED], ENTRIES[PLAIN]

#: The version of the format without back references, which mean nothing outside their own message.
VERSION = 2


def plain(value: Any) -> bytes:
    """Return an ``ATOMIC`` value as bytes.

    Example:
        >>> unplain(plain(12))
        12
    """
    return marshal.dumps(value, VERSION)


unplain = marshal.loads


def join_counted(kind: int, value: bytes, shares: bytes) -> bytes:
    """Return a value and what its task has added as one outcome.

    Args:
        kind: of the value.
        value: its bytes.
        shares: those of what was added.

    Example:
        >>> kind, value, shares = split_counted(memoryview(join_counted(PLAIN, plain(1), b"more")))
        >>> kind == PLAIN, unplain(value), bytes(shares)
        (True, 1, b'more')
    """
    return b"%c%b%b%b" % (kind, len(value).to_bytes(8, "little"), value, shares)


def split_counted(outcome: memoryview) -> tuple[int, memoryview, memoryview]:
    """Return the kind and the bytes of a value, and those of what its task has added.

    Args:
        outcome: of ``join_counted``.
    """
    end = 9 + int.from_bytes(outcome[1:9], "little")
    return outcome[0], outcome[9:end], outcome[end:]


class Outcomes:
    """The outcomes in one message, or left in a journal.

    Args:
        entries: where each ends, and its kind.
        data: their bytes, one after the other.

    Example:
        >>> one, two = plain(1), plain("two")
        >>> outcomes = Outcomes([len(one) | PLAIN_ENTRY, len(one + two) | PLAIN_ENTRY], memoryview(one + two))
        >>> outcomes.values()
        [1, 'two']
        >>> [kind == PLAIN for kind, _ in outcomes]
        [True, True]
    """

    __slots__ = ("data", "entries")

    def __init__(self, entries: list[int], data: memoryview) -> None:
        self.entries = entries
        self.data = data

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        start = 0
        for entry in self.entries:
            end = entry & POSITION
            yield entry >> _SHIFT, self.data[start:end]
            start = end

    def values(self) -> list[Any] | None:
        """Return all values if they are all plain, else None."""
        if not self.entries or min(self.entries) < PLAIN_ENTRY:
            return None
        end = self.entries[-1] & POSITION
        return marshal.loads(b"[" + len(self.entries).to_bytes(4, "little") + self.data[:end])  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Bytes of all of them, those in shared memory included."""
        held = getattr(self.data.obj, "held", None)  # of a ``mapped.Body``
        return len(self.data) + (sum(each.size for each in held.values()) if held else 0)

    def until(self, stop: int) -> Outcomes:
        """Return the outcomes before some index."""
        return Outcomes(self.entries[:stop], self.data)

    def since(self, first: int) -> Outcomes:
        """Return the outcomes from some index on; none if there are not so many."""
        first = min(first, len(self.entries))
        start = self.entries[first - 1] & POSITION if first else 0
        rest = [entry - start for entry in self.entries[first:]]
        return Outcomes(rest, self.data[start:])
