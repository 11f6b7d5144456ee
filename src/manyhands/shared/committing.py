"""What tasks have added becomes part of the totals; where there are no accumulators, nothing is loaded for it."""

from __future__ import annotations

from manyhands.transport.tally import Counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.transport.tally import Share


def commit(shares: list[Share]) -> None:
    """Add what a task has added, to the totals, or to the part of the task that runs here and has made the call.

    Args:
        shares: of the task.

    Raises:
        SharedStateError: it has added to a state that this process has no part in.
    """
    from manyhands.shared.accumulator import add

    for key, name, share in shares:
        add(key, name, share)


def done(value: Any) -> Any:
    """Return what a single task has returned; what it has added is added.

    Args:
        value: of a function made by ``tally.counted``, or out of a message.

    Raises:
        SharedStateError: as ``commit``.
    """
    if type(value) is not Counted:
        return value
    commit(value.shares)
    return value.value
