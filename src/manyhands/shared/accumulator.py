"""Accumulators: fields that tasks add to, each task to a part of its own, merged when its result is handed to the caller.

A part travels with the result of its task, and shares its fate: a task that fails, crashes or runs out of time has added
nothing, one that is tried again adds once. ``merging`` says how parts become totals, ``tally`` where they are meanwhile.
"""

from __future__ import annotations

from manyhands.exceptions import SharedStateError
from manyhands.shared.identity import Field, Record, apart, find, of_this_process
from manyhands.shared.merging import Kind, kind_of
from manyhands.transport import tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from manyhands.transport.tally import Key, Parts


class Accumulator(Field):
    """The field that ``accumulator`` declares; see there.

    Args:
        zero: a type or another function without arguments that gives the zero, or the zero itself.
        merge: how two become one; None: as is usual for the type.
    """

    def __init__(self, zero: Any, merge: Callable[[Any, Any], Any] | None = None) -> None:
        self.kind: Kind = kind_of(zero, merge)

    def create(self, record: Record) -> None:
        assert record.totals is not None
        record.totals[self.name] = self.kind.start()

    def reset(self, record: Record) -> None:
        if record.totals is None:
            raise apart(self)
        with record.lock:
            record.totals[self.name] = self.kind.start()

    def __get__(self, handle: Any, owner: Any = None) -> Any:
        if handle is None:
            return self
        record = handle._record
        parts = self._parts(record)
        if parts is None:
            return record.totals[self.name]
        entry = parts.get((id(record), self.name))
        return (self._part(record, parts) if entry is None else entry)[1]

    def __set__(self, handle: Any, value: Any) -> None:
        record = handle._record
        parts = self._parts(record)
        if parts is None:
            with record.lock:
                record.totals[self.name] = self.kind.checked(self, value)
        else:
            entry = self._part(record, parts)
            entry[1] = self.kind.assigned(self, entry[1], value)

    def add(self, record: Record, share: Any) -> None:
        """Add what a task has added: to the total, or to the part of a task that has called the task.

        Args:
            record: of the state.
            share: what the task has added.
        """
        parts = self._parts(record)
        if parts is None:
            assert record.totals is not None
            with record.lock:
                record.totals[self.name] = self.kind.merged(record.totals[self.name], share)
        else:
            entry = self._part(record, parts)
            entry[1] = self.kind.joined(entry[1], share)

    def _parts(self, record: Record) -> Parts | None:
        """Where the task that runs here keeps its parts; None: the total is here, and no task runs.

        Raises:
            SharedStateError: this is neither a task nor the process that made the state.
        """
        parts = tally.running.parts
        if parts is not None:
            parts.turn()
            return None if record.born is parts else parts
        if record.totals is not None:
            return None
        parts = tally.in_worker
        if parts is None:
            raise apart(self)
        return parts

    def _part(self, record: Record, parts: Parts) -> list[Any]:
        key = (id(record), self.name)
        entry = parts.get(key)
        if entry is None:
            entry = parts[key] = [self.kind, self.kind.open(self), record]
        return entry


def add(key: Key, name: str, share: Any) -> None:
    """Add what a task has added to a field of a state, wherever its total is.

    Args:
        key: of the state.
        name: of the field.
        share: what the task has added.

    Raises:
        SharedStateError: this process has no part in the state.
    """
    handle = find(key)
    if handle is not None:
        getattr(type(handle), name).add(handle._record, share)
    elif not of_this_process(key):  # else nobody can ask for it any more
        raise SharedStateError(
            f"a task has added to {key[1].rpartition('.')[2]}.{name}, a state that was not made in this process: make it here, "
            "and give it to the task"
        )
