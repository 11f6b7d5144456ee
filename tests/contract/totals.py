"""States of every kind of accumulator, and functions that add to them; workers find them by name."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from manyhands import accumulator, parallel_map, process_task, shared_state


def larger(one: float, other: float) -> float:
    return max(one, other)


def take_in(one: list[set[int]], other: list[set[int]]) -> None:
    one[0] |= other[0]


@shared_state
class Totals:
    whole: int = accumulator(int)
    real: float = accumulator(float)
    wave: complex = accumulator(complex)
    parts: Fraction = accumulator(Fraction)
    span: dt.timedelta = accumulator(dt.timedelta)
    words: Counter[str] = accumulator(Counter)
    last: dict[int, int] = accumulator(dict)
    items: list[int] = accumulator(list)
    kinds: set[int] = accumulator(set)
    bins: np.ndarray[Any, Any] = accumulator(np.zeros(5, dtype=int))
    best: float = accumulator(float, merge=larger)
    deep: list[set[int]] = accumulator(lambda: [set()], merge=take_in)

    @property
    def mean(self) -> float:
        return self.real / self.whole


def seen(totals: Totals) -> dict[str, Any]:
    """All of a state, in a form that can be compared."""
    return {
        "whole": totals.whole,
        "real": totals.real,
        "wave": totals.wave,
        "parts": totals.parts,
        "span": totals.span,
        "words": list(totals.words.items()),
        "last": list(totals.last.items()),
        "items": totals.items,
        "kinds": totals.kinds,
        "bins": totals.bins.tolist(),
        "best": totals.best,
        "deep": totals.deep,
    }


def add(x: int, totals: Totals) -> int:
    totals.whole += x
    totals.whole -= 1
    totals.real += x / 10
    totals.wave += complex(0, x)
    totals.parts += Fraction(x, 3)
    totals.span += dt.timedelta(seconds=x)
    totals.words[str(x % 7)] += 1
    totals.words.update(["many", "hands"])
    totals.words.update({"light": 2})
    totals.words.subtract(["work"])
    totals.last[x % 5] = x
    totals.last.update({x % 3: -x})
    totals.items.append(x)
    totals.items.extend([x, x])
    totals.items += [-x]
    totals.kinds.add(x % 4)
    totals.kinds |= {x}
    totals.bins[x % 5] += 1
    totals.bins += x
    totals.best = max(totals.best, x % 11)
    totals.deep[0].add(x)
    return x


def add_and_fail(x: int, totals: Totals) -> int:
    add(x, totals)
    if x % 10 == 9:
        raise ValueError(x)
    return x


module_totals = Totals()
second = Totals()


def add_to_globals(x: int) -> None:
    add(x, module_totals)
    add_to_second(x)


def add_to_second(x: int) -> None:
    second.whole += 1


@parallel_map
@shared_state(totals=Totals)
def given(x: int, *, totals: Totals) -> int:
    totals.whole += x
    return x


@shared_state(totals=Totals)
@parallel_map
def given_above(x: int, *, totals: Totals) -> None:
    totals.whole += x


@process_task
@shared_state(totals=module_totals)
def given_an_instance(x: int, *, totals: Totals) -> None:
    totals.whole += x


@process_task
@shared_state(totals=Totals)
def stream(n: int, *, totals: Totals) -> Any:
    for i in range(n):
        totals.items.append(i)
        yield i


class Methods:
    @parallel_map
    @shared_state(totals=Totals)
    def method(self, x: int, *, totals: Totals) -> None:
        totals.whole += x

    @staticmethod
    @parallel_map
    @shared_state(totals=Totals)
    def static(x: int, *, totals: Totals) -> None:
        totals.whole += x


def nest(x: int, totals: Totals) -> None:
    """A call made inside a task, whose additions are this task's; then it may fail."""
    parallel_map(add).map([x, x + 1], [totals, totals])
    if x % 3 == 2:
        raise LookupError(x)


def make_one(x: int) -> int:
    """A state of the task's own."""
    mine = Totals()
    parallel_map(add).map(range(x), [mine] * x)
    mine.whole += 1
    return mine.whole


#: What would read an accumulator, or do something else with it than adding.
REFUSED: dict[str, Callable[[Totals], object]] = {
    "compare": lambda totals: totals.whole > 10,
    "equal": lambda totals: totals.whole == 10,
    "print": lambda totals: print(totals.whole),
    "format": lambda totals: f"{totals.real}",
    "index": lambda totals: [0][totals.whole],
    "sum": lambda totals: totals.whole + 1,
    "truth": lambda totals: bool(totals.real),
    "len": lambda totals: len(totals.items),
    "iterate": lambda totals: list(totals.kinds),
    "get": lambda totals: totals.last[3],
    "most common": lambda totals: totals.words.most_common(),
    "in": lambda totals: 3 in totals.kinds,
    "return": lambda totals: totals.words,
    "pop": lambda totals: totals.items.pop(),
    "assign": lambda totals: setattr(totals, "whole", 3),
    "assign container": lambda totals: setattr(totals, "items", []),
    "wrong type": lambda totals: setattr(totals, "whole", totals.whole.__iadd__(0.5)),  # type: ignore[attr-defined]
    "wrong name": lambda totals: setattr(totals, "wohle", 3),
    "delete": lambda totals: delattr(totals, "whole"),
}


def read(x: int, totals: Totals, how: str) -> object:
    return REFUSED[how](totals)
