"""Producers and consumers: with one of each, with several, and a pipeline of three stages that never runs full."""

import sysconfig
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from manyhands import parallel_map, process_task


@process_task
def lines(paths: list[Path]) -> Iterator[str]:
    """The first stage: read."""
    for path in paths:
        with path.open(encoding="utf-8") as file:
            yield from file


@process_task
def words(lines: Iterable[str]) -> Iterator[str]:
    """The second stage: take apart."""
    for line in lines:
        yield from (word for word in line.split() if word.isidentifier())


@process_task
def count(words: Iterable[str]) -> Counter[str]:
    """The third stage: count."""
    return Counter(words)


@parallel_map
def length(line: str) -> int:
    """A consumer."""
    return len(line.rstrip())


@process_task(buffersize=10)
def clock() -> Iterator[float]:
    """Yield the time, for ever, as quickly as anybody wants it."""
    while True:
        yield time.monotonic()


paths = sorted((Path(sysconfig.get_path("stdlib")) / "json").glob("*.py"))

# One producer, in a process of its own; the loop here is the consumer. It ends when the producer does.
print("lines:", sum(1 for _ in lines(paths)))

# Several producers, which all run, and several consumers: the workers of a map.
producers = [lines(paths[0::2]), lines(paths[1::2])]
print("longest:", max(length.imap_unordered(chain.from_iterable(producers))))

# Three stages, three processes. Items go from one to the next, and wait where the next one is slower.
print("most frequent:", count(words(lines(paths))).most_common(2))

# Back-pressure: nobody takes anything for a while, and the producer is at most ten items ahead.
with clock() as times:
    next(times)
    time.sleep(0.1)
    taken = time.monotonic()
    early = sum(1 for _ in range(50) if next(times) < taken)
print("made while nobody asked: at most 10:", early <= 10)
