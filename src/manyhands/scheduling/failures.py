"""What a failing task looks like to the caller: the exception itself, with a note that says which task it was."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A note shows so many characters of each argument: enough for a path.
LONGEST = 120


def note(error: BaseException, index: int, name: str, item: Any, shape: int, where: str) -> BaseException:
    """Add to an exception which task raised it; returns the exception.

    Args:
        error: the exception.
        index: the task's index in the input.
        name: the function's name.
        item: the task's item.
        shape: how the item becomes arguments (0: one argument, 1: a tuple of them, 2: a pair of tuple and dict).
        where: the worker, in words.
    """
    from manyhands.transport.refusal import safe_repr

    if shape == 0:
        words = [safe_repr(item, LONGEST)]
    elif shape == 1:
        try:
            words = [safe_repr(part, LONGEST) for part in item]
        except Exception:  # that is what is wrong with it
            words = ["*" + safe_repr(item, LONGEST)]
    else:
        words = [safe_repr(part, LONGEST) for part in item[0]] + [
            f"{key}={safe_repr(part, LONGEST)}" for key, part in item[1].items()
        ]
    try:
        error.add_note(f"manyhands: item {index}: {name}({', '.join(words)}), {where}")
    except Exception:  # an exception class that does not let itself be annotated
        pass
    return error
