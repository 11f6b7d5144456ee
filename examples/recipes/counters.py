"""A counter that all tasks add to, and why += loses updates without a lock."""

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from manyhands import LostUpdateWarning, accumulator, parallel_map, shared_state, value

files = sorted(Path(json.__file__).parent.parent.glob("*.py"))[:60]


# 1. A global: each process adds to its own copy. manyhands says so when it sees the function.
lines = 0

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")

    @parallel_map(max_workers=2, max_tasks_per_child=1000)
    def count_in_a_global(path: Path) -> None:
        global lines
        lines += len(path.read_text(encoding="utf-8").splitlines())


count_in_a_global.map(files)
print("a global, here:", lines)
print("warned:", [warning.category is LostUpdateWarning for warning in caught])


# 2. Shared memory: += reads, adds and writes, and what another process writes in between is lost. add() is one step.
@shared_state
class Steps:
    n: Any = value(int)


steps = Steps()


@parallel_map(max_workers=2, max_tasks_per_child=1000)
def step(times: int) -> None:
    for _ in range(times):
        steps.n.add(1)


step.map([10_000] * 4)
print("add, one step:", steps.n.value)


# 3. An accumulator: no lock. Each task adds to its own, and what it has added comes with its result.
@shared_state
class Totals:
    lines: int = accumulator(int)
    words: Counter[str] = accumulator(Counter)


@parallel_map(max_workers=2)
@shared_state(totals=Totals)
def count(path: Path, *, totals: Totals) -> None:
    text = path.read_text(encoding="utf-8")
    totals.lines += len(text.splitlines())
    totals.words.update(text.split())


count.map(files)
totals = count.state.totals
print("lines:", totals.lines == sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files))
print("the most frequent word:", totals.words.most_common(1)[0][0])
