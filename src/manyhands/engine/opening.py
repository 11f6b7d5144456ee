"""What came of a task, out of its bytes: its value, and what it has added to accumulators."""

from __future__ import annotations

from manyhands.shared.committing import done
from manyhands.transport.outcomes import COUNTED, VALUE, split_counted, unplain
from manyhands.transport.serialize import loads
from manyhands.transport.tally import Counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def value_of(kind: int, outcome: memoryview) -> Any:
    """Return the value in an outcome that is no failure; a ``Counted`` where the task has added something.

    Args:
        kind: of the outcome.
        outcome: its bytes.
    """
    if kind == VALUE:
        return loads(outcome)
    if kind != COUNTED:
        return unplain(outcome)
    kind, value, shares = split_counted(outcome)
    return Counted(value_of(kind, value), loads(shares))


def opened(kind: int, outcome: memoryview) -> Any:
    """Return the value of a task that stands by itself; what it has added is added.

    Args:
        kind: of the outcome.
        outcome: its bytes.
    """
    return done(value_of(kind, outcome))
