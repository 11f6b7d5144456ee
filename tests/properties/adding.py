"""A state, and the task that adds to it as it is told; apart, so that workers import nothing else."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any, TypeAlias

from manyhands import accumulator, shared_state

Step: TypeAlias = tuple[str, Any]
Task: TypeAlias = tuple[list[Step], str, str]
"""What to add, how to end, and a file that says that this was done before."""


@shared_state
class Totals:
    whole: int = accumulator(int)
    real: float = accumulator(float)
    words: Counter[str] = accumulator(Counter)
    items: list[Any] = accumulator(list)
    kinds: set[int] = accumulator(set)
    last: dict[str, int] = accumulator(dict)
    most: int = accumulator(int, merge=max)


def seen(totals: Totals) -> dict[str, Any]:
    """All of it, in a form that shows every difference."""
    return {
        "whole": totals.whole,
        "real": totals.real.hex(),
        "words": list(totals.words.items()),
        "items": totals.items,
        "kinds": totals.kinds,
        "last": list(totals.last.items()),
        "most": totals.most,
    }


def run(task: Task, totals: Totals) -> str:
    """Add, and end, as the task says."""
    steps, end, file = task
    for name, what in steps:
        step(totals, name, what)
    if end == "raise":
        raise ArithmeticError
    if end == "exit":
        os._exit(0)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while end == "hang":
        pass
    if end == "once" and not os.path.exists(file):
        open(file, "w").close()
        raise ArithmeticError
    return end


def step(totals: Totals, name: str, what: Any) -> None:
    if name == "whole":
        totals.whole += what
    elif name == "real":
        totals.real += what
    elif name == "words":
        totals.words.update(what)
    elif name == "items":
        totals.items.extend(what)
    elif name == "kinds":
        totals.kinds |= what
    elif name == "last":
        totals.last.update(what)
    else:
        totals.most = max(totals.most, what)
